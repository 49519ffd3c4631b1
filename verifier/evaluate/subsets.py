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
# Of all problems together. The error that drawing adds to a mean over problems has a standard deviation of at most 0.5 / sqrt(all draws):
# half a point for 41 problems and more (DRAWS / SUBSETS), a point for ten; intervals over problems are wider by far, and hold it.
DRAWS = 8_192
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

    Exact over all subsets of N where there are at most `subsets` of them, and for N = 1 and n; otherwise the mean over random ones:
    `subsets` of every problem, fewer where that makes more than `draws` in all. All cells see the same subsets.

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
    each = _each(problems, subsets, draws)
    ballots = _Ballots(candidates, weight_PJ)
    rng = np.random.default_rng(seed)
    for n in np.unique(candidates.count_P).tolist():
        rows = np.nonzero(candidates.count_P == n)[0]
        rows = rows[np.argsort(ballots.slots_P[rows], kind="stable")]  # parts with as many answers need the least room
        few = [size for size in sizes if _all(n, size, subsets)]
        for size in few:
            every_SN = np.array(list(itertools.combinations(range(n), size)))
            for part in _parts(rows, every_SN.size):
                columns = np.broadcast_to(every_SN, (len(part), *every_SN.shape))
                _fill(out, size, sizes[size], part, ballots.best_of_drawn(part, columns, sizes[size]))
        many = [size for size in sizes if size not in few]
        # All that are drawn vote; weights are added up in order of rank, size by size, so that equal sums are the same floats.
        whole = np.array(sorted(size for size in many if sizes[size].tolist() == [size] and weight_PJ is None))
        for part in _parts(rows, each * n) if many else ():
            turn_PSJ = rng.permuted(np.tile(np.arange(n, dtype=np.min_scalar_type(n)), (len(part), each, 1)), axis=2)
            if len(whole):
                shares = ballots.all_of_drawn(part, turn_PSJ, whole)
                for place, size in enumerate(whole.tolist()):
                    out[size, size][part] = shares[:, place]
            for size in set(many) - set(whole.tolist()):
                there = np.flatnonzero(turn_PSJ < size).reshape(-1, size)  # row by row, and so in order of rank
                column_PSN = (there - n * np.arange(len(there))[:, None]).reshape(len(part), each, size)
                _fill(out, size, sizes[size], part, ballots.best_of_drawn(part, column_PSN, sizes[size]))
    return out


def drawn(count_P: np.ndarray, size: int, subsets: int = SUBSETS, draws: int = DRAWS) -> np.ndarray:
    """[P] float64, of how many random subsets of `size` a share of `vote_shares` is the mean; infinite where it is that of all."""
    random = [n for n in np.unique(count_P).tolist() if not _all(n, size, subsets)]
    return np.where(np.isin(count_P, random), float(_each(len(count_P), subsets, draws)), np.inf)


def _each(problems: int, subsets: int, draws: int) -> int:
    """How many subsets are drawn of a problem."""
    return min(subsets, max(_LEAST, -(-draws // problems)))


def _all(samples: int, size: int, subsets: int) -> bool:
    """Whether all subsets are taken, and none drawn."""
    return size in (1, samples) or math.comb(samples, size) <= subsets


def _fill(out: dict[tuple[int, int], np.ndarray], size: int, ks: np.ndarray, part: np.ndarray, shares: np.ndarray) -> None:
    for place, k in enumerate(ks.tolist()):
        out[size, k][part] = shares[:, place]


class _Ballots:
    """The votes of all samples, and who is elected when some of them are cast, one group of voters after the other.

    Where every vote counts one, an answer that a single sample gives never has two. So such answers share a slot: an answer with two votes
    or more wins over them, and where there is none, the best-ranked of all voters does.
    """

    def __init__(self, candidates: Candidates, weight_PJ: np.ndarray | None) -> None:
        answer_PJ, first_PA = candidates.answer_PJ, candidates.first_column_PA()
        problem_P1 = np.arange(len(answer_PJ))[:, None]
        size_PA = np.zeros((len(answer_PJ), first_PA.shape[1] + 1), np.int64)  # the last: without an answer
        np.add.at(size_PA, (np.broadcast_to(problem_P1, answer_PJ.shape), answer_PJ), 1)
        own_PA = size_PA[:, :-1] >= (2 if weight_PJ is None else 1)
        slot_PA = np.pad(np.where(own_PA, np.cumsum(own_PA, axis=1) + 1, 1), ((0, 0), (0, 1)))
        right_PA = np.take_along_axis(candidates.correct_PJ, np.maximum(first_PA, 0), axis=1)
        self.weight_PJ = weight_PJ
        self.slot_PJ = slot_PA[problem_P1, answer_PJ]  # 0: no answer; 1: shared; from 2 on: an answer's own
        self.slots_P = own_PA.sum(axis=1) + 3  # one more than there are, so that there always is an own one
        right_PJ = np.pad(right_PA, ((0, 0), (0, 1)))[problem_P1, answer_PJ] & (answer_PJ >= 0)
        self.right_PJ = np.pad(right_PJ, ((0, 0), (0, 1)))  # the last: nobody voted

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
        nobody, slots = self.slot_PJ.shape[1], int(self.slots_P[part].max())
        problem_P11 = np.arange(problems)[:, None, None]
        election_PS1 = np.arange(problems * draws).reshape(problems, draws, 1)
        place_PSN = (election_PS1 * (groups + 1) + group_PSN) * slots + self.slot_PJ[part][problem_P11, column_PSN]
        place, column = place_PSN.ravel(), column_PSN.ravel()
        shape = (problems, draws, groups + 1, slots)
        weight = None if self.weight_PJ is None else self.weight_PJ[part][problem_P11, column_PSN].ravel()
        votes = np.bincount(place, weight, minlength=math.prod(shape)).reshape(shape)[:, :, :groups, 2:]
        first = np.full(math.prod(shape), nobody, np.int32)
        first[place[::-1]] = column[::-1]  # the last that is written stays: the best-ranked
        first = first.reshape(shape)[:, :, :groups, 1:]
        if groups > 1:
            votes, first = votes.cumsum(axis=2), np.minimum.accumulate(first, axis=2)
        own = first[..., 1:]
        if weight is None:  # the most votes, of equals the best-ranked
            winner = (votes * (nobody + 1) - own).argmax(axis=3, keepdims=True)
            several = np.take_along_axis(votes, winner, axis=3)[..., 0] > 1
            elected = np.where(several, np.take_along_axis(own, winner, axis=3)[..., 0], first.min(axis=3))
        else:
            cast = np.where(own < nobody, votes, -np.inf)
            elected = np.where(cast == cast.max(axis=3, keepdims=True), own, nobody).min(axis=3)
        return self.right_PJ[part][problem_P11, elected].mean(axis=1)


def _parts(rows: np.ndarray, elements: int) -> list[np.ndarray]:
    """Rows in pieces so small that `elements` a row fit the memory."""
    return np.array_split(rows, min(-(-len(rows) * elements // _CHUNK), len(rows)))
