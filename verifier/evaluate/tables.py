"""Stored tables put together by split: samples with their problem, verdict and score. Knows columns and files; draws no conclusion."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier import places
from verifier.config import LabelConfig
from verifier.data import corrections, store
from verifier.evaluate import graders, joining
from verifier.evaluate.candidates import Candidates, arrange
from verifier.evaluate.joining import TablesError
from verifier.evaluate.metrics import GREEDY

SPLITS = ("heldout", "test", "test_greedy")  # what a report reads of a workdir; training samples serve training
_OF_PROBLEMS = ("problem_id", "question", "answer")
_KEY = ("problem_id", "sample_id")
_SHOWN = ("tokens", "forced")  # read where they are there, for solutions coloured by token
_FACTS = ("generator",)


@dataclasses.dataclass(frozen=True)
class SplitRows:
    """One split, row by row, and the same as `Candidates`.

    Attributes:
        rows: `problem_id`, `sample_id`, `solution`, and where known `tokens`, `forced`, `token_scores`, `generator`.
        answer: extracted answer of every row.
        question: text of every problem; may lack some.
        gold: right answer of every problem.
        grader: who gave the verdicts.
        candidates: the rows ranked; `row_PJ` leads back to `rows`.
        left_out: problems of the split that have no samples and so are not counted.
        missing: samples that were left out, by what they lack (`joining.without_missing`).
        not_graded: solutions that the grader was too long over; they count as wrong.
        fixed_labels: gold answers that were corrected, as `data.corrections.corrected` gives them.
    """

    rows: pa.Table
    answer: Sequence[str | None]
    question: Mapping[str, str]
    gold: Mapping[str, str]
    grader: str
    candidates: Candidates
    left_out: int = 0
    missing: Mapping[str, int] = dataclasses.field(default_factory=dict)
    not_graded: int = 0
    fixed_labels: Sequence[Mapping[str, str]] = ()

    def verdicts(self) -> graders.Relabelled:
        """Answer and verdict of every row."""
        correct = np.zeros(len(self.rows), bool)
        present_PJ = self.candidates.present_PJ
        correct[self.candidates.row_PJ[present_PJ]] = self.candidates.correct_PJ[present_PJ]
        return graders.Relabelled(list(self.answer), correct, self.not_graded)

    def facts(self, column: str) -> list[str]:
        """The distinct values of a column, such as the generators; empty where there is no such column."""
        return sorted(map(str, pc.unique(self.rows[column]).to_pylist())) if column in self.rows.column_names else []


def assemble(
    samples: pa.Table,
    problems: pa.Table,
    verdicts: pa.Table | str,
    scores: pa.Table | None,
    allow_missing: bool = False,
    seconds: float = LabelConfig.grader_seconds,
) -> SplitRows:
    """Joins the tables of one split.

    Args:
        samples: one row a sample: `problem_id`, `sample_id`, `solution`, more as in `SplitRows.rows`.
        problems: at least the samples' ones: `problem_id`, `answer`, and `question` where known.
        verdicts: the labels table, one row a sample at least, or the name of a grader that judges all solutions now.
        scores: `problem_id`, `sample_id`, `score` and where known `token_scores` and `verifier`, one row a sample at least; None: not
            scored.
        allow_missing: leave out samples without a verdict or score, or with NaN, and count them.
        seconds: that a grader has for a solution, as in `graders.relabel`.

    Raises:
        TablesError: a sample lacks its problem, verdict or score, scores that are NaN, or several graders or verifiers are mixed.
        GraderError: there is no such grader.
        CandidatesError: no rows, or a sample twice.
    """
    missing: dict[str, int] = {}
    if allow_missing:
        samples, missing = joining.without_missing(samples, None if isinstance(verdicts, str) else verdicts, scores)
    gold = dict(zip(problems["problem_id"].to_pylist(), problems["answer"].to_pylist(), strict=True))
    asked = problems["question"].to_pylist() if "question" in problems.column_names else [None] * len(problems)
    question = {name: text for name, text in zip(gold_ids(problems), asked, strict=True) if text is not None}
    ids = samples["problem_id"].to_pylist()
    strangers = sorted(set(ids) - gold.keys())
    if strangers:
        raise TablesError(
            f"{len(strangers)} problems of the samples have no gold answer, such as {', '.join(strangers[:3])}; add them to the problems "
            "(a problem_id made by this project is a hash of the question)"
        )
    if isinstance(verdicts, str):
        grader = verdicts
        judged = graders.relabel(samples["solution"].to_pylist(), [gold[name] for name in ids], grader, seconds)
    else:
        labels = joining.joined(samples, verdicts, "labels")
        grader = _one(labels, "grader", "labels")
        judged = graders.Relabelled(labels["answer"].to_pylist(), labels["correct"].to_numpy(zero_copy_only=False))
    score = None
    rows = samples
    if scores is not None:
        scores = joining.joined(samples, scores, "scores")
        joining.refuse_nan(samples, scores)
        _one(scores, "verifier", "scores")
        score = scores["score"].cast(pa.float64()).to_numpy(zero_copy_only=False)
        for name in ("token_scores", "verifier"):
            if name in scores.column_names:
                rows = _with_column(rows, name, scores[name])
    candidates = arrange(ids, samples["sample_id"].to_numpy(), graders.answer_keys(judged.answers), judged.correct, score)
    return SplitRows(rows, judged.answers, question, gold, grader, candidates, missing=missing, not_graded=judged.not_graded)


def read_workdir(
    root: pathlib.Path, splits: Sequence[str] | None = None, grader: str | None = None, allow_missing: bool = False
) -> dict[str, SplitRows]:
    """The splits of a workdir that are ready to be reported on.

    Args:
        root: a workdir, with `tables/samples/split=*` and the others beside it.
        splits: which splits; None takes those of `reported` that have samples.
        grader: judges all solutions anew; None takes the stored labels.
        allow_missing: as in `assemble`.

    Returns:
        The splits that have samples, in the order asked for; those without a scores table have no scores.

    Raises:
        StoreError: a table is missing, unfinished or damaged.
        TablesError: tables that do not belong together, such as labels or scores of other samples.
    """
    tables = places.place(root) / "tables"
    there = [split for split in (splits or reported(tables / "samples")) if (tables / "samples" / f"split={split}").is_dir()]
    if not there:
        raise TablesError(
            f"{tables / 'samples'}: no samples of the splits {', '.join(splits or SPLITS)}; run the stages up to sample first"
        )
    out = {}
    for split in there:
        problems = store.read_table(tables / "problems" / f"split={split.removesuffix(GREEDY)}", "problems", _OF_PROBLEMS)
        samples, labels, scored = (tables / table / f"split={split}" for table in ("samples", "labels", "scores"))
        if not grader:
            refuse_other_samples(labels, samples, "label")
        refuse_other_samples(scored, samples, "score")
        verdicts = grader or store.read_table(labels, "labels")
        said = {} if grader else store.read_manifest(labels) or {}
        fixed = said.get("fixed_labels", ())
        judged_by = corrections.with_answers(problems, fixed)
        rows = assemble(read_samples(samples), judged_by, verdicts, read_scores(scored) if scored.is_dir() else None, allow_missing)
        asked = 0 if split.endswith(GREEDY) else len(problems)  # a greedy split has the problems of another
        left_out = max(asked - len(rows.candidates.problem_id_P), 0)
        not_graded = said.get("not_graded", rows.not_graded)
        out[split] = dataclasses.replace(rows, left_out=left_out, not_graded=not_graded, fixed_labels=fixed)
    return out


def reported(samples: pathlib.Path) -> list[str]:
    """The splits that a report reads of a workdir's samples: those of SPLITS, then further test sets by name."""
    there = sorted(folder.name.removeprefix("split=") for folder in samples.glob("split=test_*") if folder.is_dir())
    return [*SPLITS, *(split for split in there if split not in SPLITS)]


