"""Samples, problems and scores made elsewhere, as rows of this project's kind.

Samples have `question` or `problem_id`, `solution`, and gold `answer` (there or in the problems
file); `score`, `split` ("test" when absent) and `sample_id` (numbered within the problem in order
of the file when absent) are optional; so are the ids `generator`, `verifier` and `trained_on` of
`scored`, and `likelihood`, the logarithm in nats of what its generator gives a solution, and
`likelihood_own`, likewise without what a calculator wrote. A gold answer may be a whole worked
solution ending in "#### 18", as GSM8K's own files have it. A split in which no row has a score is
not scored.
"""

from __future__ import annotations

import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.errors import TablesError
from verifier.grading import extraction, graders
from verifier.ingest import file_formats, layouts
from verifier.ingest.pieces import Piece
from verifier.tables import columns, token_values
from verifier.tables.assembly import gold_ids
from verifier.tables.joining import ALLOW
from verifier.tables.scanning import Scan
from verifier.tables.split_rows import Kept
from verifier.text.split import TEST, Split

_IDS = ("generator", "verifier", "trained_on")
_OPTIONAL = (
    "question",
    "problem_id",
    "sample_id",
    "split",
    "answer",
    "score",
    *layouts.LIKELIHOODS,
    *_IDS,
    "token_scores",
)


class SamplesFile(NamedTuple):
    """What one samples file holds, by split.

    `problems` is None and `scores` empty where the file has none of it.
    """

    samples: dict[Split, Kept]
    problems: pa.Table | None
    scores: dict[Split, Kept]


class Reading(NamedTuple):
    """How files are read: the layout by name, and the paths of fields as `--fields` gives them."""

    layout: str = "auto"
    fields: Mapping[str, str] = types.MappingProxyType({})


AS_FOUND = Reading()


def read_samples_file(
    path: pathlib.Path, grader: str, allow_missing: bool = False, how: Reading = AS_FOUND
) -> SamplesFile:
    """Reads samples from a file, the files of a folder, or those that a pattern fits.

    Args:
        path: of the file.
        grader: finds the answers of the solutions, where it needs no right answers for that.
        allow_missing: a score that is empty becomes NaN, which `assembly.assemble` leaves out and
            counts.
        how: to read it.

    Raises:
        StoreError: a file cannot be read.
        TablesError: a field that is needed is missing or empty in some row; file and row are named.
    """
    scan = file_formats.scan(path, how.layout, how.fields)
    optional = [name for name in _OPTIONAL if name in scan.names]

    def make(table: pa.Table, first: int) -> pa.Table:
        return _sample_columns(Piece(table, first, scan), grader, optional)

    whole = _numbered(columns.gather(scan, [*optional, "solution"], make), scan)
    names = whole.column_names
    of_scores = ["score", "verifier", "trained_on", *token_values.names(names)]
    of_samples = [name for name in names if name not in ("question", "gold", *of_scores)]
    return SamplesFile(
        samples=_parted(whole.select(of_samples), scan),
        problems=_problems(whole, "gold") if "gold" in names else None,
        scores=_scores_of(whole, of_scores, scan, allow_missing) if "score" in names else {},
    )


def _sample_columns(piece: Piece, grader: str, optional: Sequence[str]) -> pa.Table:
    """What is kept of a piece of a samples file, of the `optional` fields those that it has."""
    solution = piece.filled("solution")
    made: dict[str, Any] = {"problem_id": piece.problem_ids()}
    if grader in graders.BY_ENDING:
        made["answer"] = extraction.answers(solution.combine_chunks(), grader)
    if "split" in optional:
        made["split"] = piece.filled("split").dictionary_encode()
    made |= {name: piece.texts(name) for name in ("question", *_IDS) if name in optional}
    if "sample_id" in optional:
        made["sample_id"] = piece.sample_ids()
    if "score" in optional:
        made |= {"score": piece.numbers("score"), **piece.values()}
    for name in layouts.LIKELIHOODS:
        made |= {name: piece.numbers(name)} if name in optional else {}
    if "answer" in optional:
        made["gold"] = piece.gold_answers()
    return pa.table(made)


def _scores_of(
    whole: pa.Table, of_scores: Sequence[str], scan: Scan, allow_missing: bool
) -> dict[Split, Kept]:
    """The scores of each split in which a row has one."""
    wanted = ("problem_id", "sample_id", "split", "row", *of_scores)
    kept = _parted(whole.select([name for name in whole.column_names if name in wanted]), scan)
    return {
        split: Kept(_scored(part.columns, scan, allow_missing), scan)
        for split, part in kept.items()
        if part.columns["score"].null_count < len(part.columns)
    }


def read_problems_file(path: pathlib.Path, how: Reading = AS_FOUND) -> pa.Table:
    """Reads problems, from the same kinds of path: `question` or `problem_id`, gold `answer`.

    Raises:
        StoreError: the file cannot be read.
        TablesError: as `read_samples_file`, or a problem with two different answers.
    """
    scan = file_formats.scan(path, "auto", how.fields, needed=("answer",))

    def make(table: pa.Table, first: int) -> pa.Table:
        piece = Piece(table, first, scan)
        made = {"problem_id": piece.problem_ids(), "answer": piece.gold_answers()}
        if "question" in scan.names:
            made["question"] = piece.texts("question")
        return pa.table(made)

    wanted = [name for name in ("question", "problem_id", "answer") if name in scan.names]
    return _problems(columns.gather(scan, wanted, make), "answer")


