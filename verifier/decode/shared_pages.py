"""Pages that several rows have, since they went the same way so far: blocks of rows that see one.

Made anew by the host when rows or pages come and go. Numpy only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# R, rows of a block: more would leave more of a block empty, fewer would copy a page more often.
BLOCK_ROWS = 8


class Shared(NamedTuple):
    """As `cache.CacheIndices` has them, in its order."""

    row_X: np.ndarray
    page_BM: np.ndarray
    page_Y: np.ndarray | None
    row_YR: np.ndarray | None


def needed(page_BM: np.ndarray, pages: int, fewest: int) -> int:
    """How many blocks these pages need: none, `fewest`, or 4, 16, ... times as many, for a program
    is compiled for each.
    """
    rows_A = np.bincount(page_BM[page_BM >= 0], minlength=pages)
    blocks, size = int((-(-rows_A[rows_A > 1] // BLOCK_ROWS)).sum()), fewest
    if not blocks:
        return 0
    while size < blocks:
        size *= 4
    return size


def fewest(rows: int) -> int:
    """Blocks that are enough for most of the time, for B rows."""
    return -(-rows // BLOCK_ROWS)


def assign(page_BM: np.ndarray, pages: int, blocks: int) -> Shared:
    """Which row sees which page of the pool alone, and which pages several rows see.

    Args:
        page_BM: int, the full pages of each row, counted from the first one behind the rows' newest
            ones; -1: none.
        pages: of the pool, without the newest.
        blocks: Y, at least `needed`.
    """
    rows, none = len(page_BM), len(page_BM) + pages + blocks * BLOCK_ROWS
    row_N, column_N = np.nonzero(page_BM >= 0)
    page_N = page_BM[row_N, column_N]
    count_A = np.bincount(page_N, minlength=pages)
    own = np.arange(rows, dtype=np.int32)
    row_X = np.full(rows + pages, rows, np.int32)  # the first pages are the rows' newest
    row_X[:rows] = own
    alone_N = count_A[page_N] == 1
    row_X[rows + page_N[alone_N]] = row_N[alone_N]
    listed = np.full((rows, page_BM.shape[1] + 1), none, np.int32)
    listed[:, 0] = own
    listed[row_N, column_N + 1] = rows + page_N
    if not blocks:
        return Shared(row_X, listed, None, None)
    together = np.flatnonzero(~alone_N)
    together = together[np.argsort(page_N[together], kind="stable")]
    shared, first, count = np.unique(page_N[together], return_index=True, return_counts=True)
    of_page = -(-count // BLOCK_ROWS)
    first_slot = (np.cumsum(of_page) - of_page) * BLOCK_ROWS
    slot_N = np.repeat(first_slot - first, count) + np.arange(len(together))
    row_YR = np.full(blocks * BLOCK_ROWS, rows, np.int32)
    row_YR[slot_N] = row_N[together]
    listed[row_N[together], column_N[together] + 1] = rows + pages + slot_N
    page_Y = np.zeros(blocks, np.int32)
    page_Y[: of_page.sum()] = rows + np.repeat(shared, of_page)
    return Shared(row_X, listed, page_Y, row_YR.reshape(blocks, BLOCK_ROWS))
