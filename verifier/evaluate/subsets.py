"""Votes as they would go if fewer samples had been drawn.

The k best-ranked of N random ones of a problem's n vote. With k = N all that were drawn vote;
without scores, where the order of rank is that of the ids, only that makes sense.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from verifier.evaluate.candidates import Candidates
from verifier.evaluate.elections import largest_sum, most_votes

SUBSETS = 200  # drawn of a problem at most
# Of all problems together. The error that drawing adds to a mean over problems has a standard
# deviation of at most 0.5 / sqrt(all draws): half a point for 41 problems and more (DRAWS /
# SUBSETS), a point for ten, two for few problems of 10,000 samples (_TURNS / 10,000); intervals
# over problems are wider by far, and hold it.
DRAWS = 8_192
_LEAST = 8
# About so many samples take turns in the draws of all problems: there are fewer draws where a
# problem has many samples.
_TURNS = 1 << 23
# Of more samples than _LARGE, and _SPARSE times as many as are drawn, only those that are drawn
# take turns.
_LARGE, _SPARSE = 10_000, 32
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

    Exact over all subsets of N where there are at most `subsets` of them, and for N = 1 and n;
    otherwise the mean over random ones: `subsets` of every problem, fewer where that makes more
    than `draws` in all or the samples are many. All cells see the same subsets.

    Args:
        candidates: samples with their answers.
        cells: pairs (N, k) with 1 <= k <= N <= the samples of the problem that has fewest.
        seed: of the drawn subsets; the same seed gives the same numbers.
        subsets: how many are drawn of a problem at most.
        draws: about so many of all problems together at most, 8 of a problem at least.
        weight_C: votes that each sample casts for its answer; None: one each. Samples without an
            answer cast none.

    Returns:
        [P] float64 for every cell.

    Raises:
        ValueError: a cell is out of range.
    """
    _check_cells(cells, candidates.smallest)
    # Right elections; in the end their share.
    out = {cell: np.zeros(len(candidates.count_P)) for cell in cells}
    sizes = {size: np.array(sorted(k for other, k in out if other == size)) for size, _ in cells}
    each = _each(candidates.count_P, subsets, draws)
    ballots = _Ballots(candidates, weight_C)
    rng = np.random.default_rng(seed)
    for n in np.unique(candidates.count_P).tolist():
        rows = np.nonzero(candidates.count_P == n)[0]
        # Parts whose problems have as many answers need the least room.
        rows = rows[np.argsort(ballots.own_P[rows], kind="stable")]
        all_of = {size: math.comb(n, size) for size in sizes if _all(n, size, subsets)}
        whole = _of_all(ballots, rows, n, {size: sizes[size] for size in all_of if size > 1})
        rest = {size: ks for size, ks in sizes.items() if size not in all_of}
        some = _of_drawn(ballots, rows, n, rest, each, rng)
        for part, size, ks, right in itertools.chain(whole, some):
            for column, k in enumerate(ks.tolist()):
                out[size, k][part] += right[:, column]
        for (size, _), right_P in out.items():
            right_P[rows] /= all_of.get(size, each)
    if 1 in sizes:  # a single voter's answer is elected
        out[1, 1] = (
            np.add.reduceat(ballots.right_C, candidates.start_P, dtype=np.int64)
            / candidates.count_P
        )
    return out


def _check_cells(cells: Sequence[tuple[int, int]], smallest: int) -> None:
    """Raises ValueError if a cell (N, k) is not 1 <= k <= N <= smallest."""
    for size, k in cells:
        if not 1 <= k <= size <= smallest:
            raise ValueError(
                f"votes of the {k} best of {size}: expected 1 <= k <= N <= "
                f"{smallest}, the samples of a problem"
            )


def drawn(count_P: np.ndarray, size: int, subsets: int = SUBSETS, draws: int = DRAWS) -> np.ndarray:
    """[P] float64, of how many random subsets of `size` a share of `vote_shares` is the mean.

    Infinite where it is that of all subsets.
    """
    random = [n for n in np.unique(count_P).tolist() if not _all(n, size, subsets)]
    return np.where(np.isin(count_P, random), float(_each(count_P, subsets, draws)), np.inf)


