"""Samples, problems and scores made elsewhere, as rows of this project's kind.

Knows the fields of `layouts`; judges nothing.

Samples have `question` or `problem_id`, `solution`, and gold `answer` (there or in the problems
file); `score`, `split` ("test" when absent) and `sample_id` (numbered within the problem in order
of the file when absent) are optional; so are the ids `generator`, `verifier` and `trained_on` of
`scored`. A gold answer may be a whole worked solution ending in "#### 18", as GSM8K's own files
have it. A split in which no row has a score is not scored.
"""

from __future__ import annotations

import pathlib
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.errors import TablesError
from verifier.grading import extraction, graders
from verifier.grading.answer import answer_line
from verifier.ingest import file_formats
from verifier.tables import columns, token_values
from verifier.tables.assembly import gold_ids
from verifier.tables.joining import ALLOW
from verifier.tables.scanning import Scan
from verifier.tables.split_rows import Kept
from verifier.text.problem import problem_id

_IDS = ("generator", "verifier", "trained_on")
_OPTIONAL = (
    "question",
    "problem_id",
    "sample_id",
    "split",
    "answer",
    "score",
    *_IDS,
    "token_scores",
)


class Foreign(NamedTuple):
    """What one samples file holds, by split.

    `problems` is None and `scores` empty where the file has none of it.
    """

    samples: dict[str, Kept]
    problems: pa.Table | None
    scores: dict[str, Kept]


class _Piece(NamedTuple):
    """Some rows of a file, and where they stand in it."""

    table: pa.Table
    first: int
    scan: Scan


class Reading(NamedTuple):
    """How files are read: the layout by name, and the paths of fields as `--fields` gives them."""

    layout: str = "auto"
    fields: Mapping[str, str] = types.MappingProxyType({})


AS_FOUND = Reading()


def read_samples_file(
    path: pathlib.Path, grader: str, allow_missing: bool = False, how: Reading = AS_FOUND
) -> Foreign:
    """Reads samples from a file, the files of a folder, or those that a pattern fits.

    Args:
        path: of the file.
        grader: finds the answers of the solutions, where it needs no right answers for that.
        allow_missing: a score that is empty becomes NaN, which `tables.assemble` counts and leaves
            out.
        how: to read it.

    Raises:
        StoreError: a file cannot be read.
        TablesError: a field that is needed is missing or empty in some row; file and row are named.
    """
    scan = file_formats.scan(path, how.layout, how.fields)
    optional = [name for name in _OPTIONAL if name in scan.names]

    def make(table: pa.Table, first: int) -> pa.Table:
        piece = _Piece(table, first, scan)
        solution = _there(piece, "solution")
        made: dict[str, Any] = {"problem_id": _ids(piece)}
        made |= (
            {"answer": extraction.answers(solution.combine_chunks(), grader)}
            if grader in graders.BY_ENDING
            else {}
        )
        made |= {
            name: _questions(piece)
            if name == "question"
            else _there(piece, name).dictionary_encode()
            for name in ("split", "question")
            if name in optional
        }
        made |= {
            name: table[name].cast(pa.string()).dictionary_encode()
            for name in _IDS
            if name in optional
        }
        made |= {"sample_id": _given_ids(piece)} if "sample_id" in optional else {}
        made |= {"score": _read_numbers(piece, "score")} if "score" in optional else {}
        made |= _values(piece) if "score" in optional else {}
        made |= {"gold": _mapped(_there(piece, "answer"), _final)} if "answer" in optional else {}
        return pa.table(made)

    whole = _numbered(columns.gather(scan, [*optional, "solution"], make), scan)
    problems = _problems(whole, "gold") if "gold" in whole.column_names else None
    of_scores = ["score", "verifier", "trained_on", *token_values.names(whole.column_names)]
    samples = _parted(
        whole.select(
            [name for name in whole.column_names if name not in ("question", "gold", *of_scores)]
        ),
        scan,
    )
    scores = {}
    if "score" in whole.column_names:
        kept = whole.select(
            [
                name
                for name in whole.column_names
                if name in ("problem_id", "sample_id", "split", "row", *of_scores)
            ]
        )
        scores = {
            name: part
            for name, part in _parted(kept, scan).items()
            if part.columns["score"].null_count < len(part.columns)
        }
        scores = {
            name: Kept(_scored(part.columns, scan, allow_missing), scan)
            for name, part in scores.items()
        }
    return Foreign(samples, problems, scores)


def read_problems_file(path: pathlib.Path, how: Reading = AS_FOUND) -> pa.Table:
    """Reads problems, from the same kinds of path: `question` or `problem_id`, gold `answer`.

    Raises:
        StoreError: the file cannot be read.
        TablesError: as `read_samples_file`, or a problem with two different answers.
    """
    scan = file_formats.scan(path, "auto", how.fields, needed=("answer",))

    def make(table: pa.Table, first: int) -> pa.Table:
        piece = _Piece(table, first, scan)
        made = {"problem_id": _ids(piece), "answer": _mapped(_there(piece, "answer"), _final)}
        return pa.table(
            made | ({"question": _questions(piece)} if "question" in scan.names else {})
        )

    wanted = [name for name in ("question", "problem_id", "answer") if name in scan.names]
    return _problems(columns.gather(scan, wanted, make), "answer")


