"""Reads tables, this project's and others', and names what is wrong with them."""

from __future__ import annotations

import concurrent.futures
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from verifier.errors import StoreError
from verifier.system import paths
from verifier.system.text_files import jsonl_rows
from verifier.tables import manifests, parts, plain_text
from verifier.tables.results import split_folder, split_of, splits_in
from verifier.tables.schemas import SCHEMAS, key_of, schema_of, types_of


def read_table(
    path: pathlib.Path | str, table: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Reads a table and checks it.

    Checked are whole files that agree with their manifest, the columns asked for, and no key twice.

    Args:
        path: a workdir, a table folder with `split=*` folders, one split's folder, or one Parquet
            or JSONL file.
        table: which of SCHEMAS; gives the columns their types.
        columns: the ones to read, in order; None reads the whole schema, without what is
            optional. A column outside the schema keeps the file's type.

    Returns:
        An Arrow table in stored order. Read from `split=*` folders it has a column `split` (last,
        unless `columns` says where).

    Raises:
        StoreError: nothing there, unfinished, truncated, not what the manifest says, a missing
            column, a wrong type, or a key twice.
    """
    wanted = list(schema_of(table).names if columns is None else columns)
    root = _table_folder(paths.to_path(path), table)
    splits = splits_in(root) if root.is_dir() else []
    if splits:
        columns = list(dict.fromkeys([*wanted, "split"]))
        folders = [root / split_folder(split) for split in splits]
        return pa.concat_tables([_read_split(folder, table, columns) for folder in folders])
    return _read_split(root, table, wanted)


def read_external(path: pathlib.Path | str) -> pa.Table:
    """Reads one Parquet or JSONL file made elsewhere with the columns and types that it has."""
    path = paths.to_path(path)
    return _rows_of_jsonl(path) if is_jsonl(path) else parts.open_part(path, None).read()


def duplicate_key(table: pa.Table, key: Sequence[str]) -> str:
    """The first key that stands twice, in words; empty where none does, or for lack of columns."""
    if not len(table) or any(name not in table.column_names for name in key):
        return ""
    counts = table.select(list(key)).group_by(list(key)).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1)).sort_by(
        [(name, "ascending") for name in key]
    )
    if not len(twice):
        return ""
    return "(" + ", ".join(f"{name} {twice[name][0].as_py()!r}" for name in key) + ")"


def _table_folder(path: pathlib.Path, table: str) -> pathlib.Path:
    """Where the table lies under a workdir, its `tables` folder, or the path itself."""
    if not path.exists():
        raise StoreError(
            f"{path}: there is nothing; expected a workdir, a table folder, or a Parquet or "
            f"JSONL file of {table}"
        )
    if path.is_file():
        return path
    inside = [folder for folder in (path / "tables" / table, path / table) if folder.is_dir()]
    if not inside and (path / "tables").is_dir():
        names = sorted(folder.name for folder in (path / "tables").iterdir())
        raise StoreError(
            f"{path / 'tables'}: no table {table!r} (there: {', '.join(names) or 'none'}); run "
            "the stage that makes it"
        )
    if not inside and path.name != table and path.name in SCHEMAS:
        raise StoreError(f"{path} holds {path.name}; expected {table}")
    return inside[0] if inside else path


def _read_split(path: pathlib.Path, table: str, columns: list[str]) -> pa.Table:
    """One split's folder or one file, with just these columns."""
    of = split_of(path)
    split = None if of is None else str(of)
    key = key_of(table)
    if path.is_file():
        read = [_read_file(path, table, columns, key, split)]
    else:
        files = manifests.files_of(path, table)
        # Reading, hashing and decoding all let go of the interpreter.
        with concurrent.futures.ThreadPoolExecutor() as pool:
            read = list(
                pool.map(
                    lambda file: _read_file(file, table, columns, key, split, files[file]), files
                )
            )
    if not read:
        return _empty(table, columns)
    whole = pa.concat_tables(read)
    if twice := duplicate_key(whole, [*key, *(["split"] if "split" in whole.column_names else [])]):
        raise StoreError(f"{path}: {twice} stands twice; expected one row of {table} a key")
    return whole.select(columns)


def _empty(table: str, columns: Sequence[str]) -> pa.Table:
    known = {field.name: field for field in types_of(table)}
    fields = [known.get(name, pa.field(name, pa.string())) for name in columns]
    return pa.schema(fields).empty_table()


def _read_file(
    path: pathlib.Path,
    table: str,
    columns: list[str],
    key: Sequence[str],
    split: str | None,
    expected: Mapping[str, Any] | None = None,
) -> pa.Table:
    """One file's columns, with the key's where it has them, cast to the table's types."""
    if is_jsonl(path):
        rows = _rows_of_jsonl(path)
        there = rows.column_names
    else:
        content = manifests.verified(path, expected) if expected else None
        file = parts.open_part(path, content)
        there = file.schema_arrow.names
        if expected:
            manifests.check_rows(path, file, expected)
    needed = [name for name in columns if not (name == "split" and split is not None)]
    for name in needed:
        if name not in there:
            raise StoreError(f"{path}: no column {name!r}; it has {', '.join(there)}")
    names = list(dict.fromkeys([*needed, *(name for name in (*key, "split") if name in there)]))
    read = rows.select(names) if is_jsonl(path) else parts.decode(file, path, names)
    read = cast(read, path, table)
    if split is not None and "split" in columns and "split" not in read.column_names:
        read = read.append_column(
            pa.field("split", pa.string(), nullable=False), pa.repeat(pa.scalar(split), len(read))
        )
    return read


def cast(read: pa.Table, path: pathlib.Path, table: str) -> pa.Table:
    """Columns of a file with the types of the table's.

    A column that cannot be cast, or has empty values, is refused by the file's name.
    """
    schema = types_of(table)
    for index, (name, there) in enumerate(zip(read.column_names, read.schema, strict=True)):
        # A part of this project's has the types already.
        if name not in schema.names or there.equals(schema.field(name)):
            continue
        field = schema.field(name)
        column = read.column(index)
        if column.null_count and not field.nullable:
            raise StoreError(
                f"{path}: column {name!r} has {column.null_count:,} empty values; expected none"
            )
        try:
            read = read.set_column(index, field, column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise StoreError(
                f"{path}: column {name!r} is {column.type}; expected {field.type} "
                f"({str(error).splitlines()[0]})"
            ) from error
    return read


def is_jsonl(path: pathlib.Path) -> bool:
    """Whether a file has one JSON object a line, by its name."""
    return path.suffix in (".jsonl", ".json", ".ndjson")


def _rows_of_jsonl(path: pathlib.Path) -> pa.Table:
    """One JSON object a line; a key that some lines lack is null there."""
    rows = [row for row, _ in jsonl_rows(path, StoreError)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows], path, name) for name in names})


def _column(values: list[Any], path: pathlib.Path, name: str) -> pa.Array:
    """An Arrow column; numbers and text mixed (answers often are) become text."""
    try:
        return plain_text.number_array(values)
    except plain_text.NotText as error:
        raise StoreError(
            f"{path}: column {name!r} has values of different kinds ({error} beside others)"
        ) from error
