"""How well scores tell right from wrong: AUROC, AUPRC, Brier score, ECE and reliability bins.

AUROC is the chance that a right sample scores above a wrong one, ties counting half. Pooled, it
also rewards knowing which problems are easy; within problems it measures what ranking needs: the
plain mean over the problems that have both right and wrong samples. AUPRC is the average precision:
the precision at every score that is had, weighed by the recall it adds (no line is drawn between
points, which would flatter); scores that tell nothing reach the share of right samples. Brier and
ECE read scores as probabilities, clipped to [0, 1].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from verifier.evaluate.candidates import Candidates

_BEYOND = 0.125  # by which probabilities lie outside of [0, 1] on average at most


def are_probabilities(candidates: Candidates) -> bool:
    """Whether scores can be read as chances of being right; of samples without scores, not.

    A verifier trained with squared error leaves [0, 1] by a little, so its scores still count;
    logarithms, logits and rewards do not.
    """
    score_C = candidates.score_C
    if score_C is None:
        return False
    beyond_C = np.abs(np.clip(score_C, 0.0, 1.0) - score_C)
    return bool(beyond_C.mean() <= _BEYOND and beyond_C.max() <= 1)


def calibration(candidates: Candidates, bins: int = 10) -> dict[str, Any]:
    """Figures of merit of the scores themselves.

    Args:
        candidates: scored samples.
        bins: equal-width bins of the clipped score, for ECE and the reliability diagram.

    Returns:
        What `discrimination` returns, `clipped_share` and `reliability`: for every bin `low`,
        `high`, `count`, `mean_score`, `accuracy` (the last two None in an empty bin). Of scores
        that are no probabilities `brier`, `ece` and `reliability` are None.

    Raises:
        ValueError: the samples have no scores.
    """
    if candidates.score_C is None:
        raise ValueError("calibration: the samples have no scores; score them first")
    score, right = candidates.score_C, candidates.correct_C
    clipped = np.clip(score, 0.0, 1.0)
    left_out = (
        {} if are_probabilities(candidates) else dict.fromkeys(("brier", "ece", "reliability"))
    )
    return {
        **discrimination(score, right, candidates.problem_C, bins, candidates.log_C),
        "clipped_share": float(np.mean(clipped != score)),
        "reliability": _reliability(clipped, right, bins),
        **left_out,
    }


def discrimination(
    score: np.ndarray,
    right: np.ndarray,
    problem: np.ndarray,
    bins: int = 10,
    log: np.ndarray | None = None,
) -> dict[str, Any]:
    """The figures that are one number each.

    Args:
        score: [rows] scores, higher meaning right.
        right: [rows] verdicts.
        problem: [rows] integers 0..P-1.
        bins: equal-width bins of the clipped score, for ECE.
        log: [rows] logarithms of the scores; where given, AUROC and AUPRC order by them.

    Returns:
        `auroc`, `auroc_within_problem`, `auprc`, `auprc_within_problem` (None where there is
        nothing to compare), `problems_with_both`, `share_right` (the AUPRC of scores that tell
        nothing), `brier` and `ece`.
    """
    return merit(score, right, problem, bins, log)[0]


def merit(
    score: np.ndarray,
    right: np.ndarray,
    problem: np.ndarray,
    bins: int = 10,
    log: np.ndarray | None = None,
) -> tuple[dict[str, Any], np.ndarray]:
    """What `discrimination` returns, and `auroc` of every problem."""
    by = score if log is None else log
    order = np.argsort(by)
    whole = _ties(by, right, np.zeros_like(problem), order)
    within = _ties(by, right, problem, order)
    pooled = {"auroc": _auroc(whole)[0], "auprc": _average_precision(whole)[0]}
    within_P, precision_P = _auroc(within), _average_precision(within)
    both_P = ~np.isnan(within_P)
    clipped = np.clip(score, 0.0, 1.0)
    gaps = [
        row["count"] * abs(row["mean_score"] - row["accuracy"])
        for row in _reliability(clipped, right, bins)
        if row["count"]
    ]
    figures = {
        "auroc": None if np.isnan(pooled["auroc"]) else float(pooled["auroc"]),
        "auroc_within_problem": float(within_P[both_P].mean()) if both_P.any() else None,
        "problems_with_both": int(both_P.sum()),
        "auprc": None if np.isnan(pooled["auroc"]) else float(pooled["auprc"]),
        "auprc_within_problem": float(precision_P[both_P].mean()) if both_P.any() else None,
        "share_right": float(np.mean(right)),
        "brier": float(np.mean((clipped - right) ** 2)),
        "ece": float(sum(gaps) / len(score)),
    }
    return figures, within_P


def auroc_within_problems(candidates: Candidates) -> float | None:
    """The plain mean of `auroc` over the problems that have both right and wrong samples.

    None where no problem has both.
    """
    by_C = candidates.score_C if candidates.log_C is None else candidates.log_C
    if by_C is None:
        raise ValueError("AUROC: the samples have no scores; score them first")
    within_P = auroc(by_C, candidates.correct_C, candidates.problem_C)
    both_P = ~np.isnan(within_P)
    return float(within_P[both_P].mean()) if both_P.any() else None


def auroc(score: np.ndarray, right: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Area under the ROC curve in each group, by average ranks (Mann-Whitney).

    Args:
        score: [rows] scores, higher meaning right.
        right: [rows] verdicts.
        group: [rows] integers 0..G-1.

    Returns:
        [G] areas; NaN where a group has only right or only wrong rows.
    """
    return _auroc(_ties(score, right, group, np.argsort(score)))


