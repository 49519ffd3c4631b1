"""Which sample or answer is chosen for a problem: best-of-n, majority, top-k vote, weighted vote. Knows nothing of intervals or files.

A vote elects an answer, numerically equal answers being one; samples without an answer cast no vote. The elected answer is handed in
through its best-ranked sample, whose verdict is the verdict on the whole group: right or wrong is decided once an answer, never by a share
of its samples. Tied answers rank by their best-ranked sample.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from verifier.evaluate.candidates import Candidates


class Choice(NamedTuple):
    """What a method hands in, problem by problem.

    column_P: column in `Candidates` of the sample that is handed in; -1 where nobody voted.
    answer_P: number of its answer; -1 where there is none.
    correct_P: whether it is right; False where nothing is handed in.
    """

    column_P: np.ndarray
    answer_P: np.ndarray
    correct_P: np.ndarray


def best_of_n(candidates: Candidates) -> Choice:
    """The sample with the highest score (Cobbe et al. 2021, section 4.2); without scores the one with the lowest id."""
    return _handed_in(candidates, np.zeros(len(candidates.count_P), np.int64))


def majority(candidates: Candidates) -> Choice:
    """The most frequent answer among all samples (self-consistency, Wang et al. 2022)."""
    return _elected(candidates, (candidates.answer_PJ >= 0).astype(np.float64))


def top_k_vote(candidates: Candidates, k: int) -> Choice:
    """The most frequent answer among the k best-ranked samples (Cobbe et al. 2021, section 4.2); all of them where there are fewer.

    Raises:
        ValueError: k is not positive.
    """
    if k < 1:
        raise ValueError(f"top-k vote with k={k}: expected k >= 1; k=1 is best-of-n")
    votes_PJ = (candidates.answer_PJ >= 0).astype(np.float64)
    votes_PJ[:, k:] = 0
    return _elected(candidates, votes_PJ)


def weighted_vote(candidates: Candidates) -> Choice:
    """The answer with the largest sum of scores (Li et al. 2022, voting verifier).

    Sums are float64 over float32 scores, taken in order of rank: exact for scores of like size, and the same for every order of rows.
    Negative scores count as they stand.

    Raises:
        ValueError: the samples have no scores.
    """
    weight_PJ = candidates.weight_PJ
    if weight_PJ is None:
        raise ValueError("weighted vote: the samples have no scores; score them first or use majority")
    return _elected(candidates, np.where(candidates.answer_PJ >= 0, weight_PJ, 0.0), needs_support=False)


def _elected(candidates: Candidates, weight_PJ: np.ndarray, needs_support: bool = True) -> Choice:
    """The answer with the largest weight, the first of equals; answers without support are no candidates where `needs_support`."""
    first_PA = candidates.first_column_PA()
    problems, answers = first_PA.shape
    if answers == 0:
        return _handed_in(candidates, np.full(problems, -1))
    rows, columns = np.nonzero(candidates.answer_PJ >= 0)
    flat = rows * answers + candidates.answer_PJ[rows, columns]
    total_PA = np.bincount(flat, weights=weight_PJ[rows, columns], minlength=problems * answers).reshape(problems, answers)
    eligible_PA = (first_PA >= 0) & (total_PA > 0) if needs_support else first_PA >= 0
    winner_P = np.argmax(np.where(eligible_PA, total_PA, -np.inf), axis=1)
    column_P = np.where(eligible_PA.any(axis=1), first_PA[np.arange(problems), winner_P], -1)
    return _handed_in(candidates, column_P)


def _handed_in(candidates: Candidates, column_P: np.ndarray) -> Choice:
    rows = np.arange(len(column_P))
    there_P = column_P >= 0
    return Choice(
        column_P=column_P,
        answer_P=np.where(there_P, candidates.answer_PJ[rows, column_P], -1),
        correct_P=there_P & candidates.correct_PJ[rows, column_P],
    )
