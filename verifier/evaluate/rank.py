"""Which sample or answer is chosen for a problem: best-of-n, majority, top-k and weighted vote.

A vote elects an answer, numerically equal answers being one; samples without an answer cast no
vote. The elected answer is handed in through its best-ranked sample, whose verdict is the verdict
on the whole group: right or wrong is decided once an answer, never by a share of its samples. Tied
answers rank by their best-ranked sample.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from verifier.evaluate.candidates import Candidates


class Choice(NamedTuple):
    """What a method hands in, problem by problem.

    column_P: rank within its problem, from 0, of the sample that is handed in; -1 where nobody
    voted. answer_P: number of its answer; -1 where there is none. correct_P: whether it is right;
    False where nothing is handed in.
    """

    column_P: np.ndarray
    answer_P: np.ndarray
    correct_P: np.ndarray


def best_of_n(candidates: Candidates) -> Choice:
    """The sample with the highest score (Cobbe et al. 2021, section 4.2).

    Without scores it is the one with the lowest id.
    """
    return _handed_in(candidates, np.zeros(len(candidates.count_P), np.int64))


def majority(candidates: Candidates) -> Choice:
    """The most frequent answer among all samples (self-consistency, Wang et al. 2022)."""
    return _elected(candidates)


def top_k_vote(candidates: Candidates, k: int) -> Choice:
    """The most frequent answer among the k best-ranked samples (Cobbe et al. 2021, section 4.2).

    All samples of a problem vote where it has fewer.

    Raises:
        ValueError: k is not positive.
    """
    if k < 1:
        raise ValueError(f"top-k vote with k={k}: expected k >= 1; k=1 is best-of-n")
    return _elected(candidates, (candidates.column_C < k).astype(np.float64))


def weighted_vote(candidates: Candidates) -> Choice:
    """The answer with the largest sum of scores (Li et al. 2022, voting verifier).

    Sums are float64 over float32 scores, taken in order of rank: exact for scores of like size, and
    the same for every order of rows. Negative scores count as they stand.

    Raises:
        ValueError: the samples have no scores.
    """
    weight_C = candidates.weight_C
    if weight_C is None:
        raise ValueError(
            "weighted vote: the samples have no scores; score them first or use majority"
        )
    return _elected(candidates, weight_C, needs_support=False)


def _elected(
    candidates: Candidates, weight_C: np.ndarray | None = None, needs_support: bool = True
) -> Choice:
    """The answer with the largest weight (None: each sample weighs 1), of equals the best-ranked.

    Where `needs_support`, only one that weighs anything.
    """
    answers = candidates.answers()
    column_P = np.full(len(candidates.count_P), -1)
    total_A = np.bincount(answers.answer_V, None if weight_C is None else weight_C[answers.voter_V])
    there_P = answers.answers_P > 0
    start_P = (np.cumsum(answers.answers_P) - answers.answers_P)[there_P]
    if len(start_P):
        most_A = np.repeat(np.maximum.reduceat(total_A, start_P), answers.answers_P[there_P])
        elected_A = np.nonzero((total_A == most_A) & (most_A > 0 if needs_support else True))[0]
        # The last that is written stays: the first of equals.
        winner = answers.first_A[elected_A[::-1]]
        problem = np.searchsorted(candidates.start_P, winner, side="right") - 1
        column_P[problem] = winner - candidates.start_P[problem]
    return _handed_in(candidates, column_P)


def _handed_in(candidates: Candidates, column_P: np.ndarray) -> Choice:
    there_P = column_P >= 0
    index_P = candidates.start_P + np.maximum(column_P, 0)
    return Choice(
        column_P=column_P,
        answer_P=np.where(there_P, candidates.answer_C[index_P], -1),
        correct_P=there_P & candidates.correct_C[index_P],
    )
