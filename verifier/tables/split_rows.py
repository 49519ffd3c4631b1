"""Stored tables put together by split: samples with their problem, verdict and score.

Knows columns and files; draws no conclusion.

Of every sample a few numbers are kept; its texts and token values stay on disk until they are asked
for (`SplitRows.cells`).
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.config import LabelConfig
from verifier.errors import TablesError
from verifier.evaluate.candidates import Candidates, arrange_coded
from verifier.evaluate.metrics import GREEDY
from verifier.grading import corrections, extraction, graders
from verifier.grading.answer import same
from verifier.system import paths
from verifier.tables import columns, joining, store, token_values
from verifier.tables.columns import ROW
from verifier.tables.provenance import refuse_stale
from verifier.tables.scanning import Scan, scan_table

# what a report reads of a workdir; training samples serve training
SPLITS = ("heldout", "test", "test_greedy")
SCORE_ROW = "score_row"  # of a split's rows: the number of the row in the scores' scan
_OF_PROBLEMS = ("problem_id", "question", "answer")
_KEY = ("problem_id", "sample_id")
_FACTS = ("generator",)


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is kept of a table in memory, and where the rest of it is.

    Attributes:
        columns: `problem_id`, `sample_id`, `row` (its number in the scan), and of samples `answer`
            where a grader has read them, of labels `answer`, `correct` and `grader`, of scores
            `score` and the columns of `token_values.summarised`; `generator` and `verifier` where
            known. Text may be dictionaries.
        scan: all columns of the table.
        too_long: of scores, samples that have none because they are longer than their verifier's
            context.
    """

    columns: pa.Table
    scan: Scan
    too_long: int = 0


