"""The host's books: what rows and branches hold is there and nothing else; whatever splits, ends,
waits or is flushed, a row's pages have its own tokens.
"""

from __future__ import annotations

import collections

import numpy as np
import pytest

from verifier.decode.branches import Branch, root
from verifier.decode.prompt_blocks import block_sizes
from verifier.decode.rows import IDLE, Rows
from verifier.model import cache

ROWS, LANES, LIMIT, WINDOW = 6, 20, 24, 4


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WINDOW", WINDOW)


def books(rows: int = ROWS, pages: int = 9) -> Rows:
    return Rows(rows, LANES, LIMIT, pages, block_sizes(rows, 4, 20))


def begin(rows: Rows, row: int, branch: Branch, prompt: int = 0) -> tuple[int, int] | None:
    keys = [np.array([branch.problem, sample], np.uint32) for sample in branch.samples]
    return rows.start(row, prompt, branch, keys, where=lambda tokens: len(tokens) % 3)


def begun(rows: int = ROWS, pages: int = 9) -> Rows:
    made = books(rows, pages)
    for row in range(rows - 1):  # the last one stays idle
        begin(made, row, root(row, [10 + row]), row % 3)
    made.orders()
    return made


def check(rows: Rows, waiting: list[Branch]) -> None:
    """Every page is held by those that list it, and listed once by each."""
    listed = [rows.page_BM[row, : rows.owned_B[row]].tolist() for row in range(len(rows))]
    listed += [branch.pages for branch in waiting]
    assert all(len(set(pages)) == len(pages) for pages in listed)
    counted = collections.Counter(page for pages in listed for page in pages)
    assert [counted[page] for page in range(rows.pages)] == rows.held_A.tolist()
    assert (rows.page_BM[np.arange(rows.page_BM.shape[1]) >= rows.owned_B[:, None]] == -1).all()


def test_a_flush_gives_every_running_row_the_lowest_free_page() -> None:
    rows = begun()
    assert rows.wanted_pages() == 5
    # behind the rows' own six; the idle row's goes nowhere
    assert rows.flush()[0].tolist() == [6, 7, 8, 9, 10, 6 + 9]
    rows.release(1)
    check(rows, [])
    assert rows.wanted_pages() == 8 and rows.flush()[0].tolist() == [7, 15, 11, 12, 13, 15]
    check(rows, [])
    assert rows.highest_page() == 8


def test_a_row_that_starts_with_the_next_step_has_nothing_to_flush() -> None:
    rows = begun()
    begin(rows, 5, root(9, [9]))
    assert rows.wanted_pages() == 5 and rows.flush()[0][5] == 6 + 9


def test_rows_that_wait_often_get_more_pages_than_their_tokens_need() -> None:
    rows = begun(rows=2, pages=40)
    for _ in range(12):
        rows.flush()
    assert rows.owned_B.tolist() == [12, 0]
    check(rows, [])
    assert sorted(rows.page_BM[0, :12].tolist()) == list(range(12))


def test_fewer_slots_keep_what_is_running_with_its_pages_lanes_and_tokens() -> None:
    rows = begun()
    rows.flush()
    two = np.array([2, 4])
    rows.write(two, two + 5, np.array([-1.0, -2.0]), np.array([False, True]), two * 0)
    rows.forced.put(4, 0, [(5, True)])
    for row in (0, 1, 3):
        rows.release(row)
    kept = rows.keep(3, block_sizes(3, 4, 6))
    assert kept[:2].tolist() == [2, 4] and len(rows) == 3
    assert rows.prompt_B.tolist() == [2, 1, IDLE]
    assert [rows.lanes.sample_Q[rows.lanes.of(row)].tolist() for row in range(3)] == [
        [12],
        [14],
        [],
    ]
    assert rows.lanes.free() == LANES - 2
    assert rows.token_BT[:2, 0].tolist() == [7, 9] and rows.forced_BT[1, 0]
    check(rows, [])
    assert rows.orders()[0]["forced_B"].tolist() == [-1, 5, -1]
    assert rows.indices(*rows.needed()).row_X.tolist() == [0, 1, 2, 3, 3, 0, 3, 1, 3, 3, 3, 3]


def test_orders_are_given_once() -> None:
    rows = begun()
    rows.go_B[1] = True
    assert rows.orders()[0]["go_B"].tolist() == [False, True, False, False, False, False]
    again, _ = rows.orders()
    assert not any(again[name].any() for name in ("go_B", "start_B", "joins_Q"))


