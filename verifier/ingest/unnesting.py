"""Rows of other people's files, as objects, put into columns with one solution a row."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from verifier.errors import TablesError
from verifier.ingest import layouts
from verifier.ingest.recognition import Chosen
from verifier.tables import plain_text
from verifier.tables.plain_text import NotText
from verifier.tables.scanning import Part, View

_NOTHING = object()


def unnested(
    path: pathlib.Path, rows: Iterable[Mapping[str, Any]], chosen: Chosen, later: Mapping[str, str]
) -> tuple[Part, Chosen]:
    """A file's rows, held in memory, one a solution.

    A score that is a list is taken for the values of the solution's steps: the last is the score,
    all are `token_scores`.

    Args:
        path: of the file, for messages.
        rows: its objects.
        chosen: where the fields are.
        later: further fields and where they would be, of which the rows that were looked at have
            none.

    Raises:
        TablesError: a cell that is no text or number where one is needed, or lists of different
            lengths.
    """
    paths = {**chosen.fields, **later}
    spread = _SPREAD
    if _of_same_objects(paths.get("question", ""), paths.get("solution", "")):
        spread = {**_SPREAD, "question": _text}
    cells: dict[str, list[Any]] = {name: [] for name in ("token_scores", *paths)}
    origin: list[int] = []
    bare = 0
    for number, row in _read_once(rows, chosen.once):
        values, count, many = _values_of(row, paths)
        for name, column in cells.items():
            try:
                column += spread[name](values.get(name), count, many)
            except NotText as error:
                raise _fault(path, name, paths, error, number) from error
        origin += [number] * count
        bare += not count
    note = "; ".join(filter(None, (chosen.note, f"{bare:,} rows hold no solution" if bare else "")))
    origin_R = np.array(origin, np.int64)
    empty = [
        name
        for name, column in cells.items()
        if (name in later or name in layouts.LISTS) and all(cell is None for cell in column)
    ]
    table = _typed(
        path, {name: column for name, column in cells.items() if name not in empty}, paths, origin_R
    )
    view = View({name: name for name in table.column_names}, lambda column, _: column)
    return Part(path, view, table, origin_R), chosen._replace(note=note)


def _of_same_objects(question: str, solution: str) -> bool:
    """Whether two paths are fields of one object in a row, so that each solution has a question."""
    return question.rpartition(".")[0] == solution.rpartition(".")[0] != ""


def _read_once(
    rows: Iterable[Mapping[str, Any]], once: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows with their numbers.

    Where there is a path `once`, those with the first row's value there.
    """
    first: Any = _NOTHING
    for number, row in enumerate(rows):
        if once:
            first = at(row, once) if first is _NOTHING else first
            if at(row, once) != first:
                continue
        yield number, row


def _values_of(
    row: Mapping[str, Any], paths: Mapping[str, str]
) -> tuple[dict[str, Any], int, bool]:
    """What a row has at each path, how many solutions that are, and whether they are a list."""
    values = {name: at(row, where) for name, where in paths.items()}
    solutions = values.get("solution")
    many = isinstance(solutions, list)
    count = 1
    if isinstance(solutions, list):
        values["solution"] = _flat(solutions)
        count = len(values["solution"])
    score = values.get("score")
    if isinstance(score, list) and values.get("token_scores") is None:
        steps = [each if isinstance(each, list) else None for each in score] if many else score
        values["token_scores"] = steps
    return values, count, many


def _typed(
    path: pathlib.Path,
    cells: Mapping[str, list[Any]],
    paths: Mapping[str, str],
    origin_R: np.ndarray,
) -> pa.Table:
    """The cells as Arrow columns."""
    made: dict[str, pa.Array] = {}
    for name, column in cells.items():
        try:
            made[name] = _ARRAYS[name](column)
        except NotText as error:
            # One aggregation asks for these, and says that they are missing.
            if name in ("tokens", "forced"):
                continue
            bad = next(
                (row for row, cell in enumerate(column) if isinstance(cell, (list, dict))), 0
            )
            raise _fault(path, name, paths, error, int(origin_R[bad])) from error
    return pa.table(made)