def read_scores_file(
    path: pathlib.Path, allow_missing: bool = False, how: Reading = AS_FOUND
) -> dict[str, Kept]:
    """Reads scores, from the same kinds of path: `question` or `problem_id`, `sample_id`, `score`;
    more where known.

    Returns:
        The scores by split; under "" where the file knows no splits.
    """
    scan = file_formats.scan(path, "auto", how.fields, needed=("sample_id", "score"))

    def make(table: pa.Table, first: int) -> pa.Table:
        piece = _Piece(table, first, scan)
        made: dict[str, Any] = {
            "sample_id": _given_ids(piece),
            "score": _read_numbers(piece, "score"),
            "problem_id": _ids(piece),
        }
        made |= {
            name: table[name].cast(pa.string()).dictionary_encode()
            for name in ("split", "verifier")
            if name in scan.names
        }
        return pa.table(made | _values(piece))

    wanted = ("question", "problem_id", "sample_id", "score", "split", "verifier", "token_scores")
    whole = columns.gather(scan, [name for name in wanted if name in scan.names], make)
    whole = _scored(whole, scan, allow_missing)
    return _parted(whole, scan) if "split" in scan.names else {"": Kept(whole, scan)}


def _parted(whole: pa.Table, scan: Scan) -> dict[str, Kept]:
    """The rows of each split, all of them "test" where there is no such column."""
    if "split" not in whole.column_names:
        return {"test": Kept(whole, scan)}
    splits, rest = whole["split"], whole.drop_columns(["split"])
    return {
        name: Kept(rest.filter(pc.equal(splits, name)).combine_chunks(), scan)
        for name in pc.unique(splits).to_pylist()
    }


def _ids(piece: _Piece) -> pa.ChunkedArray:
    if "problem_id" in piece.scan.names:
        return _there(piece, "problem_id").dictionary_encode()
    return _mapped(_there(piece, "question"), problem_id)


def _questions(piece: _Piece) -> pa.ChunkedArray:
    """The questions, some of which may be empty where there are ids."""
    return piece.table["question"].cast(pa.string()).dictionary_encode()


def _mapped(column: pa.ChunkedArray, change: Callable[[str], str]) -> pa.Array:
    """What `change` makes of every text, which is asked once for each different one."""
    code, texts = extraction.codes(column)
    return (
        pa.array([change(str(text)) for text in texts], pa.string())
        .take(pa.array(code))
        .dictionary_encode()
    )


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


def _final(answer: str) -> str:
    """The part of a gold answer that a grader is to read: a worked solution's last line, or all of
    it.
    """
    return answer_line(answer) or answer.strip()


def _numbered(whole: pa.Table, scan: Scan) -> pa.Table:
    """The rows with sample ids: the file's own, none of which may be there twice, or numbers within
    split and problem in its order.
    """
    problem = extraction.codes(whole["problem_id"])[0]
    split, names = (
        extraction.codes(whole["split"])
        if "split" in whole.column_names
        else (np.zeros_like(problem), ["test"])
    )
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
        where = " and in row ".join(scan.named(np.array([place])) for place in (first, row))
        raise TablesError(
            f"{scan.path}: problem {problem_id}, sample {sample_id} of {names[split[row]]} is "
            f"in row {where}"
        )
    return whole


def _given_ids(piece: _Piece) -> np.ndarray:
    """The file's own sample ids, as int32."""
    given = _numbers(piece, "sample_id")
    most = np.iinfo(np.int32).max
    bad = np.nonzero((given < 0) | (given > most) | (given != np.floor(given)))[0]
    if len(bad):
        value = piece.table["sample_id"][int(bad[0])].as_py()
        where = f"{_rows(bad, piece)}; expected a whole number from 0 to {most:,}"
        raise TablesError(f"{piece.scan.path}: field `sample_id` is {value} in row {where}")
    return given.astype(np.int32)


def _values(piece: _Piece) -> dict[str, pa.Array]:
    """What is kept of the values of tokens, where the file has them."""
    if "token_scores" not in piece.scan.names:
        return {}
    column = piece.table["token_scores"]
    try:
        return token_values.summarised(column)
    except (pa.ArrowException, AttributeError) as error:
        raise TablesError(
            f"{piece.scan.path}: field `token_scores` is {column.type}; expected lists of numbers"
        ) from error


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
            found = rows["row"].filter(lacking).to_numpy()
            if len(found):
                where = scan.named(found) + (f" of {scan.rows:,}" if what == "missing" else "")
                raise TablesError(
                    f"{scan.path}: field `score` is {what} in row {where}; expected a "
                    f"{expected} in every row; {ALLOW}"
                )
    place = rows.column_names.index("score")
    return rows.set_column(place, "score", pc.fill_null(score, float("nan")))


def _read_numbers(piece: _Piece, name: str) -> pa.ChunkedArray:
    """A column as float64, empty cells left empty."""
    column = piece.table[name]
    try:
        return column.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise TablesError(
            f"{piece.scan.path}: field `{name}` is {column.type}; expected numbers ({reason})"
        ) from error


def _numbers(piece: _Piece, name: str) -> np.ndarray:
    """A column as float64 without empty cells and without NaN."""
    _there(piece, name)
    path = piece.scan.path
    numbers = _read_numbers(piece, name).to_numpy(zero_copy_only=False)
    bad = np.nonzero(np.isnan(numbers))[0]
    if len(bad):
        raise TablesError(
            f"{path}: field `{name}` is NaN in row {_rows(bad, piece)}; expected a number in "
            "every row"
        )
    return numbers


def _there(piece: _Piece, name: str) -> pa.ChunkedArray:
    """A column without empty cells."""
    path, scan = piece.scan.path, piece.scan
    empty = np.nonzero(pc.is_null(piece.table[name]).to_numpy(zero_copy_only=False))[0]
    if len(empty):
        raise TablesError(
            f"{path}: field `{name}` is missing in row {_rows(empty, piece)} of {scan.rows:,}; "
            "expected a value in every row"
        )
    return piece.table[name]


def _rows(places: np.ndarray, piece: _Piece) -> str:
    """Rows of a piece as people count them."""
    return piece.scan.named(places + piece.first)
