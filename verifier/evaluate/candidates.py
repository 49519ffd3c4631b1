"""The samples of one split as padded arrays, best-ranked first. Knows ranks and answers; knows no text, no table and no file.

P problems, J samples of a problem (padded to the longest), A answers of a problem. Columns run from the best-ranked sample to the worst
(higher score, then lower `sample_id`), and answers are numbered by their best-ranked sample. So "the first of the largest" is always the
tie rule of the house, and the order of rows on disk cannot matter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from verifier.config import UserError


class CandidatesError(UserError):
    """Rows that cannot be ranked: twice the same sample, or a score that is no finite number."""


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Scored and graded samples of P problems, problems in order of their id, columns in order of rank.

    Attributes:
        problem_id_P: the problems' ids, ascending.
        count_P: how many samples a problem has; columns beyond it are padding.
        row_PJ: row of the flat input that each sample came from, int32 as the next two; -1 where padded.
        sample_id_PJ: the samples' own ids; -1 where padded.
        answer_PJ: number of the sample's answer within its problem; -1 where it has none or is padding.
        correct_PJ: the grader's verdict; False where padded.
        score_PJ: float64 scores, NaN where padded; None if nothing was scored.
        log_PJ: logarithms of the scores where these may be too small for a float64, NaN where padded. Where given, they decide the order.
    """

    problem_id_P: np.ndarray
    count_P: np.ndarray
    row_PJ: np.ndarray
    sample_id_PJ: np.ndarray
    answer_PJ: np.ndarray
    correct_PJ: np.ndarray
    score_PJ: np.ndarray | None
    log_PJ: np.ndarray | None = None

    @property
    def present_PJ(self) -> np.ndarray:
        """True where there is a sample."""
        return np.arange(self.row_PJ.shape[1])[None] < self.count_P[:, None]

    @property
    def smallest(self) -> int:
        """Samples of the problem that has fewest: the largest n for which a curve over n is defined for all."""
        return int(self.count_P.min())

    @property
    def weight_PJ(self) -> np.ndarray | None:
        """What a sample weighs in a vote: its score; of logarithms the score in units of its problem's best, which elects the same."""
        if self.log_PJ is None:
            return self.score_PJ
        return np.exp(self.log_PJ - self.log_PJ[:, :1])  # the first column holds the highest

    def reranked(self, score: np.ndarray, log: np.ndarray | None = None) -> Candidates:
        """The same samples in the order of other scores.

        Args:
            score: [rows] of the flat input that `row_PJ` leads to; rows that are not ranked here may hold anything.
            log: [rows] logarithms of the scores, as in `arrange`.

        Raises:
            CandidatesError: a score is NaN or infinite.
        """
        present_PJ, rows = self.present_PJ, np.maximum(self.row_PJ, 0)
        by_PJ = np.where(present_PJ, (score if log is None else log)[rows], np.nan)
        problem, column = np.nonzero(present_PJ)
        _refuse_not_finite(self.problem_id_P[problem], self.sample_id_PJ[problem, column], by_PJ[problem, column])
        order_PJ = np.lexsort((self.sample_id_PJ, -by_PJ, ~present_PJ), axis=1)

        def moved(values_PJ: np.ndarray) -> np.ndarray:
            return np.take_along_axis(values_PJ, order_PJ, axis=1)

        new = dataclasses.replace(
            self,
            row_PJ=moved(self.row_PJ),
            sample_id_PJ=moved(self.sample_id_PJ),
            answer_PJ=moved(self.answer_PJ),
            correct_PJ=moved(self.correct_PJ),
            score_PJ=moved(np.where(present_PJ, score[rows], np.nan)),
            log_PJ=None if log is None else moved(by_PJ),
        )
        return new._renumbered()

    def some(self, kept_PJ: np.ndarray) -> Candidates:
        """The samples where `kept_PJ` is True, at least one of every problem, ranked among themselves."""
        count_P = kept_PJ.sum(axis=1)
        order_PJ = np.argsort(~kept_PJ, axis=1, kind="stable")[:, : count_P.max()]
        there_PJ = np.arange(order_PJ.shape[1])[None] < count_P[:, None]

        def taken(values_PJ: np.ndarray, fill: Any) -> np.ndarray:
            return np.where(there_PJ, np.take_along_axis(values_PJ, order_PJ, axis=1), fill)

        return dataclasses.replace(
            self,
            count_P=count_P,
            row_PJ=taken(self.row_PJ, -1),
            sample_id_PJ=taken(self.sample_id_PJ, -1),
            answer_PJ=taken(self.answer_PJ, -1),
            correct_PJ=taken(self.correct_PJ, False),
            score_PJ=None if self.score_PJ is None else taken(self.score_PJ, np.nan),
            log_PJ=None if self.log_PJ is None else taken(self.log_PJ, np.nan),
        )._renumbered()

    def _renumbered(self) -> Candidates:
        """Answers numbered by their best-ranked sample again."""
        first_PA = self.first_column_PA()
        if first_PA.shape[1] == 0:
            return self
        number_PA = np.argsort(np.argsort(np.where(first_PA < 0, self.row_PJ.shape[1], first_PA), axis=1), axis=1)
        answer_PJ = np.where(self.answer_PJ < 0, -1, np.take_along_axis(number_PA, np.maximum(self.answer_PJ, 0), axis=1))
        return dataclasses.replace(self, answer_PJ=answer_PJ.astype(np.int32))

    def first_column_PA(self) -> np.ndarray:
        """Column of each answer's best-ranked sample; -1 for answers that the problem does not have."""
        problems, columns = np.nonzero(self.answer_PJ >= 0)
        answers = self.answer_PJ[problems, columns]
        width = self.row_PJ.shape[1]
        first_PA = np.full((len(self.count_P), int(self.answer_PJ.max(initial=-1)) + 1), width)
        np.minimum.at(first_PA, (problems, answers), columns)
        return np.where(first_PA == width, -1, first_PA)

    def mixed_groups(self) -> int:
        """Answers whose samples got different verdicts though they are numerically equal (strict graders: "72.00" and "72")."""
        answers = int(self.answer_PJ.max(initial=-1)) + 1
        problems, columns = np.nonzero(self.answer_PJ >= 0)
        flat = problems * answers + self.answer_PJ[problems, columns]
        size = np.bincount(flat)
        right = np.bincount(flat, weights=self.correct_PJ[problems, columns])
        return int(np.sum((right > 0) & (right < size)))


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
        key: [rows] integers, equal where two answers are equal (`text.answer.vote_key`); negative where there is no answer.
        correct: [rows] verdicts of the grader.
        score: [rows] verifier's scores, higher is better, or None.
        log: [rows] their logarithms, where scores that differ may be the same as float64; the order is theirs then.

    Returns:
        Candidates of all problems that have at least one row.

    Raises:
        CandidatesError: no rows, the same sample twice, or scores that are NaN or infinite; the rows are named.
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
    """`arrange` of rows whose problems are given as [rows] places in `problem_id`, whose ids differ; those without rows are left out."""
    if len(problem) == 0:
        raise CandidatesError("there are no samples to rank: expected at least one row")
    sample_id, key, correct = np.asarray(sample_id, np.int64), np.asarray(key, np.int64), np.asarray(correct, bool)
    ids, problem = _in_order(np.asarray(problem_id, dtype=object).astype(str), problem)
    if score is not None:
        score = np.asarray(score, np.float64)
        _refuse_not_finite(ids[problem], sample_id, score)
    _refuse_twins(ids, problem, sample_id)
    order = np.lexsort((sample_id, problem) if score is None else (sample_id, -(score if log is None else log), problem))
    problem, answered = problem[order], key[order]
    count_P = np.bincount(problem, minlength=len(ids))
    column = np.arange(len(problem)) - np.repeat(np.cumsum(count_P) - count_P, count_P)

    def padded(values: np.ndarray, fill: Any) -> np.ndarray:
        out_PJ = np.full((len(ids), int(count_P.max())), fill, dtype=values.dtype)
        out_PJ[problem, column] = values
        return out_PJ

    return Candidates(
        problem_id_P=ids,
        count_P=count_P,
        row_PJ=padded(order.astype(np.int32), -1),
        sample_id_PJ=padded(sample_id[order].astype(np.int32), -1),
        answer_PJ=padded(_numbered(problem, answered).astype(np.int32), -1),
        correct_PJ=padded(correct[order], False),
        score_PJ=None if score is None else padded(score[order], np.nan),
        log_PJ=None if log is None else padded(log[order], np.nan),
    )


