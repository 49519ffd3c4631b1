"""What the rows of a file made elsewhere look like: its paths, and the kinds of value there.

A path names a field of an object in an object, `doc.question`; lists on the way are passed through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

# By path, the kinds of what is there: text, number, bool; with a "*" before it where a row may have
# several.
Shape = Mapping[str, set[str]]
_DEPTH = 5  # objects in objects that are looked into
_LOOKED_AT = 8  # of a list


def shape_of_rows(rows: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """The paths in some rows of a JSON file and the kinds of what is there."""
    shape: dict[str, set[str]] = {}

    def look(path: str, value: Any, many: str, depth: int) -> None:
        if isinstance(value, Mapping):
            if path:
                shape.setdefault(path, set())
            for name, inner in value.items() if depth else ():
                look(f"{path}.{name}" if path else name, inner, many, depth - 1)
        elif isinstance(value, list):
            shape.setdefault(path, set())
            for inner in value[:_LOOKED_AT]:
                look(path, inner, "*", depth)
        else:
            kinds = shape.setdefault(path, set())
            if value is not None:
                kinds.add(many + _kind_of_value(value))

    for row in rows:
        look("", row, "", _DEPTH)
    return shape


def _kind_of_value(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, (int, float)) else "text"


def shape_of_schema(schema: pa.Schema) -> dict[str, set[str]]:
    """The paths in an Arrow table and the kinds of what is there."""
    shape: dict[str, set[str]] = {}

    def look(path: str, kind: pa.DataType, many: str, depth: int) -> None:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        shape.setdefault(path, set())
        if pa.types.is_struct(kind):
            for field in kind if depth else ():
                look(f"{path}.{field.name}", field.type, many, depth - 1)
        elif pa.types.is_nested(kind):
            if not pa.types.is_map(kind) and not pa.types.is_union(kind):
                look(path, kind.value_type, "*", depth)
        elif not pa.types.is_null(kind):
            shape[path].add(many + _kind_of_type(kind))

    for field in schema:
        look(field.name, field.type, "", _DEPTH)
    return shape


def _kind_of_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    return "text"


def find(shape: Shape, path: str) -> list[str]:
    """The paths in a shape that a path with `*` stands for."""
    if "*" not in path:
        return [path] if path in shape else []
    pattern = re.compile(re.escape(path).replace(r"\*", "[^.]+"))
    return [each for each in shape if pattern.fullmatch(each)]


def is_many(shape: Shape, path: str) -> bool:
    """Whether a row may have several values at a path."""
    return "*" in path or any(kind.startswith("*") for kind in shape.get(path, ()))


def holds(shape: Shape, path: str, *kinds: str) -> bool:
    there = {kind.removeprefix("*") for each in find(shape, path) for kind in shape[each]}
    return bool(there & set(kinds)) if kinds else bool(find(shape, path))
