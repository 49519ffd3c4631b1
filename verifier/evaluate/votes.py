"""Top-k votes among fewer samples than there are: how the best k grows with the number of samples. numpy; knows no file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verifier.evaluate.candidates import Candidates


def top_k_vote_at(candidates: Candidates, samples: int, ks: Sequence[int], seed: int, subsets: int = 100) -> dict[int, np.ndarray]:
    """Chance that the most frequent answer among the k best scored of N samples is right (Cobbe et al. 2021, section 5.1, figure 7b).

    The mean over random subsets of N of a problem's samples, the same subsets for every k; exact where N is all of them.

    Args:
        candidates: scored samples, best-ranked first.
        samples: N, at most the samples of the problem that has fewest.
        ks: sizes of the votes; those above N are the majority of the N.
        seed: of the subsets; the same seed gives the same numbers.
        subsets: how many are drawn of each problem.

    Returns:
        [P] float64 for every k.

    Raises:
        ValueError: no scores, or N out of range.
    """
    if candidates.score_PJ is None or not 1 <= samples <= candidates.smallest:
        raise ValueError(f"votes among {samples} of {candidates.smallest} samples: expected scores, and 1 <= N <= the fewest of a problem")
    rng = np.random.default_rng([seed, samples])
    first_PA = candidates.first_column_PA()
    out = {k: np.zeros(len(candidates.count_P)) for k in ks}
    for problem, count in enumerate(candidates.count_P.tolist()):
        drawn_SN = np.arange(count)[None] if samples == count else rng.permuted(np.tile(np.arange(count), (subsets, 1)), axis=1)
        column_SN = np.sort(drawn_SN[:, :samples], axis=1)  # columns are ranks
        answer_J = candidates.answer_PJ[problem]
        verdict_A = candidates.correct_PJ[problem][np.maximum(first_PA[problem], 0)]
        for k in ks:
            elected_S = _elected(answer_J[column_SN[:, :k]])
            out[k][problem] = np.mean((elected_S >= 0) & verdict_A[elected_S]) if len(verdict_A) else 0.0
    return out


def _elected(answer_SK: np.ndarray) -> np.ndarray:
    """The most frequent answer of each row, of equals the one that comes first; -1 where there is none."""
    rows, width = len(answer_SK), int(answer_SK.max(initial=-1)) + 2  # slot 0 collects the samples without an answer
    slot_SK = answer_SK + 1 + width * np.arange(rows)[:, None]
    votes_SA = np.bincount(slot_SK.ravel(), minlength=rows * width).reshape(rows, width)
    votes_SA[:, 0] = 0
    most_S1 = np.maximum(votes_SA.max(axis=1, keepdims=True), 1)
    first_S = (votes_SA.ravel()[slot_SK] == most_S1).argmax(axis=1)
    elected_S = answer_SK[np.arange(rows), first_S]
    return np.where(votes_SA.max(axis=1) > 0, elected_S, -1)
