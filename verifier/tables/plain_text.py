"""Cells of other people's files as text.

Numbers keep all their digits, bytes are decoded, and what no file could hold is escaped.
"""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

_INT64 = 1 << 63


class NotText(ValueError):
    """A value, or a type of column, that is no text and no number."""


def text(value: Any) -> str | None:
    """A value as JSON or Arrow gives it, as text that can be encoded.

    None for what is missing, NaN (pandas' word for it) included.

    Raises:
        NotText: it is a list or an object.
    """
    if value is None or isinstance(value, str):
        return (
            value
            if value is None or _is_encodable(value)
            else value.encode("utf-8", "backslashreplace").decode()
        )
    if isinstance(value, (list, dict, set, tuple)):
        raise NotText("an object" if isinstance(value, dict) else "a list")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool):
        return "true" if value else "false"
    return _number_text(value) if isinstance(value, float) else str(value)


def text_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of any type that is no list and no struct as text, as `text` has it.

    Raises:
        NotText: it holds lists or objects.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return text_column(column.cast(kind.storage_type))
    if pa.types.is_dictionary(kind):
        return text_column(column.cast(kind.value_type))
    if pa.types.is_nested(kind):
        raise NotText(str(kind))
    if pa.types.is_floating(kind):  # each different value is written once
        code = (
            (column.cast(pa.float32()) if pa.types.is_float16(kind) else column)
            .combine_chunks()
            .dictionary_encode()
        )
        written = pa.array(
            [_number_text(value) for value in code.dictionary.to_numpy(zero_copy_only=False)],
            pa.string(),
        )
        return pa.chunked_array([written.take(code.indices)])
    try:
        made = column.cast(pa.string())
        made.validate(full=True)  # a file may call bytes a text that are none
        return made
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raw = (
            column.cast(pa.binary())
            if pa.types.is_string(kind) or pa.types.is_large_string(kind)
            else column
        )
        return pa.chunked_array([pa.array([text(value) for value in raw.to_pylist()], pa.string())])


def text_array(values: list[Any]) -> pa.Array:
    """Values as `text` has them, as an Arrow column.

    Raises:
        NotText: one of them is a list or an object.
    """
    try:
        return pa.array(values, pa.string())  # most are text already
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return pa.array([text(value) for value in values], pa.string())


def number_array(values: list[Any]) -> pa.Array:
    """Values of one kind as an Arrow column, whole numbers exact where they have room.

    Numbers with text among them become text.

    Raises:
        NotText: lists or objects, and others beside them.
    """
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        if all(value is None or isinstance(value, (int, float)) for value in values):
            return pa.array(
                [None if value is None else _as_float(value) for value in values], pa.float64()
            )
        return text_array(values)


def _number_text(value: Any) -> str | None:
    """The shortest text that reads as this number of Python's or numpy's.

    18.0, as pandas makes of whole numbers, reads 18.
    """
    if value is None or math.isnan(value):
        return None
    if float(value).is_integer() and abs(value) < _INT64:
        return str(int(value))
    return str(value)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a pair
        return False
    return True