def _fault(
    path: pathlib.Path, name: str, paths: Mapping[str, str], error: NotText, row: int
) -> TablesError:
    return TablesError(
        f"{path}: field `{paths.get(name, name)}` is {error} in row {row + 1}; expected "
        f"{_EXPECTED[name]}"
    )


def at(value: Any, path: str) -> Any:
    """What stands at a path of an object; None where there is nothing.

    A list where lists are on the way.
    """
    return value[path] if path in value else _inside(value, path.split("."))


def _inside(value: Any, parts: list[str]) -> Any:
    for depth, part in enumerate(parts):
        if isinstance(value, list):
            return [_inside(each, parts[depth:]) for each in value]
        if not isinstance(value, Mapping):
            return None
        if part == "*":
            inner = (
                _inside(each, parts[depth + 1 :])
                for each in value.values()
                if isinstance(each, Mapping)
            )
            return [each for each in inner if each is not None]
        value = value.get(part)
    return value


def _flat(values: list[Any]) -> list[Any]:
    """Lists in lists as one."""
    return [
        inner for each in values for inner in (_flat(each) if isinstance(each, list) else [each])
    ]


def _solution(value: Any, count: int, many: bool) -> list[Any]:
    return value if many else [value]


def _text(value: Any, count: int, many: bool) -> list[Any]:
    if not isinstance(value, list):
        return [value] * count
    if many and len(value) == count:
        return value
    if len(value) != 1:
        raise NotText(f"a list of {len(value)}" + (f" beside {count} solutions" if many else ""))
    return value * count


def _question(value: Any, count: int, many: bool) -> list[Any]:
    """A question may be a list of messages."""
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return ["\n".join(value)] * count
    return _text(value, count, many)


def _number(value: Any, count: int, many: bool) -> list[Any]:
    """Of a list of values of steps the last."""
    return _numbers(value, count, many, _last)


def _sum(value: Any, count: int, many: bool) -> list[Any]:
    """Of a list of log-probabilities of tokens the sum."""
    return _numbers(value, count, many, _total)


def _numbers(value: Any, count: int, many: bool, of_list: Callable[[Any], Any]) -> list[Any]:
    if many and isinstance(value, list):
        if len(value) != count:
            raise NotText(f"a list of {len(value)} beside {count} solutions")
        return [of_list(each) for each in value]
    if many and count > 1 and value is not None:
        raise NotText(f"one value beside {count} solutions")
    return [of_list(value)] * count


def _total(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if not all(isinstance(each, (int, float)) for each in value):
        raise NotText("a list that is not of numbers")
    return math.fsum(value) if value else None


def _last(value: Any) -> Any:
    return (value[-1] if value else None) if isinstance(value, list) else value


def _list(value: Any, count: int, many: bool) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise NotText("no list")
    if not many:
        return [value]
    if value is not None and len(value) != count:
        raise NotText(f"a list of {len(value)} beside {count} solutions")
    return [None] * count if value is None else value


def _list_array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.list_(pa.float64()))
    except (pa.ArrowException, OverflowError) as error:
        raise NotText("no list of numbers") from error


_SPREAD: dict[str, Callable[[Any, int, bool], list[Any]]] = {
    **dict.fromkeys(layouts.TEXTS, _text),
    **dict.fromkeys(layouts.NUMBERS, _number),
    **dict.fromkeys(layouts.LIKELIHOODS, _sum),
    **dict.fromkeys(layouts.LISTS, _list),
    "solution": _solution,
    "question": _question,
}
_ARRAYS: dict[str, Callable[[list[Any]], pa.Array]] = {
    **dict.fromkeys(layouts.TEXTS, plain_text.text_array),
    **dict.fromkeys(layouts.NUMBERS, plain_text.number_array),
    **dict.fromkeys(layouts.LISTS, _list_array),
}
_EXPECTED = {
    **dict.fromkeys(layouts.TEXTS, "text"),
    **{
        name: f"a number for each solution, or leave it out by --fields={name}="
        for name in layouts.NUMBERS
    },
    **dict.fromkeys(layouts.LISTS, "a list of numbers for each solution"),
}
