"""The host's books of a running batch: what each slot is writing and which pages it owns.

Numpy only: what the device holds of it is `state.DecodeState`.
"""

from __future__ import annotations

import collections

import numpy as np

from verifier.decode.prompt_blocks import BlockSizes, assign, blocks_needed
from verifier.model import cache as cache_lib
from verifier.model.cache import CacheIndices

IDLE = -1
_BY_ROW = """
prompt_B problem_B sample_B key_B2 begun_B stored_B length_B start_B go_B
token_BT logprob_BT forced_BT page_BM owned_B errors_B
""".split()


def most_pages(limit: int) -> int:
    """M, pages of a solution that starts in the middle of a window and seldom waits."""
    return -(-limit // cache_lib.WINDOW) + 1


class Rows:
    """B slots, all arrays by slot.

    A solution stays in its slot from its first to its last token.
    """

    def __init__(self, rows: int, limit: int, pages: int, block_sizes: BlockSizes) -> None:
        """All slots idle.

        Args:
            rows: B.
            limit: most tokens of a solution.
            pages: of the pool, at least one.
            block_sizes: of the attention to prompts.
        """
        self.prompt_B = np.full(rows, IDLE, np.int32)  # prompt slot, or IDLE
        self.problem_B = np.zeros(rows, np.int32)  # index in the list of problems
        self.sample_B = np.zeros(rows, np.int64)
        self.key_B2 = np.zeros((rows, 2), np.uint32)
        self.begun_B = np.zeros(rows, np.int64)  # the step that each solution begins in
        # Steps that an earlier start took for it; 0: it is drawn now.
        self.stored_B = np.zeros(rows, np.int64)
        self.length_B = np.zeros(rows, np.int32)  # tokens written, as far as the host has read
        self.start_B = np.zeros(rows, bool)  # to be started by the next step
        self.go_B = np.zeros(rows, bool)  # to be told to go on by the next step
        self.token_BT = np.zeros((rows, limit), np.int32)
        self.logprob_BT = np.zeros((rows, limit), np.float32)
        self.forced_BT = np.zeros((rows, limit), bool)
        self.errors_B = np.zeros(rows, np.int32)  # annotations that could not be evaluated
        # Full pages; `pages`: none.
        self.page_BM = np.full((rows, most_pages(limit)), pages, np.int32)
        self.owned_B = np.zeros(rows, np.int32)  # full pages of each row
        self.owner_A = np.full(pages, rows, np.int32)  # `rows`: nobody
        # Of each row: tokens to write, and whether the calculator's.
        self.queue: dict[int, collections.deque[tuple[int, bool]]] = {}
        self._block_sizes = block_sizes
        self._indices: CacheIndices | None = None
        self._blocks: int | None = None  # of the attention to prompts

    def __len__(self) -> int:
        return len(self.prompt_B)

    @property
    def pages(self) -> int:
        return len(self.owner_A)

    def idle(self) -> np.ndarray:
        """The slots in which nothing is written."""
        return np.flatnonzero(self.prompt_B == IDLE)

    def busy(self) -> int:
        """How many slots something is written in."""
        return int((self.prompt_B != IDLE).sum())

    def start(self, row: int, prompt: int, problem: int, sample: int, key: np.ndarray) -> None:
        """Gives an idle slot a new solution of the prompt in slot `prompt`.

        `begun_B` and `stored_B` are the caller's to set.
        """
        self.prompt_B[row], self.problem_B[row] = prompt, problem
        self.sample_B[row], self.key_B2[row] = sample, key
        self.length_B[row], self.errors_B[row], self.start_B[row] = 0, 0, True
        self._forget_indices()

    def release(self, row: int) -> None:
        """Takes an ended solution out of its slot; its pages are free for what is flushed later."""
        self.owner_A[self.owner_A == row] = len(self)
        self.page_BM[row], self.owned_B[row] = self.pages, 0
        self.prompt_B[row], self.stored_B[row] = IDLE, 0
        self.start_B[row], self.go_B[row] = False, False
        self.queue.pop(row, None)
        self._forget_indices()

    def orders(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """start_B, go_B and forced_B of the next step, and which forced are the calculator's.

        All of them count as given then, and are forgotten.
        """
        forced_B, by_calculator_B = np.full(len(self), -1, np.int32), np.zeros(len(self), bool)
        for row in list(self.queue):
            waiting = self.queue[row]
            forced_B[row], by_calculator_B[row] = waiting.popleft()
            if not waiting:
                del self.queue[row]
        start_B, go_B = self.start_B, self.go_B
        self.start_B, self.go_B = np.zeros_like(start_B), np.zeros_like(go_B)
        return start_B, go_B, forced_B, by_calculator_B

    def _forget_indices(self) -> None:
        """Rows or pages have changed: which row sees what is worked out anew."""
        self._indices, self._blocks = None, None

    def blocks(self) -> int:
        """How many blocks the attention to prompts needs as of now."""
        if self._blocks is None:
            self._blocks = blocks_needed(self.prompt_B, self._block_sizes)
        return self._blocks

    def indices(self, blocks: int) -> CacheIndices:
        """Which row sees what, as of now, in `blocks` blocks, which are enough."""
        if self._indices is None or len(self._indices.row_ER) != blocks:
            block_slot_B, row_ER, prompt_E = assign(self.prompt_B, self._block_sizes, blocks)
            # The first pages of the pool are the rows' newest.
            own = np.arange(len(self), dtype=np.int32)
            self._indices = CacheIndices(
                prompt_B=np.maximum(self.prompt_B, 0),
                block_slot_B=block_slot_B,
                row_ER=row_ER,
                prompt_E=None if self._block_sizes.own_block else prompt_E,
                row_X=np.concatenate([own, self.owner_A]),
                page_BM=np.concatenate([own[:, None], len(self) + self.page_BM], axis=1),
            )
        return self._indices

    def write(
        self, row_R: np.ndarray, token_R: np.ndarray, logprob_R: np.ndarray, forced_R: np.ndarray
    ) -> None:
        """Notes one more token of each of some rows."""
        index_R = self.length_B[row_R]
        self.token_BT[row_R, index_R] = token_R
        self.logprob_BT[row_R, index_R] = logprob_R
        self.forced_BT[row_R, index_R] = forced_R
        self.length_B[row_R] += 1

    def wanted_pages(self) -> int:
        """Pages that are owned after the next flush."""
        return int(
            (self.owner_A < len(self)).sum() + (self.prompt_B != IDLE).sum() - self.start_B.sum()
        )

    def highest_page(self) -> int:
        """One more than the last page that is owned."""
        owned = np.flatnonzero(self.owner_A < len(self))
        return int(owned[-1]) + 1 if len(owned) else 0

    def flush(self) -> np.ndarray:
        """Gives every running row one more page, the lowest free ones.

        Returns:
            page_B, the index in the pool of each row's; one beyond the last for none.
        """
        page_B = np.full(len(self), self.pages, np.int32)
        rows = np.flatnonzero((self.prompt_B != IDLE) & ~self.start_B)
        page_B[rows] = np.flatnonzero(self.owner_A == len(self))[: len(rows)]
        # Rows that waited often: their windows have many holes.
        if (self.owned_B[rows] == self.page_BM.shape[1]).any():
            more = np.full((len(self), max(1, self.page_BM.shape[1] // 2)), self.pages, np.int32)
            self.page_BM = np.concatenate([self.page_BM, more], axis=1)
        self.owner_A[page_B[rows]] = rows
        self.page_BM[rows, self.owned_B[rows]] = page_B[rows]
        self.owned_B[rows] += 1
        self._forget_indices()
        return len(self) + page_B

    def resize_pages(self, pages: int) -> None:
        """Another size of the pool; pages that are cut off must be free."""
        self.page_BM[self.page_BM == self.pages] = pages
        more = max(pages - self.pages, 0)
        self.owner_A = np.concatenate([self.owner_A[:pages], np.full(more, len(self), np.int32)])
        self._forget_indices()

    def keep(self, rows: int, block_sizes: BlockSizes) -> np.ndarray:
        """Goes on with `rows` slots, which must be enough for what is running.

        Returns:
            row_B, the old slots that stay, in their new order.
        """
        busy = np.flatnonzero(self.prompt_B != IDLE)
        row_B = np.concatenate([busy, self.idle()])[:rows]
        new_B = np.full(len(self) + 1, rows, np.int32)
        new_B[row_B] = np.arange(rows)
        self.owner_A = new_B[self.owner_A]
        self.queue = {int(new_B[row]): waiting for row, waiting in self.queue.items()}
        for name in _BY_ROW:
            setattr(self, name, getattr(self, name)[row_B])
        self._block_sizes = block_sizes
        self._forget_indices()
        return row_B
