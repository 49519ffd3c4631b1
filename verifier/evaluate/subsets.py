"""Votes as they would go if fewer samples had been drawn: among the k best-ranked of N random ones of a problem's n. Knows no intervals.

With k = N all that were drawn vote; without scores, where the order of rank is that of the ids, only that makes sense.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from verifier.evaluate.candidates import Candidates
from verifier.evaluate.elections import Votes, by_sorting, counted

SUBSETS = 200  # drawn of a problem at most
# Of all problems together. The error that drawing adds to a mean over problems has a standard deviation of at most 0.5 / sqrt(all draws):
# half a point for 41 problems and more (DRAWS / SUBSETS), a point for ten; intervals over problems are wider by far, and hold it.
DRAWS = 8_192
_LEAST = 8
_ROOMY = 4  # elections are counted in a table of all slots where that has so many places a voter at most
_LARGE, _SPARSE = 10_000, 32  # of more samples than that, and as many times as many as are drawn, only those that are drawn take turns
_CHUNK = 100_000  # array elements worked on at once, so that they stay in a processor's cache


def vote_shares(
    candidates: Candidates,
    cells: Sequence[tuple[int, int]],
    seed: int,
    subsets: int = SUBSETS,
    draws: int = DRAWS,
    weight_C: np.ndarray | None = None,
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
        weight_C: votes that each sample casts for its answer; None: one each. Samples without an answer cast none.

    Returns:
        [P] float64 for every cell.

    Raises:
        ValueError: a cell is out of range.
    """
    for size, k in cells:
        if not 1 <= k <= size <= candidates.smallest:
            raise ValueError(f"votes of the {k} best of {size}: expected 1 <= k <= N <= {candidates.smallest}, the samples of a problem")
    problems = len(candidates.count_P)
    out = {cell: np.zeros(problems) for cell in cells}  # right elections; then their share
    sizes = {size: np.array(sorted(k for other, k in out if other == size)) for size, _ in cells}
    each = _each(problems, subsets, draws)
    ballots = _Ballots(candidates, weight_C)
    rng = np.random.default_rng(seed)
    for n in np.unique(candidates.count_P).tolist():
        rows = np.nonzero(candidates.count_P == n)[0]
        rows = rows[np.argsort(ballots.slots_P[rows], kind="stable")]  # parts with as many answers need the least room
        all_of = {size: math.comb(n, size) for size in sizes if _all(n, size, subsets)}
        whole = _of_all(ballots, rows, n, {size: sizes[size] for size in all_of if size > 1})
        some = _of_drawn(ballots, rows, n, {size: ks for size, ks in sizes.items() if size not in all_of}, each, rng)
        for part, size, ks, right in itertools.chain(whole, some):
            for place, k in enumerate(ks.tolist()):
                out[size, k][part] += right[:, place]
        for (size, _), right_P in out.items():
            right_P[rows] /= all_of.get(size, each)
    if 1 in sizes:  # a single voter's answer is elected
        out[1, 1] = np.add.reduceat(ballots.right_C, candidates.start_P, dtype=np.int64) / candidates.count_P
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


_Elections = Iterator[tuple[np.ndarray, int, np.ndarray, np.ndarray]]  # problems, N, ks, and [problems, ks] right elections


def _of_all(ballots: _Ballots, rows: np.ndarray, n: int, sizes: Mapping[int, np.ndarray]) -> _Elections:
    """Elections in all subsets of `sizes` of n samples."""
    for size, ks in sizes.items():
        every_SN = np.array(list(itertools.combinations(range(n), size)))
        for part in _parts(rows, every_SN.size):
            yield part, size, ks, ballots.best_of_drawn(part, np.broadcast_to(every_SN, (len(part), *every_SN.shape)), ks)


def _of_drawn(
    ballots: _Ballots, rows: np.ndarray, n: int, sizes: Mapping[int, np.ndarray], each: int, rng: np.random.Generator
) -> _Elections:
    """Elections in random subsets of `sizes` of n samples, `each` of a problem."""
    # All that are drawn vote; weights are added up in order of rank, size by size, so that equal sums are the same floats.
    whole = np.array(sorted(size for size, ks in sizes.items() if ks.tolist() == [size] and ballots.weight_C is None))
    for part in _parts(rows, each * n) if sizes else ():
        for turn_PSM, column_PSM in _turns(rng, len(part), each, n, max(sizes)):
            if len(whole):
                right = ballots.all_of_drawn(part, turn_PSM, column_PSM, whole)
                for place, size in enumerate(whole.tolist()):
                    yield part, size, sizes[size], right[:, place : place + 1]
            for size in sizes.keys() - set(whole.tolist()):
                column_PSN = column_PSM[turn_PSM < size].reshape(*turn_PSM.shape[:2], size)  # row by row, and so in order of rank
                yield part, size, sizes[size], ballots.best_of_drawn(part, column_PSN, sizes[size])


