"""How well scores tell right from wrong: AUROC and AUPRC (pooled and within problems), Brier score, ECE, reliability bins. Knows no votes.

AUROC is the chance that a right sample scores above a wrong one, ties counting half. Pooled, it also rewards knowing which problems are
easy; within problems it measures what ranking needs: the plain mean over the problems that have both right and wrong samples.
AUPRC is the average precision: the precision at every score that is had, weighed by the recall it adds (no line is drawn between points,
which would flatter); scores that tell nothing reach the share of right samples. Brier and ECE read scores as probabilities, clipped to
[0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.evaluate.candidates import Candidates


def calibration(candidates: Candidates, bins: int = 10) -> dict[str, Any]:
    """Figures of merit of the scores themselves.

    Args:
        candidates: scored samples.
        bins: equal-width bins of the clipped score, for ECE and the reliability diagram.

    Returns:
        What `discrimination` returns, `clipped_share` and `reliability`: for every bin `low`, `high`, `count`, `mean_score`, `accuracy`
        (the last two None in an empty bin).

    Raises:
        ValueError: the samples have no scores.
    """
    if candidates.score_PJ is None:
        raise ValueError("calibration: the samples have no scores; score them first")
    present_PJ = candidates.present_PJ
    score, right = candidates.score_PJ[present_PJ], candidates.correct_PJ[present_PJ]
    log = None if candidates.log_PJ is None else candidates.log_PJ[present_PJ]
    clipped = np.clip(score, 0.0, 1.0)
    return {
        **discrimination(score, right, np.nonzero(present_PJ)[0], bins, log),
        "clipped_share": float(np.mean(clipped != score)),
        "reliability": _reliability(clipped, right, bins),
    }


def discrimination(
    score: np.ndarray, right: np.ndarray, problem: np.ndarray, bins: int = 10, log: np.ndarray | None = None
) -> dict[str, Any]:
    """The figures that are one number each.

    Args:
        score: [rows] scores, higher meaning right.
        right: [rows] verdicts.
        problem: [rows] integers 0..P-1.
        bins: equal-width bins of the clipped score, for ECE.
        log: [rows] logarithms of the scores; where given, AUROC and AUPRC order by them.

    Returns:
        `auroc`, `auroc_within_problem`, `auprc`, `auprc_within_problem` (None where there is nothing to compare), `problems_with_both`,
        `share_right` (the AUPRC of scores that tell nothing), `brier` and `ece`.
    """
    by = score if log is None else log
    one = np.zeros_like(problem)
    pooled = {"auroc": auroc(by, right, one)[0], "auprc": average_precision(by, right, one)[0]}
    within_P, precision_P = auroc(by, right, problem), average_precision(by, right, problem)
    both_P = ~np.isnan(within_P)
    clipped = np.clip(score, 0.0, 1.0)
    gaps = [row["count"] * abs(row["mean_score"] - row["accuracy"]) for row in _reliability(clipped, right, bins) if row["count"]]
    return {
        "auroc": None if np.isnan(pooled["auroc"]) else float(pooled["auroc"]),
        "auroc_within_problem": float(within_P[both_P].mean()) if both_P.any() else None,
        "problems_with_both": int(both_P.sum()),
        "auprc": None if np.isnan(pooled["auroc"]) else float(pooled["auprc"]),
        "auprc_within_problem": float(precision_P[both_P].mean()) if both_P.any() else None,
        "share_right": float(np.mean(right)),
        "brier": float(np.mean((clipped - right) ** 2)),
        "ece": float(sum(gaps) / len(score)),
    }


def auroc(score: np.ndarray, right: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Area under the ROC curve in each group, by average ranks (Mann-Whitney).

    Args:
        score: [rows] scores, higher meaning right.
        right: [rows] verdicts.
        group: [rows] integers 0..G-1.

    Returns:
        [G] areas; NaN where a group has only right or only wrong rows.
    """
    order = np.lexsort((score, group))
    score, right, group = score[order], right[order], group[order]
    size_G = np.bincount(group)
    start_G = np.cumsum(size_G) - size_G
    new_tie = np.r_[True, (np.diff(score) != 0) | (np.diff(group) != 0)]
    tie = np.cumsum(new_tie) - 1
    first = np.nonzero(new_tie)[0]
    last = np.r_[first[1:], len(score)] - 1
    rank = ((first + last) / 2)[tie] - start_G[group]  # from 0, ties share the mean
    right_G = np.bincount(group, weights=right)
    pairs_G = right_G * (size_G - right_G)
    ranks_G = np.bincount(group, weights=rank * right)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs_G > 0, (ranks_G - right_G * (right_G - 1) / 2) / pairs_G, np.nan)


def average_precision(score: np.ndarray, right: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve in each group as average precision: sum over scores s of (R_s - R_s') P_s, s' the next higher.

    Args:
        score: [rows] scores, higher meaning right; rows of equal score are taken together.
        right: [rows] verdicts.
        group: [rows] integers 0..G-1.

    Returns:
        [G] areas; NaN where a group has no right row.
    """
    order = np.lexsort((-score, group))
    score, right, group = score[order], right[order], group[order]
    size_G, right_G = np.bincount(group), np.bincount(group, weights=right)
    start_G = np.cumsum(size_G) - size_G
    last_of_tie = np.nonzero(np.r_[(np.diff(score) != 0) | (np.diff(group) != 0), True])[0]
    owner = group[last_of_tie]
    taken = last_of_tie - start_G[owner] + 1
    found = np.cumsum(right)[last_of_tie] - (np.cumsum(right_G) - right_G)[owner]
    new = np.diff(found, prepend=0.0)
    first = np.r_[True, np.diff(owner) != 0]
    new[first] = found[first]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.bincount(owner, weights=new * found / taken, minlength=len(size_G)) / np.where(right_G > 0, right_G, np.nan)


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
