"""Accuracy if only k of a problem's n samples had been drawn: pass@k, verifier@k, votes@k.

It is never the accuracy of "the first k". Every function gives one number a problem, the mean over
all subsets of k of its n samples; means over problems and their intervals are taken in `metrics`. A
curve is defined only up to the n of the problem that has fewest samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verifier.evaluate.candidates import Candidates
from verifier.evaluate.subsets import SUBSETS, vote_shares

_STEPS = (1, 2, 3, 5, 7)


def grid(samples: int) -> tuple[int, ...]:
    """Sizes at which curves are drawn: 1 2 3 5 7 10 20 30 50 70 100 ... and `samples` itself."""
    steps = (step * 10**power for power in range(len(str(samples))) for step in _STEPS)
    return tuple(sorted({k for k in steps if k < samples} | {samples}))


def pass_at_k(candidates: Candidates, k: int) -> np.ndarray:
    """Chance that at least one of k samples is right: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021).

    Of a problem's n samples c are right.

    Returns:
        [P] float64, unbiased for the same figure with k fresh samples.

    Raises:
        ValueError: k < 1, or a problem has fewer than k samples.
    """
    n_P = _checked(candidates, k)
    wrong_P = n_P - candidates.right_P
    none_right_P = np.exp(log_choose(wrong_P, k) - log_choose(n_P, k))
    return np.where(wrong_P < k, 1.0, 1.0 - none_right_P)


def verifier_at_k(candidates: Candidates, k: int) -> np.ndarray:
    """Chance that the best-ranked of k samples is right (V-STaR, 2402.06457).

    The chance is the sum of C(n-i-1, k-1) right_i / C(n, k) over the ranks i from 0.

    Returns:
        [P] float64; k=1 is the mean accuracy, k=n is best-of-n. Equal scores are ordered by the tie
        rule of the house.

    Raises:
        ValueError: k < 1, or a problem has fewer than k samples.
    """
    n_P = _checked(candidates, k)
    right = np.nonzero(candidates.correct_C)[0]
    problem = candidates.problem_C[right]
    worse = n_P[problem] - candidates.column_C[right] - 1  # samples ranked below this one
    best = worse >= k - 1
    problem, worse = problem[best], worse[best]
    return np.bincount(
        problem, np.exp(log_choose(worse, k - 1) - log_choose(n_P, k)[problem]), len(n_P)
    )


def majority_at_k(
    candidates: Candidates, ks: Sequence[int], seed: int, subsets: int = SUBSETS
) -> dict[int, np.ndarray]:
    """Chance that the most frequent answer among k samples is right.

    Exact or over drawn subsets, as in `subsets.vote_shares`. A closed form would need a product of
    polynomials for every sample and count, because ties go to the best-ranked sample; the error of
    drawing is far below that of having few problems.

    Returns:
        [P] float64 for every k.

    Raises:
        ValueError: k < 1, or a problem has fewer than k samples.
    """
    return _vote_at_k(candidates, ks, seed, subsets, None)


def weighted_vote_at_k(
    candidates: Candidates, ks: Sequence[int], seed: int, subsets: int = SUBSETS
) -> dict[int, np.ndarray]:
    """Chance that the answer with the largest sum of scores among k samples is right.

    Exact or over drawn subsets, as `majority_at_k`.

    Raises:
        ValueError: as `majority_at_k`, or the samples have no scores.
    """
    weight_C = candidates.weight_C
    if weight_C is None:
        raise ValueError(
            "weighted vote: the samples have no scores; score them first or use majority"
        )
    return _vote_at_k(candidates, ks, seed, subsets, weight_C)


def _vote_at_k(
    candidates: Candidates, ks: Sequence[int], seed: int, subsets: int, weight_C: np.ndarray | None
) -> dict[int, np.ndarray]:
    for k in ks:
        _checked(candidates, k)
    shares = vote_shares(candidates, [(k, k) for k in ks], seed, subsets, weight_C=weight_C)
    return {k: share_P for (k, _), share_P in shares.items()}


def _checked(candidates: Candidates, k: int) -> np.ndarray:
    if not 1 <= k <= candidates.smallest:
        raise ValueError(
            f"k={k} of {candidates.smallest} samples: expected 1 <= k <= the samples of the "
            "problem that has fewest"
        )
    return candidates.count_P


def log_choose(n: np.ndarray, k: int) -> np.ndarray:
    """log C(n, k); meaningless where n < k, which callers mask."""
    log_factorial = np.concatenate(
        [[0.0], np.cumsum(np.log(np.arange(1, int(n.max(initial=0)) + k + 1)))]
    )
    return log_factorial[n] - log_factorial[k] - log_factorial[np.maximum(n - k, 0)]