class _Ballots:
    """The votes of all samples, and who is elected when some of them are cast, one group of voters after the other.

    Where every vote counts one, an answer that a single sample gives never has two. So such answers share a slot: an answer with two votes
    or more wins over them, and where there is none, the best-ranked of all voters does.
    """

    def __init__(self, candidates: Candidates, weight_C: np.ndarray | None) -> None:
        found, problems, samples = candidates.answers(), len(candidates.count_P), len(candidates.row_C)
        own_A = np.bincount(found.answer_V, minlength=len(found.first_A)) >= (2 if weight_C is None else 1)
        problem_A = np.repeat(np.arange(problems), found.answers_P)
        own_P = np.bincount(problem_A, own_A, problems).astype(np.int64)
        slot_A = np.where(own_A, np.cumsum(own_A) + 1 - (np.cumsum(own_P) - own_P)[problem_A], 1)
        self.weight_C, self.start_P, self.count_P = weight_C, candidates.start_P, candidates.count_P
        self.slot_C = np.zeros(samples, np.int32)  # 0: no answer; 1: shared; from 2 on: an answer's own
        self.slot_C[found.voter_V] = slot_A[found.answer_V]
        self.slots_P = own_P + 3  # one more than there are, so that there always is an own one
        self.right_C = np.zeros(samples, bool)  # as the answer's best-ranked sample is
        self.right_C[found.voter_V] = candidates.correct_C[found.first_A][found.answer_V]

    def all_of_drawn(self, part: np.ndarray, turn_PSM: np.ndarray, column_PSM: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """[P, sizes] right elections in which the samples of the first `size` turns vote, for the problems in `part`, alike in size."""
        group_of_turn = np.searchsorted(sizes, np.arange(turn_PSM.shape[2]), side="right")
        return self._elections(part, column_PSM, group_of_turn[turn_PSM], len(sizes))

    def best_of_drawn(self, part: np.ndarray, column_PSN: np.ndarray, ks: np.ndarray) -> np.ndarray:
        """[P, ks] right elections in which the first k of the drawn columns vote, which ascend."""
        if self.weight_C is not None and len(ks) > 1:  # weights are added up election by election
            return np.concatenate([self.best_of_drawn(part, column_PSN, ks[place : place + 1]) for place in range(len(ks))], axis=1)
        group_N = np.searchsorted(ks, np.arange(column_PSN.shape[2]), side="right")
        return self._elections(part, column_PSN, np.broadcast_to(group_N, column_PSN.shape), len(ks))

    def _elections(self, part: np.ndarray, column_PSN: np.ndarray, group_PSN: np.ndarray, groups: int) -> np.ndarray:
        """[P, groups] right elections after each group of voters; a group beyond the last does not vote."""
        problems, draws, voters = column_PSN.shape
        n, slots = int(self.count_P[part[0]]), int(self.slots_P[part].max())
        place_PSN = self.start_P[part][:, None, None] + column_PSN
        election_PSN = np.broadcast_to(np.arange(problems * draws).reshape(problems, draws, 1), column_PSN.shape)
        slot, group = self.slot_C[place_PSN].ravel(), group_PSN.ravel()
        weight = None if self.weight_C is None else self.weight_C[place_PSN].ravel()
        votes = Votes(election_PSN.ravel(), group, slot, column_PSN.ravel(), weight)
        by = counted if (groups + 1) * slots <= _ROOMY * voters else by_sorting
        elected_PSG = by(votes, (problems * draws, groups, slots), n).reshape(problems, draws, groups)
        right_PSG = self.right_C[self.start_P[part][:, None, None] + np.minimum(elected_PSG, n - 1)]
        return np.sum(right_PSG & (elected_PSG < n), axis=1)


def _turns(rng: np.random.Generator, problems: int, draws: int, n: int, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """[P, S, M] turns of samples at random and their columns, which ascend: `most` of n at least, M = n unless n is large by far.

    All `draws` come at once or, of a single problem that is large, some at a time.
    """
    if n > _LARGE and most < n // _SPARSE:
        column_PSM = np.array([rng.choice(n, most, replace=False) for _ in range(problems * draws)]).reshape(problems, draws, most)
        turn_PSM = column_PSM.argsort(axis=2)
        yield turn_PSM, np.take_along_axis(column_PSM, turn_PSM, axis=2)
        return
    at_once = draws if problems > 1 else max(min(draws, _CHUNK // n), 1)
    turns, columns = np.arange(n, dtype=np.min_scalar_type(n)), np.arange(n)
    for done in range(0, draws, at_once):
        turn_PSM = rng.permuted(np.tile(turns, (problems, min(at_once, draws - done), 1)), axis=2)
        yield turn_PSM, np.broadcast_to(columns, turn_PSM.shape)


def _parts(rows: np.ndarray, elements: int) -> list[np.ndarray]:
    """Rows in pieces so small that `elements` a row fit the memory."""
    return np.array_split(rows, min(-(-len(rows) * elements // _CHUNK), len(rows)))
