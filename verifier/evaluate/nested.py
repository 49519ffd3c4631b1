"""Intervals for the same problems with other samples: what drawing these does to a curve.

The intervals of `intervals` are for new problems with new samples. Those here hold the problems
fixed: 95 of 100 of them hold what a method reaches on these very problems in the mean over all
draws of the samples. With U the mean of f over all subsets of k of n samples, a U-statistic,

    Var[U] = E[U^2] - E[f(A) f(B)]    for disjoint subsets A and B of k samples each,

and U^2 and the mean of f(A) f(B) over all such pairs estimate the two without bias (Wang and
Lindsay 2014, "Variance estimation of a general U-statistic with application to cross-validation").
Both have closed forms for pass@k and verifier@k. For votes, the samples of every problem are cut
into two halves of m at random: half the squared difference of the halves' U estimates Var[U_m], and
Var[U_n] <= (m/n) Var[U_m] (Hoeffding 1948, theorem 5.2), so that interval is rather too wide than
too narrow. Where U is a mean over drawn subsets, Hoeffding's bound is without the variance of
drawing them, s (1 - s) / D for a share s of D: what the halves have of it, which draw
independently, is taken off, and that of the curve itself is added. All need 2k <= n; for larger k
the samples at hand do not tell.

Summed over problems the errors are independent, so the interval is the mean +- 1.96 standard
errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from verifier.evaluate.candidates import Candidates
from verifier.evaluate.curves import log_choose
from verifier.evaluate.subsets import SUBSETS, drawn

_NORMAL = 1.959964
# Halvings of all problems together, so that squared differences average out; fewer than 75 problems
# have fewer.
_HALVINGS = 600
_MOST = 8  # halvings of a problem, which share its samples: more of them would tell little
# Samples of all halvings together, the first apart: many samples tell as much as many halvings.
_MOST_ROWS = 400_000


class Curve(Protocol):
    """Shares of right votes by size, such as `curves.majority_at_k`."""

    def __call__(
        self, candidates: Candidates, ks: Sequence[int], seed: int, subsets: int = SUBSETS
    ) -> dict[int, np.ndarray]: ...


def pass_variance(candidates: Candidates, k: int) -> np.ndarray:
    """Var of pass@k over the draw of the n samples: N_k^2 - N_2k with N_m = C(n-c, m) / C(n, m).

    Of a problem's n samples c are right.

    Returns:
        [P] float64, unbiased, so it may be below 0 for single problems; k=1 gives s^2 / n.

    Raises:
        ValueError: a problem has fewer than 2k samples.
    """
    n_P = _checked(candidates, k)
    wrong_P = n_P - candidates.right_P

    def none_right(size: int) -> np.ndarray:
        return np.where(
            wrong_P < size, 0.0, np.exp(log_choose(wrong_P, size) - log_choose(n_P, size))
        )

    return none_right(k) ** 2 - none_right(2 * k)


def verifier_variance(candidates: Candidates, k: int) -> np.ndarray:
    """Var of verifier@k over the draw of the n samples, by all pairs of disjoint subsets.

    With ranks from 0, i the best of both subsets and j > i the best of the other one, that one has
    C(n-j-1, k-1) ways for its rest, and then the first one C(n-i-1-k, k-1) ways.

    Returns:
        [P] float64, unbiased, so it may be below 0 for single problems.

    Raises:
        ValueError: a problem has fewer than 2k samples.
    """
    n_P = _checked(candidates, k)
    right_R = np.nonzero(candidates.correct_C)[0]  # R right ones
    problem_R = candidates.problem_C[right_R]
    below_R = n_P[problem_R] - candidates.column_C[right_R] - 1  # samples ranked below this one

    def ways(free_R: np.ndarray, of_P: np.ndarray) -> np.ndarray:
        """C(free, k-1) / C(of, k)."""
        log_R = log_choose(np.maximum(free_R, 0), k - 1) - log_choose(of_P, k)[problem_R]
        return np.where(free_R >= k - 1, np.exp(log_R), 0.0)

    best_R = ways(below_R, n_P)  # as the best of a subset of all n
    best_P = np.bincount(problem_R, best_R, len(n_P))
    up_to_R = np.cumsum(best_R)
    later_R = (np.cumsum(best_P)[problem_R] - up_to_R).clip(min=0.0)
    both_P = 2 * np.bincount(problem_R, ways(below_R - k, n_P - k) * later_R, len(n_P))
    return best_P**2 - both_P


def half_variance(
    candidates: Candidates, curve: Curve, ks: Sequence[int], seed: int, subsets: int = SUBSETS
) -> dict[int, np.ndarray]:
    """Variance of a vote's curve over the draw of samples and subsets, from random halves.

    At most a little more than that.

    Args:
        candidates: samples with their answers.
        curve: shares of right votes, by `subsets.vote_shares`; called on halves.
        ks: sizes.
        seed: of the halves and of their subsets.
        subsets: that the curve draws of a problem at most, two or more.

    Returns:
        [P] float64 for every k; where subsets are drawn, it may be below 0 for single problems.

    Raises:
        ValueError: a problem has fewer than 2k samples.
    """
    for k in ks:
        _checked(candidates, k)
    count_P = candidates.count_P
    half_P = count_P // 2
    rng = np.random.default_rng(seed)
    halvings = min(
        -(-_HALVINGS // len(count_P)), _MOST, max(_MOST_ROWS // len(candidates.row_C), 1)
    )
    of_half, share = ({k: np.zeros(len(count_P)) for k in ks} for _ in range(2))
    for _ in range(halvings):
        one, other = (
            curve(half, ks, int(rng.integers(2**32)), subsets) for half in _halves(candidates, rng)
        )
        for k in ks:
            # - 1: the shares are of these draws
            drawing_P = (_spread(one[k]) + _spread(other[k])) / 2 / (drawn(half_P, k, subsets) - 1)
            of_half[k] += ((one[k] - other[k]) ** 2 / 2 - drawing_P) / halvings
            share[k] += (one[k] + other[k]) / 2 / halvings
    return {
        k: half_P / count_P * of_half[k] + _spread(share[k]) / drawn(count_P, k, subsets)
        for k in ks
    }


def _spread(share_P: np.ndarray) -> np.ndarray:
    """Variance of single votes of which a share is right."""
    return share_P * (1 - share_P)


def interval(value: float, variance_P: np.ndarray) -> list[float]:
    """A mean over P problems +- 1.96 standard errors of the draw of its samples, within [0, 1]."""
    reach = _NORMAL * float(np.sqrt(max(variance_P.sum(), 0.0))) / len(variance_P)
    return [round(max(value - reach, 0.0), 10), round(min(value + reach, 1.0), 10)]


def intervals(
    candidates: Candidates, values: Mapping[str, float], votes: Mapping[str, Curve], seed: int
) -> dict[str, dict[str, list[float]]]:
    """Intervals of those points of curves for which 2k <= n.

    Args:
        candidates: ranked samples.
        values: means over problems by name and size: `pass_at_k/3`, `verifier_at_k/3`, and those of
            the votes; other names are left out.
        votes: curves of votes by name.
        seed: of the halves.

    Returns:
        For every curve its [low, high] by size; sizes are left out at which no variance is seen, as
        where all samples are right: that does not say that there is none.
    """
    sizes: dict[str, list[int]] = {}
    for name, _, size in (name.partition("/") for name in values):
        if (name in _CLOSED or name in votes) and 2 * int(size) <= candidates.smallest:
            sizes.setdefault(name, []).append(int(size))
    variance = {
        name: {k: _CLOSED[name](candidates, k) for k in ks}
        if name in _CLOSED
        else half_variance(candidates, votes[name], ks, seed)
        for name, ks in sizes.items()
    }
    return {
        name: {
            str(k): interval(values[f"{name}/{k}"], column)
            for k, column in columns.items()
            if column.sum() > 0
        }
        for name, columns in variance.items()
    }


_CLOSED = {"pass_at_k": pass_variance, "verifier_at_k": verifier_variance}


def _halves(candidates: Candidates, rng: np.random.Generator) -> tuple[Candidates, Candidates]:
    """Every problem's samples in two halves at random; of an odd number one is left out."""
    count_P = candidates.count_P
    turn_C = np.empty(len(candidates.row_C), np.int32)
    turn_C[np.lexsort((rng.random(len(turn_C)), candidates.problem_C))] = candidates.column_C
    half_C = np.repeat(count_P // 2, count_P)
    return candidates.some(turn_C < half_C), candidates.some(
        (turn_C >= half_C) & (turn_C < 2 * half_C)
    )


def _checked(candidates: Candidates, k: int) -> np.ndarray:
    if not 1 <= k <= candidates.smallest // 2:
        raise ValueError(
            f"k={k} of {candidates.smallest} samples: expected 1 <= k, and 2k <= the samples "
            "of the problem that has fewest"
        )
    return candidates.count_P
