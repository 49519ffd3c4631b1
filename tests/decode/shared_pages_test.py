"""Every row is given each of its pages once, alone or in a block of those that share it."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.decode import shared_pages


@pytest.mark.parametrize("seed", range(20))
def test_each_row_sees_its_own_pages_and_no_others(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, pages, most = 30, 25, 4
    page_BM = np.full((rows, most), -1, np.int32)
    for row in range(rows):
        own = random.permutation(random.integers(1, pages + 1))[: random.integers(0, most + 1)]
        page_BM[row, : len(own)] = own
    blocks = shared_pages.needed(page_BM, pages, fewest=1)
    row_X, listed_BM, page_Y, row_YR = shared_pages.assign(page_BM, pages, blocks)
    assert row_YR.shape == (blocks, shared_pages.BLOCK_ROWS)
    seen = [[] for _ in range(rows)]
    for row, entries in enumerate(listed_BM):
        for entry in entries[entries < len(row_X) + row_YR.size]:
            if entry < len(row_X):
                assert row_X[entry] == row
                seen[row].append(int(entry))
            else:
                block, slot = divmod(int(entry) - len(row_X), shared_pages.BLOCK_ROWS)
                assert row_YR[block, slot] == row
                seen[row].append(int(page_Y[block]))
    for row in range(rows):
        own = page_BM[row][page_BM[row] >= 0] + rows
        assert sorted(seen[row]) == sorted([row, *own.tolist()])
    # Nobody else looks at anything.
    assert (row_X < rows).sum() + (row_YR < rows).sum() == sum(map(len, seen))


def test_blocks_come_in_few_sizes_and_none_where_nothing_is_shared() -> None:
    alone, all_alike = np.arange(40)[:, None], np.zeros((40, 1), int)
    assert shared_pages.needed(alone, 40, 3) == 0
    assert shared_pages.needed(all_alike, 1, 3) == 12  # 5 blocks of 8
    assert shared_pages.assign(alone, 40, 0).page_Y is None
