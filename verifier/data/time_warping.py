"""Dynamic time warping: paths of least cost through matrices, many at once (Fu et al. 2023).

With the cost c of matching two tokens,

    f(i, j) = c(i, j) + min(f(i - 1, j), f(i, j - 1), f(i - 1, j - 1))

where f is 0 before the first tokens of both sides and infinite elsewhere outside. Every pair of a
path pays, so nothing is skipped. The path is read from the last tokens of both sides back to the
first; of moves that cost the same the diagonal goes first, then up (a token of the first side
less), then left (one of the second side less), as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_DIAGONAL, _UP, _LEFT = 0, 1, 2
_NEVER = 2**30  # more than any path costs


class Path(NamedTuple):
    """The pairs that a path matches, in the order of the tokens, K of them."""

    first_K: np.ndarray  # int64, tokens of the first side
    second_K: np.ndarray  # int64, tokens of the second side
    cost: int  # of all


def warped(costs: Sequence[np.ndarray]) -> list[Path]:
    """The path of least cost through each matrix.

    Args:
        costs: whole numbers from 0 on, [I, J] each, neither side empty.
    """
    sizes = np.array([each.shape for each in costs])
    rows, columns = sizes.max(axis=0)
    cost_NIJ = np.zeros((len(costs), rows, columns), np.int32)
    for padded, each in zip(cost_NIJ, costs, strict=True):
        padded[: each.shape[0], : each.shape[1]] = each
    moves, totals_N = _moves(cost_NIJ, sizes)
    path_K2N = _read_back(moves, sizes)
    paths = []
    for number, total in enumerate(totals_N.tolist()):
        first_K, second_K = path_K2N[::-1, :, number].T
        inside = first_K >= 0
        paths.append(Path(first_K[inside], second_K[inside], total))
    return paths


def _moves(cost_NIJ: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How each pair is come to, by diagonals [I + J - 1, N, I], and what the last pairs cost."""
    count, rows, columns = cost_NIJ.shape
    moves = np.zeros((rows + columns - 1, count, rows), np.uint8)
    totals_N = np.zeros(count, np.int64)
    # f of the last two diagonals by row, behind a column that stands for the row before the first.
    before, last = np.full((2, count, rows + 1), _NEVER, np.int32)
    before[:, 0] = 0
    flat = cost_NIJ.reshape(count, -1)
    for diagonal in range(rows + columns - 1):
        first, end = max(0, diagonal - columns + 1), min(diagonal + 1, rows)
        # Pair (i, diagonal - i) stands at i * columns + diagonal - i.
        step = max(columns - 1, 1)
        start = first * (columns - 1) + diagonal
        own = flat[:, start : start + (end - first - 1) * step + 1 : step]
        both, up, left = before[:, first:end], last[:, first:end], last[:, first + 1 : end + 1]
        least = np.minimum(up, left)
        straight = both <= least
        moves[diagonal, :, first:end] = np.where(
            straight, _DIAGONAL, np.where(up <= left, _UP, _LEFT)
        )
        here = np.full_like(last, _NEVER)
        here[:, first + 1 : end + 1] = own + np.where(straight, both, least)
        ends_N = np.flatnonzero(sizes.sum(axis=1) - 2 == diagonal)
        totals_N[ends_N] = here[ends_N, sizes[ends_N, 0]]
        before, last = last, here
    return moves, totals_N


def _read_back(moves: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Pairs of each path from its last to its first, [K, 2, N]; -1 behind these."""
    at_2N = sizes.T - 1
    numbers = np.arange(at_2N.shape[1])
    path = []
    while (is_left := at_2N[0] >= 0).any():
        path.append(at_2N)
        move_N = moves[at_2N.sum(axis=0), numbers, at_2N[0]]
        at_2N = at_2N - np.stack([move_N != _LEFT, move_N != _UP])
        at_2N = np.where(is_left & (at_2N >= 0).all(axis=0), at_2N, -1)
    return np.stack(path)
