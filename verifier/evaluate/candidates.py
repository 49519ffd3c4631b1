"""The samples of one split, problem after problem, best-ranked first.

P problems, C candidates of all problems together, A answers of all problems together. Nothing is
padded: what is held is so much a sample, however unlike in size the problems are. Within a problem
candidates run from the best-ranked to the worst (higher score, then lower `sample_id`), and answers
are numbered by their best-ranked sample. So "the first of the largest" is always the tie rule of
the house, and the order of rows on disk cannot matter.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from verifier.errors import CandidatesError


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Scored and graded samples of P problems, the C samples of all by problem and rank.

    The problems are in order of their ids.

    Attributes:
        problem_id_P: the problems' ids, ascending.
        count_P: how many samples a problem has, one at least.
        row_C: row of the flat input that each sample came from, int32.
        sample_id_C: the samples' own ids.
        answer_C: number of the sample's answer within its problem, int32; -1 where it has none.
        correct_C: the grader's verdict.
        score_C: float64 scores; None if nothing was scored.
        log_C: logarithms of the scores where these may be too small for a float64. Where given,
            they decide the order.
    """

    problem_id_P: np.ndarray
    count_P: np.ndarray
    row_C: np.ndarray
    sample_id_C: np.ndarray
    answer_C: np.ndarray
    correct_C: np.ndarray
    score_C: np.ndarray | None
    log_C: np.ndarray | None = None

    @functools.cached_property
    def start_P(self) -> np.ndarray:
        """Index of each problem's best-ranked sample."""
        return np.cumsum(self.count_P) - self.count_P

    @property
    def problem_C(self) -> np.ndarray:
        """The problem of each sample, int32."""
        return np.repeat(np.arange(len(self.count_P), dtype=np.int32), self.count_P)

    @property
    def column_C(self) -> np.ndarray:
        """Rank of each sample within its problem, from 0."""
        return np.arange(len(self.row_C)) - np.repeat(self.start_P, self.count_P)

    @property
    def right_P(self) -> np.ndarray:
        """How many samples of a problem are right."""
        return np.add.reduceat(self.correct_C, self.start_P, dtype=np.int64)

    @property
    def smallest(self) -> int:
        """Samples of the problem that has fewest; up to so many a curve is defined for all."""
        return int(self.count_P.min())

    @property
    def weight_C(self) -> np.ndarray | None:
        """What a sample weighs in a vote: its score.

        Where scores are logarithms it is in units of its problem's best, which elects the same.
        """
        if self.log_C is None:
            return self.score_C
        # A problem's first sample holds the highest.
        return np.exp(self.log_C - np.repeat(self.log_C[self.start_P], self.count_P))

    def reranked(self, score: np.ndarray, log: np.ndarray | None = None) -> Candidates:
        """The same samples in the order of other scores.

        Args:
            score: [rows] of the flat input that `row_C` leads to; rows that are not ranked here may
                hold anything.
            log: [rows] logarithms of the scores, as in `arrange`.

        Raises:
            CandidatesError: a score is NaN or infinite.
        """
        by_C, problem_C = (score if log is None else log)[self.row_C], self.problem_C
        _refuse_not_finite(self.problem_id_P, problem_C, self.sample_id_C, by_C)
        order_C = np.lexsort((self.sample_id_C, -by_C, problem_C))
        moved = self._taken(order_C, self.count_P)
        return dataclasses.replace(
            moved, score_C=score[moved.row_C], log_C=None if log is None else by_C[order_C]
        )

    def some(self, kept_C: np.ndarray) -> Candidates:
        """The samples where `kept_C` is True, at least one a problem, ranked among themselves."""
        return self._taken(
            np.nonzero(kept_C)[0], np.add.reduceat(kept_C, self.start_P, dtype=np.int64)
        )

    def of_problems(self, kept_P: np.ndarray) -> Candidates:
        """All samples of the problems where `kept_P` is True."""
        kept = self._taken(np.nonzero(np.repeat(kept_P, self.count_P))[0], self.count_P[kept_P])
        return dataclasses.replace(kept, problem_id_P=self.problem_id_P[kept_P])

    def _taken(self, index: np.ndarray, count_P: np.ndarray) -> Candidates:
        """The samples at `index`, answers numbered by their best-ranked sample again."""
        problem = np.repeat(np.arange(len(count_P)), count_P)
        return dataclasses.replace(
            self,
            count_P=count_P,
            row_C=self.row_C[index],
            sample_id_C=self.sample_id_C[index],
            answer_C=_numbered(problem, self.answer_C[index]),
            correct_C=self.correct_C[index],
            score_C=None if self.score_C is None else self.score_C[index],
            log_C=None if self.log_C is None else self.log_C[index],
        )

    def answers(self) -> Answers:
        """The different answers of all problems."""
        answers_P = np.maximum.reduceat(self.answer_C, self.start_P).astype(np.int64) + 1
        voter_V = np.nonzero(self.answer_C >= 0)[0]
        answer_V = (
            self.answer_C[voter_V]
            + np.repeat(np.cumsum(answers_P) - answers_P, self.count_P)[voter_V]
        )
        first_A = np.empty(int(answers_P.sum()), np.int64)
        first_A[answer_V[::-1]] = voter_V[::-1]  # the last that is written stays: the best-ranked
        return Answers(answers_P, voter_V, answer_V, first_A)

    def mixed_groups(self) -> int:
        """How many answers have samples with different verdicts, though all are numerically equal.

        Strict graders grade so: "72.00" wrong and "72" right.
        """
        answers = self.answers()
        size_A = np.bincount(answers.answer_V)
        right_A = np.bincount(answers.answer_V, weights=self.correct_C[answers.voter_V])
        return int(np.sum((right_A > 0) & (right_A < size_A)))