@dataclasses.dataclass(frozen=True)
class SplitRows:
    """One split, row by row, and the same as `Candidates`.

    Attributes:
        rows: the samples' `columns`; where there are scores `score_row`, and where known `verifier`
            and what is kept of token values.
        answer: extracted answer of every row, as a dictionary.
        question: text of every problem; may lack some.
        gold: right answer of every problem.
        grader: who gave the verdicts.
        candidates: the rows ranked; `row_C` leads back to `rows`.
        texts: the samples' scan.
        values: the scores' scan; None: not scored.
        left_out: problems of the split that have no samples and so are not counted; None: not
            known.
        missing: samples that were left out, by what they lack (`joining.without_missing`,
            `without_too_long`).
        not_graded: solutions that the grader was too long over; they count as wrong.
        fixed_labels: gold answers that were corrected, as `data.corrections.corrected` gives them.
    """

    rows: pa.Table
    answer: pa.DictionaryArray
    question: Mapping[str, str]
    gold: Mapping[str, str]
    grader: str
    candidates: Candidates
    texts: Scan
    values: Scan | None = None
    left_out: int | None = 0
    missing: Mapping[str, int] = dataclasses.field(default_factory=dict)
    not_graded: int = 0
    fixed_labels: Sequence[Mapping[str, str]] = ()

    @property
    def names(self) -> list[str]:
        """The columns of the samples, then those of the scores."""
        return list(dict.fromkeys([*self.texts.names, *(self.values.names if self.values else [])]))

    def verdicts(self, rows: np.ndarray) -> graders.Relabelled:
        """Answer and verdict of chosen rows."""
        correct = np.zeros(len(self.rows), bool)
        correct[self.candidates.row_C] = self.candidates.correct_C
        return graders.Relabelled(
            self.answer.take(pa.array(rows)).to_pylist(), correct[rows], self.not_graded
        )

    def facts(self, column: str) -> list[str]:
        """The distinct values of a column, such as the generators; empty where there is no such
        column.
        """
        values = (
            pc.unique(self.rows[column]).to_pylist() if column in self.rows.column_names else []
        )
        return sorted(str(value) for value in values if value is not None)

    def cells(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, list[Any]]:
        """Texts and token values of chosen rows, read from where they lie.

        Args:
            rows: [any] places in `rows`.
            names: of columns; those of the scores take the place of the samples' own.

        Returns:
            For every column that is there its cells, in the order of `rows`.
        """
        found: dict[str, list[Any]] = {}
        # one file may hold samples and scores
        apart = self.values if self.values is not self.texts else None
        for scan, number in ((self.texts, ROW), (apart, SCORE_ROW)):
            there = [name for name in names if scan is not None and name in scan.names]
            if scan is not None and there and len(rows):
                read = scan.take(self.rows[number].to_numpy()[rows], there)
                found |= {name: read[name].to_pylist() for name in there}
        return found

    def row_groups(self) -> tuple[np.ndarray, np.ndarray]:
        """The row group that each row's texts lie in, and how many rows are decoded to read any of
        a group's.
        """
        return self.texts.groups_of(self.rows[ROW].to_numpy())


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
    missing: dict[str, int] = {}
    rows = samples.columns
    if scores and scores.too_long:
        rows, missing = joining.without_too_long(rows, scores.columns, scores.too_long)
    if allow_missing:
        labels = None if isinstance(verdicts, str) else verdicts.columns
        rows, more = joining.without_missing(rows, labels, scores.columns if scores else None)
        missing |= more
    gold = dict(
        zip(problems["problem_id"].to_pylist(), problems["answer"].to_pylist(), strict=True)
    )
    asked = (
        problems["question"].to_pylist()
        if "question" in problems.column_names
        else [None] * len(problems)
    )
    question = {
        name: text for name, text in zip(gold_ids(problems), asked, strict=True) if text is not None
    }
    problem, ids = extraction.codes(rows["problem_id"])
    strangers = sorted({str(ids[number]) for number in np.unique(problem)} - gold.keys())
    if strangers:
        raise TablesError(
            f"{len(strangers)} problems of the samples have no gold answer, such as "
            f"{', '.join(strangers[:3])}; add them to the problems (a problem_id made by this "
            "project is a hash of the question)"
        )
    golds = [gold.get(str(name), "") for name in ids]
    grader, answer, correct, not_graded = _verdicts(
        Kept(rows, samples.scan), problem, golds, verdicts, seconds
    )
    score = None
    if scores is not None:
        joined = joining.joined(rows, scores.columns, "scores")
        joining.refuse_not_finite(rows, joined)
        _one(joined, "verifier", "scores")
        score = joined["score"].cast(pa.float64()).to_numpy(zero_copy_only=False)
        rows = _with_column(rows, SCORE_ROW, joined[ROW])
        for name in ("verifier", "trained_on", *token_values.names(joined.column_names)):
            rows = _with_column(rows, name, joined[name]) if name in joined.column_names else rows
    code, texts = extraction.codes(answer)
    key = np.append(graders.answer_keys(texts), -1)[code]  # of -1, no answer: the last
    candidates = arrange_coded(ids, problem, rows["sample_id"].to_numpy(), key, correct, score)
    read = (
        answer.combine_chunks()
        if pa.types.is_dictionary(answer.type)
        else answer.combine_chunks().dictionary_encode()
    )
    values = scores.scan if scores else None
    return SplitRows(
        rows,
        read,
        question,
        gold,
        grader,
        candidates,
        samples.scan,
        values,
        missing=missing,
        not_graded=not_graded,
    )