class _Ties(NamedTuple):
    """Rows of equal score in the same group taken together: T ties, by group and rising score."""

    group_T: np.ndarray
    start_T: np.ndarray  # rows of the group that score less
    size_T: np.ndarray
    right_T: np.ndarray
    size_G: np.ndarray
    right_G: np.ndarray


def _ties(score: np.ndarray, right: np.ndarray, group: np.ndarray, order: np.ndarray) -> _Ties:
    """The ties of rows whose scores rise in the order given."""
    last_group = int(group.max(initial=0))
    if last_group:
        # numpy sorts 16 bits by radix.
        narrow = group.astype(np.uint16) if last_group < 2**16 else group
        order = order[np.argsort(narrow[order], kind="stable")]
    score, right, group = score[order], right[order], group[order]
    first_T = np.nonzero(np.r_[True, (np.diff(score) != 0) | (np.diff(group) != 0)])[0]
    size_G, right_G = np.bincount(group), np.bincount(group, weights=right)
    group_T = group[first_T]
    start_T = first_T - (np.cumsum(size_G) - size_G)[group_T]
    return _Ties(
        group_T,
        start_T,
        np.diff(first_T, append=len(score)),
        np.add.reduceat(right.astype(np.int64), first_T),
        size_G,
        right_G,
    )


def _auroc(ties: _Ties) -> np.ndarray:
    """[G] areas by average ranks (Mann-Whitney); NaN where rows are all right or all wrong."""
    rank_T = ties.start_T + (ties.size_T - 1) / 2  # from 0, ties share the mean
    ranks_G = np.bincount(ties.group_T, weights=rank_T * ties.right_T, minlength=len(ties.size_G))
    pairs_G = ties.right_G * (ties.size_G - ties.right_G)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(
            pairs_G > 0, (ranks_G - ties.right_G * (ties.right_G - 1) / 2) / pairs_G, np.nan
        )


def _average_precision(ties: _Ties) -> np.ndarray:
    """[G] sums over scores s of (R_s - R_s') P_s, s' the next higher; NaN where no row is right."""
    taken_T = ties.size_G[ties.group_T] - ties.start_T  # rows that score as high or higher
    below_T = (
        np.cumsum(ties.right_T)
        - ties.right_T
        - (np.cumsum(ties.right_G) - ties.right_G)[ties.group_T]
    )
    right_above_T = ties.right_G[ties.group_T] - below_T
    sum_G = np.bincount(
        ties.group_T, weights=ties.right_T * right_above_T / taken_T, minlength=len(ties.size_G)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return sum_G / np.where(ties.right_G > 0, ties.right_G, np.nan)


def _reliability(clipped: np.ndarray, right: np.ndarray, bins: int) -> list[dict[str, Any]]:
    slot = np.minimum((clipped * bins).astype(np.int64), bins - 1)
    count = np.bincount(slot, minlength=bins)
    scored = np.bincount(slot, weights=clipped, minlength=bins)
    hits = np.bincount(slot, weights=right, minlength=bins)
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "count": int(count[b]),
            "mean_score": float(scored[b] / count[b]) if count[b] else None,
            "accuracy": float(hits[b] / count[b]) if count[b] else None,
        }
        for b in range(bins)
    ]