class Answers(NamedTuple):
    """The A different answers, problem after problem, and the V samples that have one.

    answers_P: how many answers a problem has.
    voter_V: indices of the samples that have an answer.
    answer_V: the answer of each, counted over all problems.
    first_A: index of each answer's best-ranked sample.
    """

    answers_P: np.ndarray
    voter_V: np.ndarray
    answer_V: np.ndarray
    first_A: np.ndarray


def arrange(
    problem_id: Sequence[str] | np.ndarray,
    sample_id: np.ndarray,
    key: np.ndarray,
    correct: np.ndarray,
    score: np.ndarray | None,
    log: np.ndarray | None = None,
) -> Candidates:
    """Groups flat rows by problem and ranks them.

    Args:
        problem_id: [rows] ids, in any order.
        sample_id: [rows] integers, unique within a problem.
        key: [rows] integers, equal where two answers are equal (`answer.vote_key`); negative
            where there is no answer.
        correct: [rows] verdicts of the grader.
        score: [rows] verifier's scores, higher is better, or None.
        log: [rows] their logarithms, where scores that differ may be the same as float64; the order
            is theirs then.

    Returns:
        Candidates of all problems that have at least one row.

    Raises:
        CandidatesError: no rows, the same sample twice, or scores that are NaN or infinite; the
            rows are named.
    """
    ids, problem = np.unique(np.asarray(problem_id, dtype=object).astype(str), return_inverse=True)
    return arrange_coded(ids, problem, sample_id, key, correct, score, log)