def read_scores_file(
    path: pathlib.Path, allow_missing: bool = False, how: Reading = AS_FOUND
) -> Mapping[Split | None, Kept]:
    """Reads scores, from the same kinds of path.

    The rows have `question` or `problem_id`, `sample_id` and `score`; more where known.

    Returns:
        The scores by split; under None where the file knows no splits.
    """
    scan = file_formats.scan(path, "auto", how.fields, needed=("sample_id", "score"))

    def make(table: pa.Table, first: int) -> pa.Table:
        piece = Piece(table, first, scan)
        made: dict[str, Any] = {
            "sample_id": piece.sample_ids(),
            "score": piece.numbers("score"),
            "problem_id": piece.problem_ids(),
        }
        made |= {name: piece.texts(name) for name in ("split", "verifier") if name in scan.names}
        return pa.table(made | piece.values())

    wanted = ("question", "problem_id", "sample_id", "score", "split", "verifier", "token_scores")
    whole = columns.gather(scan, [name for name in wanted if name in scan.names], make)
    whole = _scored(whole, scan, allow_missing)
    if "split" not in scan.names:
        return {None: Kept(whole, scan)}
    return dict(_parted(whole, scan).items())


def _parted(whole: pa.Table, scan: Scan) -> dict[Split, Kept]:
    """The rows of each split, all of them `test` where there is no such column."""
    if "split" not in whole.column_names:
        return {TEST: Kept(whole, scan)}
    splits, rest = whole["split"], whole.drop_columns(["split"])
    return {
        Split.named(name): Kept(rest.filter(pc.equal(splits, name)).combine_chunks(), scan)
        for name in pc.unique(splits).to_pylist()
    }


def _problems(whole: pa.Table, answer: str) -> pa.Table:
    """One row a problem: id, question where known, gold answer."""
    problem, gold = extraction.codes(whole["problem_id"])[0], extraction.codes(whole[answer])[0]
    every = np.sort(np.unique(problem * (gold.max() + 1) + gold, return_index=True)[1])
    named = whole.select(
        ["problem_id", answer, *(["question"] if "question" in whole.column_names else [])]
    )
    gold_ids(named.rename_columns({answer: "answer"}).take(every))  # refuses two different answers
    first = np.sort(np.unique(problem, return_index=True)[1])
    texts = named.rename_columns({answer: "answer"}).take(first)
    return pa.table({name: texts[name].cast(pa.string()) for name in texts.column_names})


def _numbered(whole: pa.Table, scan: Scan) -> pa.Table:
    """The rows with sample ids: the file's own, or numbers within split and problem in its order.

    An id of the file's own may not be there twice.
    """
    problem = extraction.codes(whole["problem_id"])[0]
    if "split" in whole.column_names:
        split, names = extraction.codes(whole["split"])
    else:
        split, names = np.zeros_like(problem), ["test"]
    owner = split * (problem.max() + 1) + problem
    if "sample_id" not in whole.column_names:
        order = np.argsort(owner, kind="stable")
        count = np.bincount(owner)
        number = np.empty(len(owner), np.int32)
        number[order] = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        return whole.append_column("sample_id", pa.array(number))
    key = (owner << 32) + whole["sample_id"].to_numpy().astype(np.int64)
    if np.all(np.diff(key) > 0):
        return whole
    order = np.argsort(key, kind="stable")
    again = np.nonzero(np.diff(key[order]) == 0)[0] + 1
    if len(again):
        row = int(order[again].min())
        first = int(np.nonzero(key == key[row])[0][0])
        problem_id, sample_id = (whole[name][row].as_py() for name in ("problem_id", "sample_id"))
        where = " and in row ".join(scan.named(np.array([each])) for each in (first, row))
        raise TablesError(
            f"{scan.path}: problem {problem_id}, sample {sample_id} of {names[split[row]]} is "
            f"in row {where}"
        )
    return whole


def _scored(rows: pa.Table, scan: Scan, allow_missing: bool) -> pa.Table:
    """Rows whose scores are all there and finite, or NaN or infinite where that is allowed."""
    score = rows["score"]
    if not allow_missing:
        faults = (
            (pc.is_null(score), "missing", "value"),
            (pc.is_nan(score), "NaN", "number"),
            (pc.is_inf(score), "inf", "finite number"),
        )
        for lacking, what, expected in faults:
            bad = rows["row"].filter(lacking).to_numpy()
            if len(bad):
                where = scan.named(bad) + (f" of {scan.rows:,}" if what == "missing" else "")
                raise TablesError(
                    f"{scan.path}: field `score` is {what} in row {where}; expected a "
                    f"{expected} in every row; {ALLOW}"
                )
    index = rows.column_names.index("score")
    return rows.set_column(index, "score", pc.fill_null(score, float("nan")))