def refuse_other_samples(folder: pathlib.Path, samples: pathlib.Path, stage: str) -> None:
    """Compares what a split of labels or scores was made from with the samples at hand, where the manifests of both tell.

    Args:
        folder: of the labels or scores; may be missing.
        samples: the split's folder of samples.
        stage: that makes `folder`.

    Raises:
        TablesError: they were made from other samples, whose ids may be the same.
    """
    made, there = store.read_manifest(folder), store.read_manifest(samples)
    source = made.get("settings", {}).get("samples") if made else None
    if source is None or not there or "parts" not in there:
        return
    if source != store.table_id(there):
        raise TablesError(
            f"{folder} was made from other samples ({source}) than those in {samples} ({store.table_id(there)}); "
            f"remove {folder} and run the stage {stage!r} again"
        )


def read_samples(path: pathlib.Path) -> pa.Table:
    """The columns of a split of stored samples that a report may need; a table without rows is an error."""
    return _filled(store.read_table(path, "samples", [*_KEY, "solution", *_SHOWN, *_FACTS]), path)


def read_scores(path: pathlib.Path) -> pa.Table:
    """A split of stored scores; a table without rows is an error."""
    return _filled(store.read_table(path, "scores", [*_KEY, "verifier", "score", "token_scores"]), path)


def _filled(table: pa.Table, path: pathlib.Path) -> pa.Table:
    if not len(table):
        raise TablesError(f"{path} is empty: expected at least one row; remove it and run the stage that makes it again")
    return table


def gold_ids(problems: pa.Table) -> list[str]:
    """The ids of a problems table; one that has two different gold answers is an error."""
    ids, answers = problems["problem_id"].to_pylist(), problems["answer"].to_pylist()
    first: dict[str, Any] = {}
    for name, answer in zip(ids, answers, strict=True):
        if first.setdefault(name, answer) != answer:
            raise TablesError(f"problem {name} has two gold answers, {first[name]!r} and {answer!r}; expected one")
    return ids


def _with_column(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    """A table with a column more, or another one in the place of its own of that name."""
    place = table.column_names.index(name) if name in table.column_names else len(table.column_names)
    kept = table.drop_columns([name]) if name in table.column_names else table
    return kept.add_column(place, name, column)


def _one(table: pa.Table, column: str, what: str) -> str:
    """The only value of a column; several are an error, none is "unknown"."""
    values = [value for value in pc.unique(table[column]).to_pylist() if value is not None] if column in table.column_names else []
    if len(values) > 1:
        raise TablesError(f"the {what} mix several values of {column!r}: {', '.join(map(str, values[:4]))}; expected those of one")
    return str(values[0]) if values else "unknown"