def _in_order(ids: np.ndarray, problem: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids that have rows, ascending, and the places in them."""
    used = np.nonzero(np.bincount(problem, minlength=len(ids)))[0]
    order = used[np.argsort(ids[used])]
    place = np.zeros(len(ids), np.int64)
    place[order] = np.arange(len(order))
    return ids[order], place[problem]


def _numbered(problem: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Answers numbered within their problem by first appearance; rows come problem by problem in order of rank. -1 stays -1."""
    number = np.full(len(key), -1)
    rows = np.nonzero(key >= 0)[0]
    if len(rows) == 0:
        return number
    pairs = problem[rows] * (key.max() + 1) + key[rows]
    _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
    by_appearance = np.argsort(first)
    place = np.empty(len(first), np.int64)
    place[by_appearance] = np.arange(len(first))
    owner = problem[rows][first][by_appearance]  # ascending, because rows come problem by problem
    start = np.searchsorted(owner, owner)
    number[rows] = (np.arange(len(first)) - start)[place[inverse]]
    return number


def _refuse_not_finite(problem_id: np.ndarray, sample_id: np.ndarray, score: np.ndarray) -> None:
    bad = np.nonzero(~np.isfinite(score))[0]
    if len(bad):
        named = ", ".join(f"row {row} (problem {problem_id[row]}, sample {sample_id[row]})" for row in bad[:3])
        what = not_finite(score[bad])
        raise CandidatesError(f"{len(bad)} of {len(score)} scores are {what}, such as {named}; score those samples again or leave them out")


def not_finite(values: np.ndarray) -> str:
    """What numbers that are not finite are, in words."""
    return " or ".join(word for word, found in (("NaN", np.isnan(values)), ("inf", np.isinf(values))) if found.any())


def _refuse_twins(ids: np.ndarray, problem: np.ndarray, sample_id: np.ndarray) -> None:
    later = np.diff(problem)
    if np.all((later > 0) | ((later == 0) & (np.diff(sample_id) > 0))):  # as tables mostly are: nothing to sort
        return
    order = np.lexsort((sample_id, problem))
    same = (np.diff(problem[order]) == 0) & (np.diff(sample_id[order]) == 0)
    if same.any():
        rows = order[np.nonzero(same)[0]][:3]
        named = ", ".join(f"problem {ids[problem[row]]}, sample {sample_id[row]}" for row in rows)
        raise CandidatesError(f"{int(same.sum())} samples are there twice, such as {named}; (problem_id, sample_id) must be unique")