def arrange_coded(
    problem_id: Sequence[str | None] | np.ndarray,
    problem: np.ndarray,
    sample_id: np.ndarray,
    key: np.ndarray,
    correct: np.ndarray,
    score: np.ndarray | None,
    log: np.ndarray | None = None,
) -> Candidates:
    """`arrange` of rows whose problems are given as [rows] indices into `problem_id`.

    Its ids differ; those without rows are left out.
    """
    if len(problem) == 0:
        raise CandidatesError("there are no samples to rank: expected at least one row")
    sample_id = np.asarray(sample_id, np.int64)
    key = np.asarray(key, np.int64)
    correct = np.asarray(correct, bool)
    ids, problem = _in_order(np.asarray(problem_id, dtype=object).astype(str), problem)
    if score is not None:
        score = np.asarray(score, np.float64)
        _refuse_not_finite(ids, problem, sample_id, score)
    _refuse_twins(ids, problem, sample_id)
    if score is None:
        order = np.lexsort((sample_id, problem))
    else:
        order = np.lexsort((sample_id, -(score if log is None else log), problem))
    small = np.int32 if sample_id.min() >= -(2**31) and sample_id.max() < 2**31 else np.int64
    return Candidates(
        problem_id_P=ids,
        count_P=np.bincount(problem, minlength=len(ids)),
        row_C=order.astype(np.int32),
        sample_id_C=sample_id[order].astype(small),
        answer_C=_numbered(problem[order], key[order]),
        correct_C=correct[order],
        score_C=None if score is None else score[order],
        log_C=None if log is None else log[order],
    )


def _in_order(ids: np.ndarray, problem: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids that have rows, ascending, and [rows] indices into them, int32."""
    used = np.nonzero(np.bincount(problem, minlength=len(ids)))[0]
    order = used[np.argsort(ids[used])]
    index = np.zeros(len(ids), np.int32)
    index[order] = np.arange(len(order))
    return ids[order], index[problem]


def _numbered(problem: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Answers numbered within their problem by first appearance, int32; -1 stays -1.

    Rows come problem by problem in order of rank.
    """
    number = np.full(len(key), -1, np.int32)
    rows = np.nonzero(key >= 0)[0]
    if len(rows) == 0:
        return number
    pair = problem[rows].astype(np.int64) * (int(key.max()) + 1) + key[rows]
    by_pair = np.argsort(pair, kind="stable")  # within a pair by rank
    opens = np.diff(pair[by_pair], prepend=-1) != 0
    first = by_pair[opens]  # of each pair its best-ranked row
    appears = np.zeros(len(rows), bool)
    appears[first] = True
    before = np.cumsum(appears) - 1  # by rank over all problems
    owner = problem[rows]
    opening = np.diff(owner, prepend=-1) != 0  # a problem's first row that has an answer
    within = before - np.maximum.accumulate(np.where(opening, before, 0))
    number[rows[by_pair]] = within[first][np.cumsum(opens) - 1]
    return number


def _refuse_not_finite(
    ids: np.ndarray, problem: np.ndarray, sample_id: np.ndarray, score: np.ndarray
) -> None:
    bad = np.nonzero(~np.isfinite(score))[0]
    if len(bad):
        named = ", ".join(
            f"row {row} (problem {ids[problem[row]]}, sample {sample_id[row]})" for row in bad[:3]
        )
        what = not_finite(score[bad])
        raise CandidatesError(
            f"{len(bad)} of {len(score)} scores are {what}, such as {named}; score those "
            "samples again or leave them out"
        )


def not_finite(values: np.ndarray) -> str:
    """What numbers that are not finite are, in words."""
    return " or ".join(
        word
        for word, are_R in (("NaN", np.isnan(values)), ("inf", np.isinf(values)))
        if are_R.any()
    )


def _refuse_twins(ids: np.ndarray, problem: np.ndarray, sample_id: np.ndarray) -> None:
    later = np.diff(problem)
    # Nothing to sort: tables mostly are in order.
    if np.all((later > 0) | ((later == 0) & (np.diff(sample_id) > 0))):
        return
    order = np.lexsort((sample_id, problem))
    same = (np.diff(problem[order]) == 0) & (np.diff(sample_id[order]) == 0)
    if same.any():
        rows = order[np.nonzero(same)[0]][:3]
        named = ", ".join(f"problem {ids[problem[row]]}, sample {sample_id[row]}" for row in rows)
        raise CandidatesError(
            f"{int(same.sum())} samples are there twice, such as {named}; (problem_id, "
            "sample_id) must be unique"
        )
