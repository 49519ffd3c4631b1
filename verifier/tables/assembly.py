"""The tables of one split joined: every sample with its problem, verdict and score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.config import LabelConfig
from verifier.errors import TablesError
from verifier.evaluate.candidates import arrange_coded
from verifier.grading import extraction, graders
from verifier.grading.answer import same
from verifier.tables import joining, token_values
from verifier.tables.columns import ROW
from verifier.tables.split_rows import SCORE_ROW, Kept, SplitRows


def assemble(
    samples: Kept,
    problems: pa.Table,
    verdicts: Kept | str,
    scores: Kept | None,
    allow_missing: bool = False,
    seconds: float = LabelConfig.grader_seconds,
) -> SplitRows:
    """Joins the tables of one split.

    Args:
        samples: one row a sample.
        problems: at least the samples' ones: `problem_id`, `answer`, and `question` where known.
        verdicts: the labels, one row a sample at least, or the name of the grader that `samples`
            were read with.
        scores: one row a sample at least, less those that are `too_long`, which are left out and
            counted; None: not scored.
        allow_missing: leave out samples without a verdict or score, or with NaN or inf, and count
            them.
        seconds: that a grader has for a solution, as in `graders.relabel`.

    Raises:
        TablesError: a sample lacks its problem, verdict or score, scores are NaN or infinite, or
            graders or verifiers are mixed.
        CandidatesError: no rows, or a sample twice.
    """
    rows, missing = _complete(samples, verdicts, scores, allow_missing)
    gold, question = _answers_and_questions(problems)
    problem, ids = extraction.codes(rows["problem_id"])
    _refuse_without_gold({str(ids[number]) for number in np.unique(problem)} - gold.keys())
    golds = [gold.get(str(name), "") for name in ids]
    grader, answer, correct, not_graded = _verdicts(
        Kept(rows, samples.scan), problem, golds, verdicts, seconds
    )
    score = None
    if scores is not None:
        rows, score = _with_scores(rows, scores.columns)
    code, texts = extraction.codes(answer)
    key = np.append(graders.answer_keys(texts), -1)[code]  # of -1, no answer: the last
    candidates = arrange_coded(ids, problem, rows["sample_id"].to_numpy(), key, correct, score)
    answers = answer.combine_chunks()
    return SplitRows(
        rows,
        answers if pa.types.is_dictionary(answers.type) else answers.dictionary_encode(),
        question,
        gold,
        grader,
        candidates,
        samples.scan,
        scores.scan if scores else None,
        missing=missing,
        not_graded=not_graded,
    )


def _complete(
    samples: Kept, verdicts: Kept | str, scores: Kept | None, allow_missing: bool
) -> tuple[pa.Table, dict[str, int]]:
    """The samples that take part, and how many were left out, by what they lack."""
    missing: dict[str, int] = {}
    rows = samples.columns
    if scores and scores.too_long:
        rows, missing = joining.without_too_long(rows, scores.columns, scores.too_long)
    if allow_missing:
        labels = None if isinstance(verdicts, str) else verdicts.columns
        rows, more = joining.without_missing(rows, labels, scores.columns if scores else None)
        missing |= more
    return rows, missing


def _answers_and_questions(problems: pa.Table) -> tuple[dict[str, str], dict[str, str]]:
    """The gold answer of every problem, and the question of those that have one."""
    ids = gold_ids(problems)
    gold = dict(zip(ids, problems["answer"].to_pylist(), strict=True))
    asked = (
        problems["question"].to_pylist()
        if "question" in problems.column_names
        else [None] * len(problems)
    )
    return gold, {name: text for name, text in zip(ids, asked, strict=True) if text is not None}


def _refuse_without_gold(problem_ids: set[str]) -> None:
    """Raises TablesError if there is a problem without a gold answer."""
    if problem_ids:
        raise TablesError(
            f"{len(problem_ids)} problems of the samples have no gold answer, such as "
            f"{', '.join(sorted(problem_ids)[:3])}; add them to the problems (a problem_id made "
            "by this project is a hash of the question)"
        )


def _with_scores(rows: pa.Table, scores: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """The samples with the columns of their scores, and the scores as [rows] float64."""
    joined = joining.joined(rows, scores, "scores")
    joining.refuse_not_finite(rows, joined)
    _one(joined, "verifier", "scores")
    rows = _with_column(rows, SCORE_ROW, joined[ROW])
    for name in ("verifier", "trained_on", *token_values.names(joined.column_names)):
        rows = _with_column(rows, name, joined[name]) if name in joined.column_names else rows
    return rows, joined["score"].cast(pa.float64()).to_numpy(zero_copy_only=False)


def _verdicts(
    samples: Kept, problem: np.ndarray, golds: Sequence[str], verdicts: Kept | str, seconds: float
) -> tuple[str, pa.ChunkedArray, np.ndarray, int]:
    """Who graded, answer and verdict of every row, and how many were not graded.

    `problem` is each row's index in `golds`.
    """
    rows = samples.columns
    if not isinstance(verdicts, str):
        labels = joining.joined(rows, verdicts.columns, "labels")
        return (
            _one(labels, "grader", "labels"),
            labels["answer"],
            labels["correct"].to_numpy(zero_copy_only=False),
            0,
        )
    if verdicts in graders.BY_ENDING:
        return (
            verdicts,
            rows["answer"],
            graders.verdicts_on(*extraction.codes(rows["answer"]), problem, golds, verdicts),
            0,
        )
    row_R = rows[ROW].to_numpy()  # ascending: of the scan, without those that were left out

    def solutions() -> Iterator[str]:
        for piece, first in samples.scan.one_by_one(["solution"]):
            low, high = np.searchsorted(row_R, [first, first + len(piece)])
            yield from (
                piece["solution"]
                .cast(pa.string())
                .take(pa.array(row_R[low:high] - first))
                .to_pylist()
            )

    graded = graders.relabel(
        solutions(), (golds[number] for number in problem.tolist()), verdicts, seconds
    )
    return (
        verdicts,
        pa.chunked_array([pa.array(graded.answers, pa.string())]),
        graded.correct,
        graded.not_graded,
    )


def gold_ids(problems: pa.Table) -> list[str]:
    """The ids of a problems table; one that has two different gold answers is an error."""
    ids, answers = problems["problem_id"].to_pylist(), problems["answer"].to_pylist()
    first: dict[str, Any] = {}
    for name, answer in zip(ids, answers, strict=True):
        if first.setdefault(name, answer) != answer and not same(first[name], answer):
            raise TablesError(
                f"problem {name} has two gold answers, {first[name]!r} and {answer!r}; expected one"
            )
    return ids


def _with_column(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    """A table with a column more, or with another one where it has one of that name."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def _one(table: pa.Table, column: str, what: str) -> str:
    """The only value of a column; several are an error, none is "unknown"."""
    values = (
        [value for value in pc.unique(table[column]).to_pylist() if value is not None]
        if column in table.column_names
        else []
    )
    if len(values) > 1:
        raise TablesError(
            f"the {what} mix several values of {column!r}: {', '.join(map(str, values[:4]))}; "
            "expected those of one"
        )
    return str(values[0]) if values else "unknown"
