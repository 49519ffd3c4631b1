"""Samples, problems and scores made elsewhere, as rows of this project's kind. Knows files and field names; judges nothing.

A samples file has `question` or `problem_id`, `solution`, and gold `answer` (there or in the problems file); `score` (in every row of a
split, or in none of it), `split` ("test" when absent) and `sample_id` (numbered within the problem in order of the file when absent) are
optional. A gold answer may be a whole worked solution ending in "#### 18", as GSM8K's own files have it.
"""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.data import store
from verifier.evaluate.joining import ALLOW
from verifier.evaluate.tables import TablesError, gold_ids
from verifier.text.problem import problem_id

_KEPT = ("tokens", "forced", "token_scores", "generator")  # of this project's own tables
_ID_WAY_OUT = "give the problem's `question`, or its `problem_id` as other tables have it"


class Foreign(NamedTuple):
    """What one samples file holds; `split` is a column of `samples`. `problems` and `scores` are None where the file has none of it."""

    samples: pa.Table
    problems: pa.Table | None
    scores: pa.Table | None


def read_samples_file(path: pathlib.Path, allow_missing: bool = False) -> Foreign:
    """Reads one Parquet or JSONL file of samples.

    Args:
        path: of the file.
        allow_missing: a score that is empty becomes NaN, which `tables.assemble` counts and leaves out.

    Raises:
        StoreError: the file cannot be read.
        TablesError: a field that is needed is missing or empty in some row; file and row are named.
    """
    table = _whole(path)
    ids = _ids(table, path)
    split = _texts(table, path, "split") if "split" in table.column_names else ["test"] * len(table)
    columns: dict[str, Any] = {
        "problem_id": ids,
        "sample_id": _sample_ids(table, path, ids, split),
        "solution": _texts(table, path, "solution"),
        "split": split,
    }
    samples = pa.table(columns)
    for name in _KEPT:
        if name in table.column_names and not table[name].null_count:
            samples = samples.append_column(name, table[name])
    problems = _problems(table, path, ids) if "answer" in table.column_names else None
    scores = None
    if "score" in table.column_names:
        scores = _scores_by_split(table, path, samples, allow_missing)
    return Foreign(samples, problems, scores)


def read_problems_file(path: pathlib.Path) -> pa.Table:
    """Reads one file of problems: `question` or `problem_id`, gold `answer`.

    Raises:
        StoreError: the file cannot be read.
        TablesError: as `read_samples_file`, or a problem with two different answers.
    """
    table = _whole(path)
    return _problems(table, path, _ids(table, path))


def read_scores_file(path: pathlib.Path, allow_missing: bool = False) -> pa.Table:
    """Reads one file of scores: `question` or `problem_id`, `sample_id`, `score`; `split`, `verifier`, `token_scores` where known."""
    table = _whole(path)
    needed = {"sample_id": _given_ids(table, path), "score": _scores(table, path, allow_missing)}
    scores = pa.table({"problem_id": _ids(table, path), **needed})
    for name in ("split", "verifier", "token_scores"):
        if name in table.column_names:
            scores = scores.append_column(name, table[name])
    return scores


def _whole(path: pathlib.Path) -> pa.Table:
    if not path.is_file():
        raise TablesError(f"{path}: there is no such file; expected a workdir, a table folder, or one Parquet or JSONL file")
    table = store.read_foreign(path)
    if not len(table):
        raise TablesError(f"{path} is empty: expected at least one row")
    return table


def _ids(table: pa.Table, path: pathlib.Path) -> list[str]:
    if "problem_id" in table.column_names:
        return _texts(table, path, "problem_id")
    if "question" not in table.column_names:
        raise TablesError(f"{path}: no field `question` or `problem_id`; it has {', '.join(table.column_names)}: {_ID_WAY_OUT}")
    questions = _texts(table, path, "question")
    known = {question: problem_id(question) for question in set(questions)}
    return [known[question] for question in questions]


def _problems(table: pa.Table, path: pathlib.Path, ids: list[str]) -> pa.Table:
    """One row a problem: id, question where known, gold answer."""
    answers = [_final(answer) for answer in _texts(table, path, "answer")]
    columns = {"problem_id": ids, "answer": answers}
    if "question" in table.column_names:
        columns["question"] = table["question"].cast(pa.string()).to_pylist()
    problems = pa.table(columns)
    gold_ids(problems)  # refuses two different answers
    first = np.sort(np.unique(np.asarray(ids, dtype=object).astype(str), return_index=True)[1])
    return problems.take(first)


def _final(answer: str) -> str:
    return answer.rpartition("####")[2].strip()


