"""The host's books: pages have one owner, the lowest free ones are used, and nothing is lost when
slots or pages become fewer.
"""

from __future__ import annotations

import collections

import numpy as np
import pytest

from verifier.decode.prompt_blocks import block_sizes
from verifier.decode.rows import IDLE, Rows
from verifier.model import cache

KEY = np.array([1, 2], np.uint32)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WINDOW", 4)


def books(rows: int = 6, pages: int = 9) -> Rows:
    made = Rows(rows, 12, pages, block_sizes(rows, 4, rows))
    for row in range(rows - 1):  # the last one stays idle
        made.start(row, row % 3, row, 10 + row, KEY + row)
    made.orders()
    return made


def check(rows: Rows) -> None:
    """Every page that a row lists is its own, and no page is lost."""
    for row in range(len(rows)):
        listed = rows.page_BM[row, : rows.owned_B[row]]
        assert (rows.owner_A[listed] == row).all() and (
            rows.page_BM[row, rows.owned_B[row] :] == rows.pages
        ).all()
    assert (rows.owner_A < len(rows)).sum() == rows.owned_B.sum()


def test_a_flush_gives_every_running_row_the_lowest_free_page() -> None:
    rows = books()
    assert rows.wanted_pages() == 5
    # behind the rows' own six; the idle row's goes nowhere
    assert rows.flush().tolist() == [6, 7, 8, 9, 10, 6 + 9]
    rows.release(1)
    check(rows)
    assert rows.wanted_pages() == 8 and rows.flush().tolist() == [7, 15, 11, 12, 13, 15]
    check(rows)
    assert rows.highest_page() == 8


def test_a_row_that_starts_with_the_next_step_has_nothing_to_flush() -> None:
    rows = books()
    rows.start(5, 0, 9, 9, KEY)
    assert rows.wanted_pages() == 5 and rows.flush()[5] == 6 + 9


def test_rows_that_wait_often_get_more_pages_than_their_tokens_need() -> None:
    rows = books(rows=2, pages=40)
    for _ in range(12):
        rows.flush()
    assert rows.owned_B.tolist() == [12, 0]
    check(rows)
    assert sorted(rows.page_BM[0, :12].tolist()) == list(range(12))


def test_fewer_slots_keep_what_is_running_with_its_pages_and_tokens() -> None:
    rows = books()
    rows.flush()
    rows.write(np.array([2, 4]), np.array([7, 8]), np.array([-1.0, -2.0]), np.array([False, True]))
    rows.queue[4] = collections.deque([(5, True)])
    for row in (0, 1, 3):
        rows.release(row)
    kept = rows.keep(3, block_sizes(3, 4, 6))
    assert kept[:2].tolist() == [2, 4] and len(rows) == 3
    assert rows.sample_B[:2].tolist() == [12, 14] and rows.prompt_B.tolist() == [2, 1, IDLE]
    assert (
        rows.token_BT[:2, 0].tolist() == [7, 8]
        and rows.forced_BT[1, 0]
        and rows.length_B[:2].tolist() == [1, 1]
    )
    check(rows)
    assert rows.orders()[2].tolist() == [-1, 5, -1]
    assert rows.indices(rows.blocks()).row_X.tolist() == [0, 1, 2, 3, 3, 0, 3, 1, 3, 3, 3, 3]


def test_the_pool_of_pages_grows_and_shrinks_around_what_is_owned() -> None:
    rows = books()
    rows.flush()
    rows.resize_pages(12)
    check(rows)
    rows.resize_pages(rows.highest_page())
    check(rows)
    assert rows.pages == 5 and rows.owned_B.tolist() == [1, 1, 1, 1, 1, 0]


def test_orders_are_given_once() -> None:
    rows = books()
    rows.go_B[1] = True
    assert rows.orders()[1].tolist() == [False, True, False, False, False, False]
    assert not rows.orders()[1].any() and not rows.orders()[0].any()
