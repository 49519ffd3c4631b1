"""The host's books of a running batch: what each slot is writing and which pages it has.

Numpy only: what the device holds of it is `state.DecodeState`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from verifier.decode.branches import Branch, ForcedTokens, heirs_of
from verifier.decode.forced import Forced
from verifier.decode.lanes import Lanes
from verifier.decode.likeliest import NOWHERE, Likeliest
from verifier.decode.prompt_blocks import BlockSizes
from verifier.decode.row_indices import RowIndices, most_pages
from verifier.model.cache import CacheIndices

IDLE = -1
_NONE = -1  # no page
_BY_ROW = """
prompt_B problem_B stored_B length_B inherited_B known_B where_B stamp_B start_B copied_B go_B
token_BT logprob_BT forced_BT likeliest_BT errors_B limit_B to_step_end_B page_BM upto_BM owned_B
""".split()


class Rows:
    """B slots, all arrays by slot, and the lanes of the samples that follow them.

    What stands in a slot stays there from its first to its last token.
    """

    def __init__(
        self,
        rows: int,
        lanes: int,
        limit: int,
        pages: int,
        block_sizes: BlockSizes,
        few_programs: bool = False,
        top_logprobs: int = 0,
    ) -> None:
        """All slots idle.

        Args:
            rows: B.
            lanes: Q.
            limit: most tokens of a solution.
            pages: of the pool, at least one.
            block_sizes: of the attention to prompts.
            few_programs: whether steps are read with blocks of shared pages where no page is
                shared, too, for that takes less time than another program's compilation.
            top_logprobs: U, how many of the likeliest ids of every token are kept.
        """
        self.lanes = Lanes(lanes, rows)
        self.prompt_B = np.full(rows, IDLE, np.int32)  # prompt slot, or IDLE
        self.problem_B = np.zeros(rows, np.int32)  # index in the list of problems
        self.stored_B = np.zeros(rows, bool)  # an earlier start has drawn it
        self.length_B = np.zeros(rows, np.int32)  # tokens in pages, as far as the host has read
        self.inherited_B = np.zeros(rows, np.int32)  # first tokens, which it has not drawn itself
        self.known_B = np.zeros(rows, np.int32)  # tokens whose log-probabilities are known before
        self.where_B = np.zeros(rows, np.uint8)  # where it is after them: `steps.Watch`
        self.stamp_B = np.zeros(rows, np.int64)  # another whenever its newest page is emptied
        self.start_B = np.zeros(rows, bool)  # to be started by the next step
        self.copied_B = np.zeros(rows, bool)  # with something in its newest page
        self.go_B = np.zeros(rows, bool)  # to be told to go on by the next step
        self.token_BT = np.zeros((rows, limit), np.int32)
        self.logprob_BT = np.zeros((rows, limit), np.float32)
        self.forced_BT = np.zeros((rows, limit), bool)
        self.likeliest_BT = Likeliest.empty(rows, limit, top_logprobs)
        self.errors_B = np.zeros(rows, np.int32)  # annotations that could not be evaluated
        self.limit_B = np.full(rows, limit, np.int32)  # tokens at which it is over
        self.to_step_end_B = np.zeros(rows, bool)  # it is over where a step ends
        # Full pages, and the tokens up to the end of each.
        self.page_BM = np.full((rows, most_pages(limit)), _NONE, np.int32)
        self.upto_BM = np.zeros_like(self.page_BM)
        self.owned_B = np.zeros(rows, np.int32)  # full pages of each row
        self.held_A = np.zeros(pages, np.int32)  # how many rows and branches have each page
        self.forced = Forced()  # what rows are told to write
        self.parked: set[int] = set()  # rows that are over, from whose ends branches may go on
        self._indices = RowIndices(block_sizes, few_programs)

    def __len__(self) -> int:
        return len(self.prompt_B)

    @property
    def pages(self) -> int:
        return len(self.held_A)

    def idle(self) -> np.ndarray:
        """The slots in which nothing is written."""
        return np.flatnonzero(self.prompt_B == IDLE)

    def busy(self) -> int:
        """How many slots are being written in."""
        return int((self.prompt_B != IDLE).sum()) - len(self.parked)

    # ---- branches

    def fork(self, row: int, length: int, samples: Sequence[int], queue: ForcedTokens) -> Branch:
        """A branch of a row's first `length` tokens, which holds the pages that have no others."""
        upto = self.upto_BM[row, : self.owned_B[row]]
        held = int((upto <= length).sum())
        pages = self.page_BM[row, :held]
        self.held_A[pages] += 1
        return Branch(
            int(self.problem_B[row]),
            list(samples),
            self.token_BT[row, :length].copy(),
            self.logprob_BT[row, :length].copy(),
            self.forced_BT[row, :length].copy(),
            int(self.errors_B[row]),
            queue,
            limit=int(self.limit_B[row]),
            to_step_end=bool(self.to_step_end_B[row]),
            pages=pages.tolist(),
            upto=upto[:held].tolist(),
            # Further back than its newest page there is nothing of it to copy.
            newest=(row, int(self.stamp_B[row])) if held == self.owned_B[row] else None,
            likeliest=self.likeliest_BT[row, :length].copy(),
        )

    def twin(self, branch: Branch) -> Branch:
        """Another branch from the same place, which holds the same pages."""
        self.held_A[branch.pages] += 1
        return branch.twin()

    def park(self, row: int) -> Branch:
        """A branch from the end of what is over in a row, without samples; the row keeps its newest
        page until the next flush, or until the slot is wanted.
        """
        self.parked.add(row)
        length = int(self.length_B[row])
        branch = self.fork(row, length, [], self.forced.left(row, length))
        self.forced.drop(row)
        self.go_B[row] = False
        self.lanes.leave(self.lanes.of(row))
        return branch

    def let_go(self, branch: Branch, pages: int = 0) -> None:
        """Leaves a branch only its first `pages` pages."""
        if branch.pages[pages:]:
            branch.newest = None
        self.held_A[branch.pages[pages:]] -= 1
        del branch.pages[pages:], branch.upto[pages:]

    def start(
        self, row: int, prompt: int, branch: Branch, keys: Sequence[np.ndarray], where: Callable
    ) -> tuple[int, int] | None:
        """Gives an idle slot a branch of the prompt in slot `prompt`.

        Args:
            row: the slot.
            prompt: slot of its prompt.
            branch: is used up: its pages are the row's.
            keys: of its samples.
            where: of some tokens, where a row is after them.

        Returns:
            What must be copied before the next step, together with all else that is started in it:
            the row whose newest page, and up to how many tokens; None: nothing. Tokens of the
            branch that are then in no page are read once more.
        """
        known, goal = len(branch.tokens), branch.read_from
        all_full = not branch.upto or branch.upto[-1] <= goal
        self.let_go(branch, sum(end <= goal for end in branch.upto))
        held, length = len(branch.pages), branch.upto[-1] if branch.upto else 0
        copied = None
        if branch.newest is not None and all_full and goal > length:
            source, stamp = branch.newest
            if self.stamp_B[source] == stamp:
                copied, length = (source, goal), goal
        self.prompt_B[row], self.problem_B[row] = prompt, branch.problem
        self.token_BT[row, :known] = branch.tokens
        self.forced_BT[row, :known] = branch.forced
        again = zip(branch.tokens[length:].tolist(), branch.forced[length:].tolist(), strict=True)
        self.inherited_B[row], self.known_B[row] = known, len(branch.logprobs)
        self.logprob_BT[row, : len(branch.logprobs)] = branch.logprobs
        if branch.likeliest.count:
            self.likeliest_BT[row, : len(branch.logprobs)] = branch.likeliest
        self.length_B[row], self.where_B[row] = length, where(branch.tokens[:length])
        self.start_B[row], self.copied_B[row] = True, bool(copied)
        self.limit_B[row] = self.token_BT.shape[1] if branch.limit is None else branch.limit
        self.errors_B[row], self.to_step_end_B[row] = branch.errors, branch.to_step_end
        if held > self.page_BM.shape[1]:
            self._widen(held)
        self.page_BM[row, :held], self.upto_BM[row, :held] = branch.pages, branch.upto
        self.owned_B[row] = held
        self.lanes.join(row, branch.samples, keys)
        self.forced.put(row, length, [*again, *branch.queue])
        self._indices.forget()
        return copied

    def release(self, row: int) -> None:
        """Takes what has ended out of its slot, with its lanes."""
        self.held_A[self.page_BM[row, : self.owned_B[row]]] -= 1
        self.page_BM[row], self.owned_B[row] = _NONE, 0
        self.prompt_B[row], self.stored_B[row] = IDLE, False
        self.start_B[row], self.copied_B[row], self.go_B[row] = False, False, False
        self.forced.drop(row)
        self.parked.discard(row)
        self.lanes.leave(self.lanes.of(row))
        self._indices.forget()

    # ---- steps

    def orders(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """What `steps.Orders` says by row and by lane; which forced tokens are the calculator's.

        All of them count as given then, and are forgotten. Copies: a step under way may still read
        what is changed here.
        """
        forced_B, by_calculator_B = np.full(len(self), -1, np.int32), np.zeros(len(self), bool)
        for row, next_ in self.forced.take():
            forced_B[row], by_calculator_B[row] = next_
        given = {
            "start_B": self.start_B,
            "from_B": self.length_B.copy(),
            "where_B": self.where_B.copy(),
            "copied_B": self.copied_B,
            "go_B": self.go_B,
            "forced_B": forced_B,
            "limit_B": self.limit_B.copy(),
            **self.lanes.orders(),
        }
        self.stamp_B[self.start_B] += 1
        for name in ("start_B", "copied_B", "go_B"):
            setattr(self, name, np.zeros(len(self), bool))
        return given, by_calculator_B

    def write(
        self,
        row_R: np.ndarray,
        token_R: np.ndarray,
        logprob_R: np.ndarray,
        forced_R: np.ndarray,
        where_R: np.ndarray,
        likeliest_R: Likeliest = NOWHERE,
    ) -> np.ndarray:
        """Notes one more token of each of some rows; which of them another row has not written."""
        index_R = self.length_B[row_R]
        new_R = index_R >= self.known_B[row_R]
        self.token_BT[row_R, index_R] = token_R
        self.logprob_BT[row_R[new_R], index_R[new_R]] = logprob_R[new_R]
        if likeliest_R.count:
            self.likeliest_BT[row_R[new_R], index_R[new_R]] = likeliest_R[new_R]
        self.forced_BT[row_R, index_R] = forced_R
        self.where_B[row_R] = where_R
        self.length_B[row_R] += 1
        return index_R >= self.inherited_B[row_R]

    # ---- which row sees what

    def needed(self) -> tuple[int, int]:
        """Which of the sizes of prompt blocks is needed as of now, and how many blocks of pages."""
        return self._indices.needed(self.prompt_B, self.page_BM, self.pages)

    def indices(self, sizes: int, shared: int) -> CacheIndices:
        """Which row sees what, as of now, in blocks that are enough (`needed`)."""
        return self._indices.of(self.prompt_B, self.page_BM, self.pages, (sizes, shared))

    # ---- pages

    def _flushed(self) -> np.ndarray:
        """The rows whose newest pages have something in them."""
        return np.flatnonzero((self.prompt_B != IDLE) & (~self.start_B | self.copied_B))

    def wanted_pages(self) -> int:
        """Pages that are held after the next flush."""
        return int((self.held_A > 0).sum()) + len(self._flushed())

    def highest_page(self) -> int:
        """One more than the last page that is held."""
        held = np.flatnonzero(self.held_A)
        return int(held[-1]) + 1 if len(held) else 0

    def flush(
        self, branches: Sequence[Branch] = (), parked_alone: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gives every row in which something stands one more page, the lowest free ones.

        Rows that are parked leave theirs to the branches that go on from their ends, and are free.
        Such a page lacks the row's last token, which these read once more.

        Args:
            branches: all that hold pages.
            parked_alone: leaves the others as they are.

        Returns:
            page_B, the index in the pool of each row's; one beyond the last for none. And int32
            before_B: tokens of it from here on are left out.
        """
        page_B = np.full(len(self), self.pages, np.int32)
        before_B = np.full(len(self), np.iinfo(np.int32).max // 2, np.int32)
        ends = {(row, int(self.stamp_B[row])): int(self.length_B[row]) for row in self.parked}
        heirs = heirs_of(branches, ends)
        for row in self.parked - heirs.keys():
            self.release(row)
        rows = self._flushed()
        if parked_alone:
            rows = rows[np.isin(rows, list(self.parked))]
        parked = [row for row in rows.tolist() if row in self.parked]
        before_B[parked] = self.length_B[parked] - 1
        page_B[rows] = np.flatnonzero(self.held_A == 0)[: len(rows)]
        if (self.owned_B[rows] == self.page_BM.shape[1]).any():  # of a row that waited often
            self._widen(self.page_BM.shape[1] + 1)
        self.held_A[page_B[rows]] = 1
        self.page_BM[rows, self.owned_B[rows]] = page_B[rows]
        self.upto_BM[rows, self.owned_B[rows]] = self.length_B[rows]
        self.owned_B[rows] += 1
        self.stamp_B[rows if parked_alone else slice(None)] += 1
        for row in parked:
            for branch in heirs[row]:
                branch.inherit(int(page_B[row]), int(before_B[row]))
            self.held_A[page_B[row]] += len(heirs[row])
            self.release(row)
        self._indices.forget()
        return len(self) + page_B, before_B

    def _widen(self, pages: int) -> None:
        """Room for at least `pages` pages a row."""
        rows, there = self.page_BM.shape
        more = max(pages - there, there // 2, 1)
        self.page_BM = np.pad(self.page_BM, ((0, 0), (0, more)), constant_values=_NONE)
        self.upto_BM = np.pad(self.upto_BM, ((0, 0), (0, more)))

    def resize_pages(self, pages: int) -> None:
        """Another size of the pool; pages that are cut off must be free."""
        more = max(pages - self.pages, 0)
        self.held_A = np.concatenate([self.held_A[:pages], np.zeros(more, np.int32)])
        self._indices.forget()

    def keep(self, rows: int, block_sizes: BlockSizes) -> np.ndarray:
        """Goes on with `rows` slots, which must be enough for what is running.

        Returns:
            row_B, the old slots that stay, in their new order.
        """
        busy = np.flatnonzero(self.prompt_B != IDLE)
        row_B = np.concatenate([busy, self.idle()])[:rows]
        new = {int(old): number for number, old in enumerate(row_B)}
        self.forced.keep(new)
        for name in _BY_ROW:
            setattr(self, name, getattr(self, name)[row_B])
        self.lanes.keep(row_B)
        self._indices.block_sizes = block_sizes
        self._indices.forget()
        return row_B