def _each(count_P: np.ndarray, subsets: int, draws: int) -> int:
    """How many subsets are drawn of a problem."""
    most = int(count_P.min())
    turns = int(np.where(_few_of(count_P, most), most, count_P).sum())
    return min(subsets, max(_LEAST, min(-(-draws // len(count_P)), _TURNS // turns)))


def _few_of(samples: Any, most: int) -> Any:
    """Whether samples are so many that not all take turns where `most` of them are drawn."""
    return (samples > _LARGE) & (most < samples // _SPARSE)


def _all(samples: int, size: int, subsets: int) -> bool:
    """Whether all subsets are taken, and none drawn."""
    # To count the subsets of very many samples takes long.
    return size in (1, samples) or (samples <= subsets and math.comb(samples, size) <= subsets)


# Problems, N, ks, and [problems, ks] right elections.
_Elections = Iterator[tuple[np.ndarray, int, np.ndarray, np.ndarray]]


def _of_all(
    ballots: _Ballots, rows: np.ndarray, n: int, sizes: Mapping[int, np.ndarray]
) -> _Elections:
    """Elections in all subsets of `sizes` of n samples."""
    for size, ks in sizes.items():
        every_SN = np.array(list(itertools.combinations(range(n), size)))
        for part in _parts(rows, every_SN.size):
            yield (
                part,
                size,
                ks,
                ballots.best_of_drawn(
                    part, np.broadcast_to(every_SN, (len(part), *every_SN.shape)), ks
                ),
            )


def _of_drawn(
    ballots: _Ballots,
    rows: np.ndarray,
    n: int,
    sizes: Mapping[int, np.ndarray],
    each: int,
    rng: np.random.Generator,
) -> _Elections:
    """Elections in random subsets of `sizes` of n samples, `each` of a problem."""
    # All that are drawn vote; weights are added up in order of rank, size by size, so that equal
    # sums are the same floats.
    whole = np.array(
        sorted(
            size for size, ks in sizes.items() if ks.tolist() == [size] and ballots.weight_C is None
        )
    )
    for part in _parts(rows, each * n) if sizes else ():
        for turn_PSM, column_PSM in _turns(rng, len(part), each, n, max(sizes)):
            if len(whole):
                right = ballots.all_of_drawn(part, turn_PSM, column_PSM, whole)
                for column, size in enumerate(whole.tolist()):
                    yield part, size, sizes[size], right[:, column : column + 1]
            # From the turns that are left: there are fewer each time.
            for size in sorted(sizes.keys() - set(whole.tolist()), reverse=True):
                # Row by row, which is in order of rank.
                early = np.flatnonzero(turn_PSM < size)
                shape = (*turn_PSM.shape[:2], size)
                turn_PSM = turn_PSM.take(early).reshape(shape)
                column_PSM = column_PSM.take(early).reshape(shape)
                yield part, size, sizes[size], ballots.best_of_drawn(part, column_PSM, sizes[size])


class _Ballots:
    """The votes of all samples, and who is elected when some of them are cast.

    Votes are cast by one group of voters after the other.

    Where every vote counts one, an answer that a single sample gives never has two. So such answers
    share a slot: an answer with two votes or more wins over them, and where there is none, the
    best-ranked of all voters does.
    """

    def __init__(self, candidates: Candidates, weight_C: np.ndarray | None) -> None:
        answers = candidates.answers()
        problems = len(candidates.count_P)
        samples = len(candidates.row_C)
        votes_A = np.bincount(answers.answer_V, minlength=len(answers.first_A))
        own_A = votes_A >= (2 if weight_C is None else 1)
        problem_A = np.repeat(np.arange(problems), answers.answers_P)
        own_P = np.bincount(problem_A, own_A, problems).astype(np.int64)
        slot_A = np.where(own_A, np.cumsum(own_A) + 1 - (np.cumsum(own_P) - own_P)[problem_A], 1)
        self.weight_C, self.start_P, self.count_P = weight_C, candidates.start_P, candidates.count_P
        # 0: no answer; 1: shared; from 2 on: an answer's own
        self.slot_C = np.zeros(samples, np.int32)
        self.slot_C[answers.voter_V] = slot_A[answers.answer_V]
        self.own_P = own_P
        self.right_C = np.zeros(samples, bool)  # as the answer's best-ranked sample is
        self.right_C[answers.voter_V] = candidates.correct_C[answers.first_A][answers.answer_V]

    def all_of_drawn(
        self, part: np.ndarray, turn_PSM: np.ndarray, column_PSM: np.ndarray, sizes: np.ndarray
    ) -> np.ndarray:
        """[P, sizes] right elections in which the samples of the first `size` turns vote.

        The problems in `part` are alike in size.
        """
        column_PSN = np.empty(turn_PSM.shape, np.int64)  # by turn
        np.put_along_axis(column_PSN, turn_PSM, column_PSM, axis=2)
        return self.best_of_drawn(part, column_PSN[:, :, : sizes[-1]], sizes)

    def best_of_drawn(self, part: np.ndarray, column_PSN: np.ndarray, ks: np.ndarray) -> np.ndarray:
        """[P, ks] right elections in which the first k of the drawn columns vote.

        With weights the columns ascend.
        """
        problems, draws, voters = column_PSN.shape
        n, start_P11 = int(self.count_P[part[0]]), self.start_P[part][:, None, None]
        column_EN, index_EN = (
            each.reshape(-1, voters) for each in (column_PSN, start_P11 + column_PSN)
        )
        slot_EN = self.slot_C.take(index_EN)
        if self.weight_C is None:
            elected_EK = most_votes(slot_EN, column_EN, ks.tolist(), n)
        else:  # weights are added up election by election
            weight_EN = self.weight_C.take(index_EN)
            elected_EK = np.concatenate(
                [largest_sum(slot_EN[:, :k], column_EN[:, :k], weight_EN[:, :k], n) for k in ks],
                axis=1,
            )
        elected_PSK = elected_EK.reshape(problems, draws, len(ks))
        right_PSK = self.right_C[start_P11 + np.minimum(elected_PSK, n - 1)]
        return np.sum(right_PSK & (elected_PSK < n), axis=1)


def _turns(
    rng: np.random.Generator, problems: int, draws: int, n: int, most: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """[P, S, M] turns of samples at random, and their columns, which ascend.

    Of n samples at least `most` take turns: M = n unless n is large by far.

    All `draws` come at once or, of a single problem that is large, some at a time.
    """
    if _few_of(n, most):
        column_PSM = np.array(
            [rng.choice(n, most, replace=False) for _ in range(problems * draws)]
        ).reshape(problems, draws, most)
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
