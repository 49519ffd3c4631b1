"""Who is elected when votes are cast, in many elections at once.

E elections, N votes in each. Slots stand for the answers of an election: 0 casts no vote, 1 is
shared by all answers that have but one voter, from 2 on each is an answer's own. Whoever votes is
looked at with what its answer has by then, so that the work grows with the votes and not with the
answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

_ROOMY = 4  # answers are numbered anew where the slots of an election are so many times its votes


def most_votes(
    slot_EN: np.ndarray, column_EN: np.ndarray, ends: Sequence[int], nobody: int
) -> np.ndarray:
    """The best-ranked column of the answer with the most votes, after so many votes each.

    A tie goes to the best-ranked answer.

    Args:
        slot_EN: the answers voted for.
        column_EN: int64, rank of each voter.
        ends: numbers of votes, ascending.
        nobody: stands for a column where nobody voted; more than all columns.

    Returns:
        [E, ends] columns.
    """
    answer_EN, answers = _numbered(slot_EN)
    cast, first = np.zeros(answers, np.int64), np.full(answers, nobody)
    # Grows with votes and falls with the rank: what an answer has, it keeps.
    merit_E = np.zeros(len(slot_EN), np.int64)
    elected = []
    for begin, end in itertools.pairwise((0, *ends)):
        answer = answer_EN[:, begin:end]
        column = column_EN[:, begin:end]
        slot = slot_EN[:, begin:end]
        np.add.at(cast, answer.ravel(), 1)
        np.minimum.at(first, answer.ravel(), column.ravel())
        alone = np.where(slot == 1, nobody - column, 0)
        merit = np.where(slot > 1, cast.take(answer) * nobody - first.take(answer), alone)
        merit_E = np.maximum(merit_E, merit.max(axis=1, initial=0))
        elected.append(np.where(merit_E > 0, -merit_E % nobody, nobody))
    return np.stack(elected, axis=1)


def largest_sum(
    slot_EN: np.ndarray, column_EN: np.ndarray, weight_EN: np.ndarray, nobody: int
) -> np.ndarray:
    """The best-ranked column of the answer with the largest sum of weights.

    A tie goes to the best-ranked answer. There must be no shared slot.

    Args:
        slot_EN: the answers voted for, in order of rank: weights are added up in it, so that equal
            sums are the same floats.
        column_EN: rank of each voter.
        weight_EN: of the votes.
        nobody: stands for a column where nobody voted.

    Returns:
        [E, 1] columns.
    """
    answer_EN, _ = _numbered(slot_EN)
    sum_EN = np.bincount(answer_EN.ravel(), weight_EN.ravel()).take(answer_EN)
    sum_EN[slot_EN == 0] = -np.inf
    first_E1 = sum_EN.argmax(axis=1)[:, None]
    voted_E1 = np.take_along_axis(slot_EN, first_E1, axis=1) > 0
    return np.where(voted_E1, np.take_along_axis(column_EN, first_E1, axis=1), nobody)


def _numbered(slot_EN: np.ndarray) -> tuple[np.ndarray, int]:
    """The answers of all elections, numbered, int64, and how many numbers there are.

    There are at most some times as many numbers as votes.
    """
    slots = int(slot_EN.max()) + 1
    answer_EN = slot_EN + slots * np.arange(len(slot_EN))[:, None]
    if slots <= _ROOMY * slot_EN.shape[1]:
        return answer_EN, slots * len(slot_EN)
    there, answer = np.unique(answer_EN, return_inverse=True)
    return answer.reshape(slot_EN.shape), len(there)