class Device:
    """What lies in pages: position and token of each column, as `cache` and `steps` put them."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.column = rows, 0
        self.newest = [[None] * WINDOW for _ in range(len(rows))]
        self.pages = [[None] * WINDOW for _ in range(rows.pages)]
        self.written = [0] * len(rows)

    def copy(self, copies: list[tuple[int, int, int]]) -> None:
        old = [list(page) for page in self.newest]
        for source, target, before in copies:
            kept = [each if each and each[0] < before else None for each in old[source]]
            self.newest[target] = kept

    def flush(self) -> None:
        full = [list(page) for page in self.newest]
        for row, page in enumerate(self.rows.flush()[0] - len(self.rows)):
            if page < self.rows.pages:
                self.pages[page] = full[row]
            self.newest[row] = [None] * WINDOW
        self.column = 0

    def step(self, tokens: dict[int, int]) -> None:
        """Every row of `tokens` reads one; a forced one where the books say so."""
        orders, _ = self.rows.orders()
        for row in np.flatnonzero(orders["start_B"]).tolist():
            self.written[row] = int(orders["from_B"][row])
            if not orders["copied_B"][row]:
                self.newest[row] = [None] * WINDOW
        running = np.flatnonzero(self.rows.prompt_B != IDLE)
        forced = orders["forced_B"][running]
        token_R = np.where(forced >= 0, forced, [tokens[row] for row in running.tolist()])
        for row, token in zip(running.tolist(), token_R.tolist(), strict=True):
            self.newest[row][self.column] = (self.written[row], token)
            self.written[row] += 1
        off_R = np.zeros(len(running), bool)
        self.rows.write(running, token_R, off_R.astype(np.float32), off_R, running * 0)
        self.column += 1

    def sees(self, row: int) -> list[int]:
        """The tokens that a row sees, by position; each position stands once."""
        pages = self.rows.page_BM[row, : self.rows.owned_B[row]]
        lying = [*self.newest[row], *(each for page in pages for each in self.pages[page])]
        by_position = sorted(each for each in lying if each is not None)
        assert [position for position, _ in by_position] == list(range(len(by_position)))
        return [token for _, token in by_position]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_splits_waits_and_ends_a_row_sees_its_own_tokens(seed: int) -> None:
    """Rows fork at random places, further back too; branches wait, within a window or longer, with
    their pages or without; slots are given away at once.
    """
    random, rows = np.random.default_rng(seed), books(pages=60)
    device, waiting = Device(rows), [root(0, [0])]
    history: dict[int, list[int]] = {}  # of each row
    expected: dict[int, list[int]] = {}  # of each branch, by its identity
    forks = 0
    for _ in range(60):
        if not waiting and not rows.busy():
            waiting.append(root(0, [0]))
        if device.column == WINDOW:
            for branch in waiting:
                if random.random() < 0.3:
                    rows.let_go(branch, int(random.integers(0, len(branch.pages) + 1)))
            device.flush()
        copies = []
        for row in rows.idle().tolist():
            if waiting and random.random() < 0.7:
                branch = waiting.pop(int(random.integers(len(waiting))))
                history[row] = expected.pop(id(branch), [])
                if (copied := begin(rows, row, branch)) is not None:
                    copies.append((copied[0], row, copied[1]))
        device.copy(copies)
        device.step({row: int(random.integers(9)) for row in range(len(rows))})
        for row in np.flatnonzero(rows.prompt_B != IDLE).tolist():
            length = int(rows.length_B[row])
            assert device.sees(row) == rows.token_BT[row, :length].tolist()
            whole = rows.token_BT[row, : max(length, rows.inherited_B[row])].tolist()
            begun_with = history[row]  # is read first
            assert whole[: len(begun_with)] == begun_with[: len(whole)]
            if row not in rows.forced and random.random() < 0.4 and len(waiting) < 12:
                place = int(random.integers(length + 1))
                drawn = bool(random.random() < 0.5)
                branch = rows.fork(row, place, [0], [(7, False)] if drawn else [])
                if drawn:
                    branch.drawn(-1.0)
                expected[id(branch)] = [*whole[:place], *([7] if drawn else [])]
                waiting.append(branch)
                forks += 1
            if length > 16 or random.random() < 0.05:
                rows.release(row)
        check(rows, waiting)
    assert forks > 20
