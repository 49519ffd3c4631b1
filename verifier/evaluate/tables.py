"""Stored tables put together by split: samples with their problem, verdict and score. Knows columns and files; draws no conclusion.

Of every sample a few numbers are kept; its texts and token values stay on disk until they are asked for (`SplitRows.cells`).
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.config import UserError
from verifier.data import store
from verifier.data.scanning import Scan, scan_table
from verifier.evaluate import columns, graders
from verifier.evaluate.candidates import Candidates, arrange_coded
from verifier.evaluate.columns import ROW

SPLITS = ("heldout", "test", "test_greedy")  # what a report reads of a workdir; training samples serve training
_KEY = ("problem_id", "sample_id")
_FACTS = ("generator",)


class TablesError(UserError):
    """Tables that do not belong together; the message names the table and the rows."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is kept of a table in memory, and where the rest of it is.

    Attributes:
        columns: `problem_id`, `sample_id`, `row` (its number in the scan), and of samples `answer` where a grader has read them, of labels
            `answer`, `correct` and `grader`, of scores `score`; `generator` and `verifier` where known. Text may be dictionaries.
        scan: all columns of the table.
    """

    columns: pa.Table
    scan: Scan


@dataclasses.dataclass(frozen=True)
class SplitRows:
    """One split, row by row, and the same as `Candidates`.

    Attributes:
        rows: the samples' `columns`, with `score_row` where there are scores.
        answer: extracted answer of every row, as a dictionary.
        question: text of every problem; may lack some.
        gold: right answer of every problem.
        grader: who gave the verdicts.
        candidates: the rows ranked; `row_PJ` leads back to `rows`.
        texts: the samples' scan.
        values: the scores' scan; None: not scored.
        left_out: problems of the split that have no samples and so are not counted.
    """

    rows: pa.Table
    answer: pa.DictionaryArray
    question: Mapping[str, str]
    gold: Mapping[str, str]
    grader: str
    candidates: Candidates
    texts: Scan
    values: Scan | None = None
    left_out: int = 0

    def facts(self, column: str) -> list[str]:
        """The distinct values of a column, such as the generators; empty where there is no such column."""
        values = pc.unique(self.rows[column]).to_pylist() if column in self.rows.column_names else []
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
        apart = self.values if self.values is not self.texts else None  # one file may hold samples and scores
        for scan, number in ((self.texts, ROW), (apart, "score_row")):
            there = [name for name in names if scan is not None and name in scan.names]
            if scan is not None and there and len(rows):
                read = scan.take(self.rows[number].to_numpy()[rows], there)
                found |= {name: read[name].to_pylist() for name in there}
        return found

    def row_groups(self) -> tuple[np.ndarray, np.ndarray]:
        """The row group that each row's texts lie in, and how many rows are decoded to read any of a group's."""
        return self.texts.groups_of(self.rows[ROW].to_numpy())


def assemble(samples: Kept, problems: pa.Table, verdicts: Kept | str, scores: Kept | None) -> SplitRows:
    """Joins the tables of one split.

    Args:
        samples: one row a sample.
        problems: at least the samples' ones: `problem_id`, `answer`, and `question` where known.
        verdicts: the labels, one row a sample at least, or the name of the grader that found the samples' `answer`.
        scores: one row a sample at least; None: not scored.

    Raises:
        TablesError: a sample lacks its problem, verdict or score, or several graders or verifiers are mixed.
        CandidatesError: no rows, a sample twice, or scores that are NaN.
    """
    gold = dict(zip(problems["problem_id"].to_pylist(), problems["answer"].to_pylist(), strict=True))
    asked = problems["question"].to_pylist() if "question" in problems.column_names else [None] * len(problems)
    question = {name: text for name, text in zip(gold_ids(problems), asked, strict=True) if text is not None}
    rows = samples.columns
    problem, ids = columns.codes(rows["problem_id"])
    strangers = sorted({str(name) for name in ids} - gold.keys())
    if strangers:
        raise TablesError(
            f"{len(strangers)} problems of the samples have no gold answer, such as {', '.join(strangers[:3])}; add them to the problems "
            "(a problem_id made by this project is a hash of the question)"
        )
    if isinstance(verdicts, str):
        grader, answer = verdicts, rows["answer"]
        correct = graders.judge(*columns.codes(answer), problem, [gold[str(name)] for name in ids], grader)
    else:
        labels = verdicts.columns.take(_places(rows, verdicts.columns, "labels"))
        grader, answer = _one(labels, "grader", "labels"), labels["answer"]
        correct = labels["correct"].to_numpy(zero_copy_only=False)
    score = None
    if scores is not None:
        joined = scores.columns.take(_places(rows, scores.columns, "scores"))
        _one(joined, "verifier", "scores")
        score = joined["score"].cast(pa.float64()).to_numpy(zero_copy_only=False)
        rows = _with_column(rows, "score_row", joined[ROW])
    code, texts = columns.codes(answer)
    key = np.append(graders.answer_keys(texts), -1)[code]  # of -1, no answer: the last
    candidates = arrange_coded(ids, problem, rows["sample_id"].to_numpy(), key, correct, score)
    read = answer.combine_chunks() if pa.types.is_dictionary(answer.type) else answer.combine_chunks().dictionary_encode()
    return SplitRows(rows, read, question, gold, grader, candidates, samples.scan, scores.scan if scores else None)


def read_workdir(root: pathlib.Path, splits: Sequence[str] | None = None, grader: str | None = None) -> dict[str, SplitRows]:
    """The splits of a workdir that are ready to be reported on.

    Args:
        root: a workdir, with `tables/samples/split=*` and the others beside it.
        splits: which splits; None takes those of SPLITS that have samples.
        grader: judges all solutions anew; None takes the stored labels.

    Returns:
        The splits that have samples, in the order asked for; those without a scores table have no scores.

    Raises:
        StoreError: a table is missing, unfinished or damaged.
        TablesError: tables that do not belong together, such as labels or scores of other samples.
    """
    tables = pathlib.Path(root) / "tables"
    there = [split for split in (splits or SPLITS) if (tables / "samples" / f"split={split}").is_dir()]
    if not there:
        raise TablesError(
            f"{tables / 'samples'}: no samples of the splits {', '.join(splits or SPLITS)}; run the stages up to sample first"
        )
    problems = store.read_table(tables / "problems", "problems", ["problem_id", "question", "answer", "split"])
    out = {}
    for split in there:
        samples, labels, scored = (tables / table / f"split={split}" for table in ("samples", "labels", "scores"))
        if not grader:
            refuse_other_samples(labels, samples, "label")
        refuse_other_samples(scored, samples, "score")
        verdicts = grader or read_labels(labels)
        rows = assemble(read_samples(samples, grader), problems, verdicts, read_scores(scored) if scored.is_dir() else None)
        asked = pc.sum(pc.equal(problems["split"], split)).as_py()  # 0 of a greedy split, which has the problems of another
        out[split] = dataclasses.replace(rows, left_out=max(asked - len(rows.candidates.problem_id_P), 0))
    return out


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


def read_samples(path: pathlib.Path, grader: str | None = None) -> Kept:
    """A split of stored samples, read piece by piece; with their answers where a grader is named."""
    return keep_samples(_scan(path, "samples"), grader)


def keep_samples(scan: Scan, grader: str | None = None) -> Kept:
    """What a report needs of samples, wherever they lie."""
    if grader:
        graders.check_grader(grader)
    return Kept(columns.keep(scan, [*_KEY, *(name for name in _FACTS if name in scan.names)], grader), scan)


def read_labels(path: pathlib.Path) -> Kept:
    """A split of stored labels."""
    scan = _scan(path, "labels")
    return Kept(columns.keep(scan, [*_KEY, "answer", "correct", "grader"]), scan)


def read_scores(path: pathlib.Path) -> Kept:
    """A split of stored scores."""
    return keep_scores(_scan(path, "scores"))


def keep_scores(scan: Scan) -> Kept:
    """What a report needs of scores, wherever they lie."""
    return Kept(columns.keep(scan, [*_KEY, "score", *(["verifier"] if "verifier" in scan.names else [])]), scan)


def _scan(path: pathlib.Path, table: str) -> Scan:
    scan = scan_table(path, table)
    if not scan.rows:
        raise TablesError(f"{path} is empty: expected at least one row; remove it and run the stage that makes it again")
    return scan


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


def _places(samples: pa.Table, other: pa.Table, what: str) -> np.ndarray:
    """Row of `other` that belongs to each sample."""
    (wanted, ids), (given, others) = columns.codes(samples["problem_id"]), columns.codes(other["problem_id"])
    known = {name: number for number, name in enumerate(ids)}
    numbers = np.array([known.get(name, len(ids) + place) for place, name in enumerate(others)], np.int64)
    wanted = (wanted << 32) + samples["sample_id"].to_numpy().astype(np.int64)
    given = (numbers[given] << 32) + other["sample_id"].to_numpy().astype(np.int64)
    if len(wanted) == len(given) and np.array_equal(wanted, given):  # as one run writes them; a sample twice is seen by the candidates
        return np.arange(len(wanted))
    order = np.argsort(given, kind="stable")
    place = np.searchsorted(given[order], wanted)
    place = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(wanted), np.int64)
    lost = np.nonzero(given[place] != wanted)[0] if len(order) else np.arange(len(wanted))
    if len(lost):
        row = int(lost[0])
        raise TablesError(
            f"{len(lost):,} of {len(wanted):,} samples have no row in the {what}, such as problem {samples['problem_id'][row]}, "
            f"sample {samples['sample_id'][row]}; make the {what} of these samples, or leave the {what} out"
        )
    twice = np.nonzero(np.diff(given[order]) == 0)[0]
    if len(twice):
        row = int(order[twice[0]])
        raise TablesError(f"the {what} hold problem {other['problem_id'][row]}, sample {other['sample_id'][row]} twice; expected once")
    return place