def _verdicts(
    samples: Kept, problem: np.ndarray, golds: Sequence[str], verdicts: Kept | str, seconds: float
) -> tuple[str, pa.ChunkedArray, np.ndarray, int]:
    """Who judged, answer and verdict of every row, and how many were not graded; `problem` is each
    row's place in `golds`.
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
            graders.judge(*extraction.codes(rows["answer"]), problem, golds, verdicts),
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

    judged = graders.relabel(
        solutions(), (golds[number] for number in problem.tolist()), verdicts, seconds
    )
    return (
        verdicts,
        pa.chunked_array([pa.array(judged.answers, pa.string())]),
        judged.correct,
        judged.not_graded,
    )


def read_workdir(
    root: pathlib.Path,
    splits: Sequence[str] | None = None,
    grader: str | None = None,
    allow_missing: bool = False,
) -> dict[str, SplitRows]:
    """The splits of a workdir that are ready to be reported on.

    Args:
        root: a workdir, with `tables/samples/split=*` and the others beside it.
        splits: which splits; None takes those of `reported` that have samples.
        grader: judges all solutions anew; None takes the stored labels.
        allow_missing: as in `assemble`.

    Returns:
        The splits that have samples, in the order asked for; those without a scores table have no
        scores.

    Raises:
        StoreError: a table is missing, unfinished or damaged.
        TablesError: tables that do not belong together, such as labels or scores of other samples.
    """
    tables = paths.place(root) / "tables"
    there = [
        split
        for split in (splits or reported(tables / "samples"))
        if (tables / "samples" / f"split={split}").is_dir()
    ]
    if not there:
        raise TablesError(
            f"{tables / 'samples'}: no samples of the splits {', '.join(splits or SPLITS)}; "
            "run the stages up to sample first"
        )
    out = {}
    for split in there:
        refuse_stale(
            paths.place(root),
            split,
            ["samples", "scores"] if grader else ["samples", "labels", "scores"],
        )
        problems = store.read_table(
            tables / "problems" / f"split={split.removesuffix(GREEDY)}", "problems", _OF_PROBLEMS
        )
        samples, labels, scored = (
            tables / table / f"split={split}" for table in ("samples", "labels", "scores")
        )
        said = {} if grader else store.read_manifest(labels) or {}
        fixed = said.get("fixed_labels", ())
        judged_by, verdicts = (
            corrections.with_answers(problems, fixed),
            grader or read_labels(labels),
        )
        scores = read_scores(scored) if scored.is_dir() else None
        rows = assemble(read_samples(samples, grader), judged_by, verdicts, scores, allow_missing)
        not_graded, lost = (
            said.get("not_graded", rows.not_graded),
            left_out(split, len(problems), rows.candidates),
        )
        out[split] = dataclasses.replace(
            rows, left_out=lost, not_graded=not_graded, fixed_labels=fixed
        )
    return out


def left_out(split: str, problems: int, candidates: Candidates) -> int:
    """How many of a split's problems have no samples; a greedy split, which has the problems of
    another, counts none.
    """
    return 0 if split.endswith(GREEDY) else max(problems - len(candidates.problem_id_P), 0)


def reported(samples: pathlib.Path) -> list[str]:
    """The splits that a report reads of a workdir's samples: those of SPLITS, then further test
    sets by name.
    """
    there = sorted(
        folder.name.removeprefix("split=")
        for folder in samples.glob("split=test_*")
        if folder.is_dir()
    )
    return [*SPLITS, *(split for split in there if split not in SPLITS)]


def read_samples(path: pathlib.Path, grader: str | None = None) -> Kept:
    """A split of stored samples, read piece by piece; with their answers where a grader is
    named.
    """
    if grader:
        graders.check_grader(grader)
    # others are asked when the right answers are known
    by_ending = grader if grader in graders.BY_ENDING else None
    scan = _scan(path, "samples")
    return Kept(
        columns.keep(scan, [*_KEY, *(name for name in _FACTS if name in scan.names)], by_ending),
        scan,
    )


def read_labels(path: pathlib.Path) -> Kept:
    """A split of stored labels."""
    scan = _scan(path, "labels")
    return Kept(columns.keep(scan, [*_KEY, "answer", "correct", "grader"]), scan)


def read_scores(path: pathlib.Path) -> Kept:
    """A split of stored scores and what is kept of their token values."""
    scan = _scan(path, "scores")
    given = [name for name in ("verifier", "token_scores") if name in scan.names]
    return Kept(
        columns.keep(scan, [*_KEY, "score", *given]),
        scan,
        (store.read_manifest(path) or {}).get("too_long", 0),
    )


def _scan(path: pathlib.Path, table: str) -> Scan:
    scan = scan_table(path, table)
    if not scan.rows:
        raise TablesError(
            f"{path} is empty: expected at least one row; remove it and run the stage that "
            "makes it again"
        )
    return scan


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
    """A table with a column more, or another one in the place of its own of that name."""
    place = (
        table.column_names.index(name) if name in table.column_names else len(table.column_names)
    )
    kept = table.drop_columns([name]) if name in table.column_names else table
    return kept.add_column(place, name, column)


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
