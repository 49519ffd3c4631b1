"""Which row sees which prompt and pages, worked out when rows or pages have changed."""

from __future__ import annotations

import numpy as np

from verifier.decode import prompt_blocks, shared_pages
from verifier.decode.prompt_blocks import BlockSizes
from verifier.model import cache as cache_lib
from verifier.model.cache import CacheIndices


def most_pages(limit: int) -> int:
    """M, pages of a solution that starts in the middle of a window and seldom waits."""
    return -(-limit // cache_lib.WINDOW) + 1


class RowIndices:
    """The indices of a group's rows, kept until they are forgotten."""

    def __init__(self, block_sizes: BlockSizes, few_programs: bool) -> None:
        """As in `Rows`."""
        self.block_sizes, self._few_programs = block_sizes, few_programs
        self._indices: tuple[tuple[int, int], CacheIndices] | None = None  # in those sizes
        self._needed: tuple[int, int] | None = None  # blocks of prompts, of shared pages

    def forget(self) -> None:
        """Rows or pages have changed."""
        self._indices, self._needed = None, None

    def needed(self, prompt_B: np.ndarray, page_BM: np.ndarray, pages: int) -> tuple[int, int]:
        """Which of the sizes of prompt blocks is needed as of now, and how many blocks of pages."""
        if self._needed is None:
            fewest = shared_pages.fewest(len(prompt_B))
            shared = shared_pages.needed(page_BM, pages, fewest)
            if self._few_programs:
                shared = max(shared, fewest)
            self._needed = prompt_blocks.needed(prompt_B, self.block_sizes), shared
        return self._needed

    def of(
        self, prompt_B: np.ndarray, page_BM: np.ndarray, pages: int, sizes: tuple[int, int]
    ) -> CacheIndices:
        """Which row sees what, as of now, in blocks that are enough (`needed`)."""
        if self._indices is None or self._indices[0] != sizes:
            blocks, shared = sizes
            block_slot_B, row_ER, prompt_E = prompt_blocks.assign(
                prompt_B, self.block_sizes, blocks
            )
            indices = CacheIndices(
                np.maximum(prompt_B, 0),
                block_slot_B,
                row_ER,
                None if self.block_sizes.own_block else prompt_E,
                *shared_pages.assign(page_BM, pages, shared),
            )
            self._indices = sizes, indices
        return self._indices[1]
