"""Accuracy if only k of a problem's n samples had been drawn: pass@k, verifier@k, votes@k. Never "the first k". Knows no intervals.

Every function gives one number a problem, the mean over all subsets of k of its n samples; means over problems and their intervals are
taken in `metrics`. A curve is defined only up to the n of the problem that has fewest samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from verifier.evaluate.candidates import Candidates

_CHUNK = 4_000_000  # array elements worked on at once: about 32 MB
_STEPS = (1, 2, 3, 5, 7)
SUBSETS = 200  # drawn of a problem where there are more


def grid(samples: int) -> tuple[int, ...]:
    """Sizes at which curves over n are drawn: 1 2 3 5 7 10 20 30 50 70 100 ... and `samples` itself."""
    steps = (step * 10**power for power in range(len(str(samples))) for step in _STEPS)
    return tuple(sorted({k for k in steps if k < samples} | {samples}))


def pass_at_k(candidates: Candidates, k: int) -> np.ndarray:
    """Chance that at least one of k samples is right: 1 - C(n-c, k) / C(n, k) with c right ones of n (Chen et al. 2021).

    Returns:
        [P] float64, unbiased for the same figure with k fresh samples.

    Raises:
        ValueError: k < 1, or a problem has fewer than k samples.
    """
    n_P = _checked(candidates, k)
    wrong_P = n_P - candidates.correct_PJ.sum(axis=1)
    none_right_P = np.exp(log_choose(wrong_P, k) - log_choose(n_P, k))
    return np.where(wrong_P < k, 1.0, 1.0 - none_right_P)


def verifier_at_k(candidates: Candidates, k: int) -> np.ndarray:
    """Chance that the best-ranked of k samples is right (V-STaR, 2402.06457): sum_i C(n-i-1, k-1) right_i / C(n, k), i the rank from 0.

    Returns:
        [P] float64; k=1 is the mean accuracy, k=n is best-of-n. Equal scores are ordered by the tie rule of the house.

    Raises:
        ValueError: k < 1, or a problem has fewer than k samples.
    """
    n_P = _checked(candidates, k)
    worse_PJ = n_P[:, None] - np.arange(candidates.row_PJ.shape[1])[None] - 1  # samples ranked below this one
    chosen_PJ = np.exp(log_choose(np.maximum(worse_PJ, 0), k - 1) - log_choose(n_P, k)[:, None])
    return np.sum(np.where(worse_PJ >= k - 1, chosen_PJ, 0.0) * candidates.correct_PJ, axis=1)


def majority_at_k(candidates: Candidates, ks: Sequence[int], seed: int, subsets: int = SUBSETS) -> dict[int, np.ndarray]:
    """Chance that the most frequent answer among k samples is right; as `vote_at_k`."""
    return vote_at_k(candidates, ks, seed, subsets, (candidates.answer_PJ >= 0).astype(np.float64))


def weighted_vote_at_k(candidates: Candidates, ks: Sequence[int], seed: int, subsets: int = SUBSETS) -> dict[int, np.ndarray]:
    """Chance that the answer with the largest sum of scores among k samples is right; as `vote_at_k`.

    Raises:
        ValueError: as `vote_at_k`, or the samples have no scores.
    """
    weight_PJ = candidates.weight_PJ
    if weight_PJ is None:
        raise ValueError("weighted vote: the samples have no scores; score them first or use majority")
    return vote_at_k(candidates, ks, seed, subsets, weight_PJ)


def vote_at_k(candidates: Candidates, ks: Sequence[int], seed: int, subsets: int, weight_PJ: np.ndarray) -> dict[int, np.ndarray]:
    """Chance that the answer with the most votes among k samples is right.

    Exact over all subsets where there are at most `subsets` (or n) of them, which holds for k = 1, n-1 and n; otherwise the mean over
    `subsets` random ones of every problem. A closed form would need a product of polynomials for every sample and count, because ties go
    to the best-ranked sample; the error of drawing is far below that of having few problems (200 subsets, 500 problems: under 0.2 points).

    Args:
        candidates: samples with their answers.
        ks: sizes of the subsets.
        seed: of the drawn subsets; the same seed gives the same numbers.
        subsets: how many are drawn.
        weight_PJ: votes that each sample casts for its answer; those without one cast none.

    Returns:
        [P] float64 for every k.

    Raises:
        ValueError: k < 1, or a problem has fewer than k samples.
    """
    for k in ks:
        _checked(candidates, k)
    out = {k: np.zeros(len(candidates.count_P)) for k in ks}
    rng = np.random.default_rng(seed)
    for n in np.unique(candidates.count_P).tolist():
        rows = np.nonzero(candidates.count_P == n)[0]
        drawn = []
        for k in ks:
            if math.comb(n, k) <= max(subsets, n):
                every = np.array(list(itertools.combinations(range(n), k)))
                for part in _parts(rows, every.size):
                    out[k][part] = _elected_share(candidates, part, np.broadcast_to(every, (len(part), *every.shape)), weight_PJ)
            else:
                drawn.append(k)
        for part in _parts(rows, subsets * n) if drawn else ():
            order_PSJ = rng.permuted(np.tile(np.arange(n, dtype=np.int32), (len(part), subsets, 1)), axis=2)
            for k in drawn:  # in order of rank, so that equal sums of weights are the same floats
                out[k][part] = _elected_share(candidates, part, np.sort(order_PSJ[:, :, :k], axis=2), weight_PJ)
    return out


def _elected_share(candidates: Candidates, rows: np.ndarray, column_PSK: np.ndarray, weight_PJ: np.ndarray) -> np.ndarray:
    """Share of the S subsets (columns of `candidates`) in which the elected answer is right, for the problems in `rows`."""
    problems, subsets, _ = column_PSK.shape
    answer_PJ = candidates.answer_PJ[rows]
    answers = int(answer_PJ.max(initial=-1)) + 2  # slot 0 collects the samples without an answer
    slot_PJ = (answer_PJ + 1) + answers * subsets * np.arange(problems)[:, None]
    index_PSK = np.take_along_axis(slot_PJ[:, None], column_PSK, axis=2) + answers * np.arange(subsets)[None, :, None]
    weight_PSK = np.take_along_axis(weight_PJ[rows][:, None], column_PSK, axis=2)
    votes = np.bincount(index_PSK.ravel(), weight_PSK.ravel(), minlength=problems * subsets * answers).reshape(problems, subsets, answers)
    answered_PSK = np.take_along_axis(answer_PJ[:, None], column_PSK, axis=2) >= 0
    cast_PSK = np.where(answered_PSK, votes.reshape(-1)[index_PSK], -np.inf)
    tied_PSK = answered_PSK & (cast_PSK == cast_PSK.max(axis=2, keepdims=True))
    width = candidates.row_PJ.shape[1]
    elected_PS = np.where(tied_PSK, column_PSK, width).min(axis=2)  # best-ranked sample of the tied answers
    return np.take_along_axis(_group_right(candidates, rows), elected_PS, axis=1).mean(axis=1)


def _group_right(candidates: Candidates, rows: np.ndarray) -> np.ndarray:
    """[P, J+1] whether a column's answer is right as a group; the last column, where nobody voted, is wrong."""
    answer_PJ, first_PA = candidates.answer_PJ[rows], candidates.first_column_PA()[rows]
    if first_PA.shape[1] == 0:
        return np.zeros((len(rows), answer_PJ.shape[1] + 1), bool)
    verdict_PA = np.take_along_axis(candidates.correct_PJ[rows], np.maximum(first_PA, 0), axis=1)
    right_PJ = np.take_along_axis(verdict_PA, np.maximum(answer_PJ, 0), axis=1) & (answer_PJ >= 0)
    return np.pad(right_PJ, ((0, 0), (0, 1)))


def _parts(rows: np.ndarray, elements: int) -> list[np.ndarray]:
    """Rows in pieces so small that `elements` a row fit the memory."""
    return np.array_split(rows, -(-len(rows) * elements // _CHUNK))


def _checked(candidates: Candidates, k: int) -> np.ndarray:
    if not 1 <= k <= candidates.smallest:
        raise ValueError(f"k={k} of {candidates.smallest} samples: expected 1 <= k <= the samples of the problem that has fewest")
    return candidates.count_P


def log_choose(n: np.ndarray, k: int) -> np.ndarray:
    """log C(n, k); meaningless where n < k, which callers mask."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, int(n.max(initial=0)) + k + 1)))])
    return log_factorial[n] - log_factorial[k] - log_factorial[np.maximum(n - k, 0)]
