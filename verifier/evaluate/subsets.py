"""Votes as they would go if fewer samples had been drawn: among the k best-ranked of N random ones of a problem's n. Knows no intervals.

With k = N all that were drawn vote; without scores, where the order of rank is that of the ids, only that makes sense.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from verifier.evaluate.candidates import Candidates

SUBSETS = 200  # drawn of a problem at most
DRAWS = 32_768  # of all problems together: the standard error of a share is then a quarter of a point at most, 0.5 / sqrt(DRAWS)
_LEAST = 8
_CHUNK = 100_000  # array elements worked on at once, so that they stay in a processor's cache


def vote_shares(
    candidates: Candidates,
    cells: Sequence[tuple[int, int]],
    seed: int,
    subsets: int = SUBSETS,
    draws: int = DRAWS,
    weight_PJ: np.ndarray | None = None,
) -> dict[tuple[int, int], np.ndarray]:
    """Chance that the answer with the most votes among the k best-ranked of N samples is right.

    Exact over all subsets of N where there are at most `subsets` (or n) of them, which holds for N = 1, n-1 and n; otherwise the mean over
    random ones: `subsets` of every problem, fewer where that makes more than `draws` in all. All cells see the same subsets.

    Args:
        candidates: samples with their answers.
        cells: pairs (N, k) with 1 <= k <= N <= the samples of the problem that has fewest.
        seed: of the drawn subsets; the same seed gives the same numbers.
        subsets: how many are drawn of a problem at most.
        draws: about so many of all problems together, 8 of a problem at least.
        weight_PJ: votes that each sample casts for its answer; None: one each. Samples without an answer cast none.

    Returns:
        [P] float64 for every cell.

    Raises:
        ValueError: a cell is out of range.
    """
    for size, k in cells:
        if not 1 <= k <= size <= candidates.smallest:
            raise ValueError(f"votes of the {k} best of {size}: expected 1 <= k <= N <= {candidates.smallest}, the samples of a problem")
    problems = len(candidates.count_P)
    out = {cell: np.zeros(problems) for cell in cells}
    sizes = {size: np.array(sorted(k for other, k in out if other == size)) for size, _ in cells}
    each = min(subsets, max(_LEAST, -(-draws // problems)))
    ballots = _Ballots(candidates, weight_PJ)
    rng = np.random.default_rng(seed)
    for n in np.unique(candidates.count_P).tolist():
        rows = np.nonzero(candidates.count_P == n)[0]
        rows = rows[np.argsort(ballots.answers_P[rows], kind="stable")]  # parts with as many answers need the least room
        few = [size for size in sizes if math.comb(n, size) <= max(subsets, n)]
        for size in few:
            every_SN = np.array(list(itertools.combinations(range(n), size)))
            for part in _parts(rows, every_SN.size):
                columns = np.broadcast_to(every_SN, (len(part), *every_SN.shape))
                _fill(out, size, sizes[size], part, ballots.best_of_drawn(part, columns, sizes[size]))
        many = [size for size in sizes if size not in few]
        # All that are drawn vote; weights are added up in order of rank, size by size, so that equal sums are the same floats.
        whole = np.array(sorted(size for size in many if sizes[size].tolist() == [size] and weight_PJ is None))
        for part in _parts(rows, each * n) if many else ():
            turn_PSJ = rng.permuted(np.tile(np.arange(n, dtype=np.uint16), (len(part), each, 1)), axis=2)
            if len(whole):
                shares = ballots.all_of_drawn(part, turn_PSJ, whole)
                for place, size in enumerate(whole.tolist()):
                    out[size, size][part] = shares[:, place]
            for size in set(many) - set(whole.tolist()):
                there = np.flatnonzero(turn_PSJ < size).reshape(-1, size)  # row by row, and so in order of rank
                column_PSN = (there - n * np.arange(len(there))[:, None]).reshape(len(part), each, size)
                _fill(out, size, sizes[size], part, ballots.best_of_drawn(part, column_PSN, sizes[size]))
    return out


def _fill(out: dict[tuple[int, int], np.ndarray], size: int, ks: np.ndarray, part: np.ndarray, shares: np.ndarray) -> None:
    for place, k in enumerate(ks.tolist()):
        out[size, k][part] = shares[:, place]


class _Ballots:
    """The votes of all samples, and who is elected when some of them are cast, one group after the other."""

    def __init__(self, candidates: Candidates, weight_PJ: np.ndarray | None) -> None:
        self.answer_PJ, self.weight_PJ = candidates.answer_PJ, weight_PJ
        first_PA = candidates.first_column_PA()
        self.answers_P = np.sum(first_PA >= 0, axis=1)
        self.right_PA = np.take_along_axis(candidates.correct_PJ, np.maximum(first_PA, 0), axis=1) & (first_PA >= 0)

    def all_of_drawn(self, part: np.ndarray, turn_PSJ: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """[P, sizes] share of right elections in which the samples of the first `size` turns vote, for the problems in `part`."""
        column_PSJ = np.broadcast_to(np.arange(turn_PSJ.shape[2]), turn_PSJ.shape)
        group_of_turn = np.searchsorted(sizes, np.arange(turn_PSJ.shape[2]), side="right")
        return self._elections(part, column_PSJ, group_of_turn[turn_PSJ], len(sizes))

    def best_of_drawn(self, part: np.ndarray, column_PSN: np.ndarray, ks: np.ndarray) -> np.ndarray:
        """[P, ks] share of right elections in which the first k of the drawn columns vote, which ascend."""
        group_N = np.searchsorted(ks, np.arange(column_PSN.shape[2]), side="right")
        return self._elections(part, column_PSN, np.broadcast_to(group_N, column_PSN.shape), len(ks))

    def _elections(self, part: np.ndarray, column_PSN: np.ndarray, group_PSN: np.ndarray, groups: int) -> np.ndarray:
        """[P, groups] share of right elections after each group of voters; a group beyond the last does not vote."""
        problems, draws, _ = column_PSN.shape
        answer_PJ = self.answer_PJ[part]
        answers = int(answer_PJ.max(initial=-1)) + 1
        if answers == 0:
            return np.zeros((problems, groups))
        place_P11 = np.arange(problems)[:, None, None]
        election_PS1 = np.arange(problems * draws).reshape(problems, draws, 1)
        answer_PSN = answer_PJ[place_P11, column_PSN]
        slot_PSN = (election_PS1 * (groups + 1) + group_PSN) * (answers + 1) + answer_PSN + 1  # slot 0: without an answer
        slot, column = slot_PSN.ravel(), column_PSN.ravel()
        shape = (problems, draws, groups + 1, answers + 1)
        weight = None if self.weight_PJ is None else self.weight_PJ[part][place_P11, column_PSN].ravel()
        votes = np.bincount(slot, weight, minlength=math.prod(shape)).reshape(shape)[:, :, :groups, 1:].cumsum(axis=2)
        nobody = answer_PJ.shape[1]
        first = np.full(math.prod(shape), nobody, np.int64)
        first[slot[::-1]] = column[::-1]  # the last that is written stays: the best-ranked
        first = np.minimum.accumulate(first.reshape(shape)[:, :, :groups, 1:], axis=2)
        if weight is None:  # the most votes, of equals the best-ranked
            winner = (votes * (nobody + 1) - first).argmax(axis=3, keepdims=True)
        else:
            cast = np.where(first < nobody, votes, -np.inf)
            winner = np.where(cast == cast.max(axis=3, keepdims=True), first, nobody + 1).argmin(axis=3, keepdims=True)
        voted = np.take_along_axis(first, winner, axis=3)[..., 0] < nobody
        return (voted & self.right_PA[part][place_P11, winner[..., 0]]).mean(axis=1)


def _parts(rows: np.ndarray, elements: int) -> list[np.ndarray]:
    """Rows in pieces so small that `elements` a row fit the memory."""
    return np.array_split(rows, min(-(-len(rows) * elements // _CHUNK), len(rows)))
