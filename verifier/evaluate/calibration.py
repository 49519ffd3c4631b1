"""How well scores tell right from wrong: AUROC (pooled and within problems), Brier score, ECE, reliability bins. Knows no votes.

AUROC is the chance that a right sample scores above a wrong one, ties counting half. Pooled, it also rewards knowing which problems are
easy; within problems it measures what ranking needs: the plain mean over the problems that have both right and wrong samples.
Brier and ECE read scores as probabilities, clipped to [0, 1].
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
        `auroc`, `auroc_within_problem` (None where there is nothing to compare), `brier`, `ece`, `problems_with_both`, `clipped_share` and
        `reliability`: for every bin `low`, `high`, `count`, `mean_score`, `accuracy` (the last two None in an empty bin).

    Raises:
        ValueError: the samples have no scores.
    """
    if candidates.score_PJ is None:
        raise ValueError("calibration: the samples have no scores; score them first")
    present_PJ = candidates.present_PJ
    score, right = candidates.score_PJ[present_PJ], candidates.correct_PJ[present_PJ]
    problem = np.nonzero(present_PJ)[0]
    within = auroc(score, right, problem)
    within = within[~np.isnan(within)]
    pooled = float(auroc(score, right, np.zeros_like(problem))[0])
    clipped = np.clip(score, 0.0, 1.0)
    reliability = _reliability(clipped, right, bins)
    gaps = [row["count"] * abs(row["mean_score"] - row["accuracy"]) for row in reliability if row["count"]]
    return {
        "auroc": None if np.isnan(pooled) else pooled,
        "auroc_within_problem": float(within.mean()) if len(within) else None,
        "problems_with_both": len(within),
        "brier": float(np.mean((clipped - right) ** 2)),
        "ece": float(sum(gaps) / len(score)),
        "clipped_share": float(np.mean(clipped != score)),
        "reliability": reliability,
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