def _sample_ids(table: pa.Table, path: pathlib.Path, ids: list[str], split: list[str]) -> np.ndarray:
    if "sample_id" in table.column_names:
        given = _given_ids(table, path)
        first: dict[tuple[str, str, int], int] = {}
        for row, key in enumerate(zip(split, ids, given.tolist(), strict=True)):
            if first.setdefault(key, row) != row:
                raise TablesError(f"{path}: problem {key[1]}, sample {key[2]} of {key[0]} is in row {first[key] + 1} and in row {row + 1}")
        return given
    seen: dict[tuple[str, str], int] = {}
    numbers = np.zeros(len(ids), np.int32)
    for row, owner in enumerate(zip(split, ids, strict=True)):
        numbers[row] = seen[owner] = seen.get(owner, -1) + 1
    return numbers


def _given_ids(table: pa.Table, path: pathlib.Path) -> np.ndarray:
    """The file's own sample ids, as int32."""
    given = _numbers(table, path, "sample_id")
    most = np.iinfo(np.int32).max
    bad = np.nonzero((given < 0) | (given > most) | (given != np.floor(given)))[0]
    if len(bad):
        value = table["sample_id"][int(bad[0])].as_py()
        raise TablesError(f"{path}: field `sample_id` is {value} in row {_rows(bad)}; expected a whole number from 0 to {most:,}")
    return given.astype(np.int32)


def _texts(table: pa.Table, path: pathlib.Path, name: str) -> list[str]:
    """A column as text; numbers (answers, ids) become text, empty cells are an error."""
    column = _there(table, path, name)
    if pa.types.is_floating(column.type):  # pandas turns whole numbers into floats; 18.0 is to read 18
        return [f"{value:.15g}" for value in column.to_pylist()]
    try:
        return column.cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TablesError(f"{path}: field `{name}` is {column.type}; expected text") from error


def _scores(table: pa.Table, path: pathlib.Path, allow_missing: bool) -> np.ndarray:
    """Scores as float64; those that are empty or NaN are refused, or NaN."""
    if allow_missing and "score" in table.column_names:
        column = table["score"]
        there = pc.is_valid(column).to_numpy(zero_copy_only=False)
        if pa.types.is_floating(column.type):
            there &= ~np.isnan(column.to_numpy())
        out = np.full(len(table), np.nan)
        out[there] = _numbers(table.filter(pa.array(there)), path, "score")
        return out
    return _numbers(table, path, "score", way_out=f"; {ALLOW}")


def _numbers(table: pa.Table, path: pathlib.Path, name: str, way_out: str = "") -> np.ndarray:
    """A column as float64 without empty cells and without NaN."""
    column = _there(table, path, name, way_out)
    try:
        numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TablesError(f"{path}: field `{name}` is {column.type}; expected numbers ({str(error).splitlines()[0]})") from error
    bad = np.nonzero(np.isnan(numbers))[0]
    if len(bad):
        raise TablesError(f"{path}: field `{name}` is NaN in row {_rows(bad)}; expected a number in every row{way_out}")
    return numbers


def _scores_by_split(table: pa.Table, path: pathlib.Path, samples: pa.Table, allow_missing: bool) -> pa.Table | None:
    """The scores of the splits that have any, with the values of their tokens where all rows have them; None: there are none."""
    known = table["score"].drop_null()
    if not len(known):
        return None
    split = samples["split"]
    scored = pc.is_in(split, pc.unique(split.filter(pc.is_valid(table["score"]))))
    filled = pc.if_else(scored, table["score"], known[0])  # whole, so that a row that lacks its score has its number in the message
    numbers = _scores(pa.table({"score": filled}), path, allow_missing)
    scores = samples.select(["problem_id", "sample_id", "split"]).append_column("score", pa.array(numbers)).filter(scored)
    values = table["token_scores"].filter(scored) if "token_scores" in table.column_names else None
    return scores if values is None or values.null_count else scores.append_column("token_scores", values)


def _there(table: pa.Table, path: pathlib.Path, name: str, way_out: str = "") -> pa.ChunkedArray:
    if name not in table.column_names:
        raise TablesError(f"{path}, row 1: no field `{name}`; it has {', '.join(table.column_names)}")
    empty = np.nonzero(pc.is_null(table[name]).to_numpy(zero_copy_only=False))[0]
    if len(empty):
        where = f"in row {_rows(empty)} of {len(table):,}"
        raise TablesError(f"{path}: field `{name}` is missing {where}; expected a value in every row{way_out}")
    return table[name]


def _rows(places: np.ndarray) -> str:
    """Rows as people count them, the first few: "3, 8, 9 and 12 more"."""
    named = ", ".join(str(place + 1) for place in places[:3])
    return named + (f" and {len(places) - 3:,} more" if len(places) > 3 else "")
