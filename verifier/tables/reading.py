"""Reads tables, this project's and foreign ones, and names what is wrong with them.

Writes nothing.
"""

from __future__ import annotations

import concurrent.futures
import functools
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from verifier.errors import StoreError
from verifier.system import checksums, paths
from verifier.system.text_files import jsonl_rows
from verifier.tables import expansion, plain_text
from verifier.tables.schemas import SCHEMA_VERSION, SCHEMAS, key_of, schema_of

MANIFEST = "manifest.json"
UNFINISHED = "unfinished.json"
_BUFFER = 1 << 16  # bytes read at a time where a look at the beginning is enough
_WAY_OUT = "put back a whole copy, or remove it and run its stage again"


def read_table(
    path: pathlib.Path | str, table: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Reads a table and checks it: whole files that agree with their manifest, the columns asked
    for, no key twice.

    Args:
        path: a workdir, a table folder with `split=*` folders, one split's folder, or one Parquet
            or JSONL file.
        table: which of SCHEMAS; gives the columns their types.
        columns: the ones to read, in order; None reads the whole schema. A column outside the
            schema keeps the file's type.

    Returns:
        An Arrow table in stored order. Read from `split=*` folders it has a column `split` (last,
        unless `columns` says where).

    Raises:
        StoreError: nothing there, unfinished, truncated, not what the manifest says, a missing
            column, a wrong type, or a key twice.
    """
    wanted = list(schema_of(table).names if columns is None else columns)
    root = _table_folder(paths.place(path), table)
    splits = sorted(root.glob("split=*")) if root.is_dir() else []
    if splits:
        read = [
            _read_split(folder, table, list(dict.fromkeys([*wanted, "split"]))) for folder in splits
        ]
        return pa.concat_tables(read)
    return _read_split(root, table, wanted)


def read_manifest(folder: pathlib.Path) -> dict[str, Any] | None:
    """The manifest of a finished result, or None where there is none.

    Raises:
        Damaged: it is not what was written.
        StoreError: it is that of a table of another schema version.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    manifest = checksums.read_sealed(
        path, f"put back a whole copy, or remove {folder} to make it anew"
    )
    refuse_other_schema(manifest, folder)
    return manifest


def refuse_other_schema(manifest: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Raises StoreError if a table's manifest is of another schema version; one without it is of
    version 1, a model's has none.
    """
    version = manifest.get("schema_version", 1)
    if "table" in manifest and version != SCHEMA_VERSION:
        raise StoreError(
            f"{folder} holds {manifest['table']} of schema version {version!r}; this program "
            f"knows version {SCHEMA_VERSION}: read it with the release that wrote it, or make "
            "it anew"
        )


def read_foreign(path: pathlib.Path | str) -> pa.Table:
    """Reads one Parquet or JSONL file made elsewhere with the columns and types that it has."""
    path = paths.place(path)
    return _rows_of_jsonl(path) if is_jsonl(path) else open_part(path, None).read()


def open_part(
    path: pathlib.Path,
    content: bytes | None,
    footer: pq.FileMetaData | None = None,
    dictionaries: Sequence[str] = (),
) -> pq.ParquetFile:
    """A Parquet file, from its bytes where they are in memory already; a truncated one is an error
    with its name and size.

    Columns named in `dictionaries` stay dictionaries when they are read.
    """
    try:
        if content is None and paths.is_remote(path):  # a store's files are read whole
            content = path.read_bytes()
        source = pa.BufferReader(content) if content is not None else path
        return pq.ParquetFile(
            source,
            metadata=footer,
            read_dictionary=list(dictionaries),
            buffer_size=_BUFFER if dictionaries else 0,
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if path.exists() else "no such file"
        size = paths.size(path) if path.exists() else 0
        expected = "expected one that ends in its footer and PAR1"
        raise StoreError(
            f"{path}: not a whole Parquet file ({size:,} bytes): {reason}; {expected}"
        ) from error


def checked_files(path: pathlib.Path, table: str) -> dict[pathlib.Path, Mapping[str, Any] | None]:
    """The files of one split's folder, or the one file: those of its manifest, whole and unchanged,
    where it has one.

    Returns:
        Of every file what the manifest says of it; None where there is no manifest.

    Raises:
        StoreError: nothing there, unfinished, a part missing, truncated or changed.
    """
    if not path.exists():
        raise StoreError(
            f"{path}: there is nothing; expected a table folder, or a Parquet or JSONL file of "
            f"{table}"
        )
    if path.is_file():
        return {path: None}
    manifest = _manifest_for_reading(path, table)
    files = _files_of(path, manifest)
    listed = {part["name"]: part for part in manifest["parts"]} if manifest else {}

    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # few, since each holds a whole file
        list(
            pool.map(
                lambda file: _verified(file, listed[file.name]) and None,
                [file for file in files if file.name in listed],
            )
        )
    return {file: listed.get(file.name) for file in files}


def read_footer(
    path: pathlib.Path, expected: Mapping[str, Any] | None, content: bytes | None = None
) -> tuple[pq.FileMetaData, list[str], bytes | None]:
    """What a Parquet file says of its row groups, its columns, and its bytes where each row group
    would otherwise fetch all of them again.

    Raises:
        StoreError: it is truncated, or has not as many rows as its manifest says.
    """
    if content is None and paths.is_remote(path):
        content = path.read_bytes()
    file = open_part(path, content)
    if expected:
        _check_rows(path, file, expected)
    return file.metadata, file.schema_arrow.names, content if file.num_row_groups > 1 else None


def decode_group(
    path: pathlib.Path,
    footer: pq.FileMetaData,
    group: int,
    columns: Sequence[str],
    most: int,
    content: bytes | None = None,
) -> Iterator[pa.Table]:
    """One row group of a Parquet file, or of its bytes, in pieces of at most `most` rows.

    Raises:
        StoreError: it is damaged inside.
    """
    size = len(content) if content is not None else paths.size(path)
    try:
        rows = expansion.rows_at_once(
            path, size, functools.partial(open_part, path, content, footer), group, columns, most
        )
        batches = open_part(path, content, footer).iter_batches(
            rows, [group], list(columns), use_threads=False
        )
        yield from (pa.Table.from_batches([batch]) for batch in batches)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def parts_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """The parts in a folder, in order of their numbers."""
    return sorted(folder.glob("part-*.parquet"), key=lambda part: (number_of(part), part.name))


def number_of(part: pathlib.Path) -> int:
    """The number in a part's name; -1 where there is none."""
    found = re.match(r"part-(\d+)", part.name)
    return int(found[1]) if found else -1


def part_name(number: int, content: bytes | memoryview) -> str:
    """The name of a part, with the first digits of its sum: so it can be told from a damaged one
    before there is a manifest.
    """
    return f"part-{number:05d}-{checksums.of_bytes(content)[:16]}.parquet"


def part_digest(path: pathlib.Path, content: bytes) -> str:
    """The SHA-256 of a part's bytes, which begins as its name says.

    Raises:
        StoreError: it has changed since it was written.
    """
    digest = checksums.of_bytes(content)
    if (named := re.search(r"-([0-9a-f]{16})\.parquet$", path.name)) and not digest.startswith(
        named[1]
    ):
        raise StoreError(
            f"{path}: changed since it was written: sha256 {digest[:16]}..., its name says "
            f"{named[1]}...; {_WAY_OUT}"
        )
    return digest


def duplicate_key(table: pa.Table, key: Sequence[str]) -> str:
    """The first key that stands twice, in words; empty where there is none or where the table lacks
    a column of the key.
    """
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
        found = sorted(folder.name for folder in (path / "tables").iterdir())
        raise StoreError(
            f"{path / 'tables'}: no table {table!r} (there: {', '.join(found) or 'none'}); run "
            "the stage that makes it"
        )
    if not inside and path.name != table and path.name in SCHEMAS:
        raise StoreError(f"{path} holds {path.name}; expected {table}")
    return inside[0] if inside else path


def _read_split(path: pathlib.Path, table: str, columns: list[str]) -> pa.Table:
    """One split's folder or one file, with just these columns."""
    split = path.name.removeprefix("split=") if path.name.startswith("split=") else None
    key = key_of(table)
    if path.is_file():
        read = [_read_file(path, table, columns, key, split)]
    else:
        manifest = _manifest_for_reading(path, table)
        files = _files_of(path, manifest)
        listed = {part["name"]: part for part in manifest["parts"]} if manifest else {}
        # reading, hashing and decoding all let go of the interpreter
        with concurrent.futures.ThreadPoolExecutor() as pool:
            read = list(
                pool.map(
                    lambda file: _read_file(
                        file, table, columns, key, split, listed.get(file.name)
                    ),
                    files,
                )
            )
    if not read:
        return _empty(table, columns)
    whole = pa.concat_tables(read)
    if twice := duplicate_key(whole, [*key, *(["split"] if "split" in whole.column_names else [])]):
        raise StoreError(f"{path}: {twice} stands twice; expected one row of {table} a key")
    return whole.select(columns)


def _empty(table: str, columns: Sequence[str]) -> pa.Table:
    known = {**{field.name: field for field in schema_of(table)}}
    fields = [known.get(name, pa.field(name, pa.string())) for name in columns]
    return pa.schema(fields).empty_table()


def _manifest_for_reading(folder: pathlib.Path, table: str) -> dict[str, Any] | None:
    manifest = read_manifest(folder)
    if manifest is None and (folder / UNFINISHED).exists():
        raise StoreError(
            f"{folder} is not finished ({len(parts_of(folder))} parts so far); run its stage "
            "again, it goes on from there"
        )
    if manifest is not None and manifest.get("table", table) != table:
        raise StoreError(f"{folder} holds {manifest['table']}; expected {table}")
    return manifest if manifest is not None and "parts" in manifest else None


def _files_of(folder: pathlib.Path, manifest: Mapping[str, Any] | None) -> list[pathlib.Path]:
    """The files to read; with a manifest exactly its parts, else whatever table files there are."""
    there = parts_of(folder)
    if manifest is None:
        files = there or sorted(
            file for file in folder.iterdir() if file.suffix in (".parquet", ".jsonl")
        )
        if not files:
            raise StoreError(
                f"{folder}: no part-*.parquet in it, nor any other Parquet or JSONL file"
            )
        return files
    names = [part["name"] for part in manifest["parts"]]
    for name in names:
        if not (folder / name).exists():
            raise StoreError(
                f"{folder / name} is missing; {MANIFEST} expects {len(names)} parts: put it "
                f"back or make {folder} anew"
            )
    for part in there:
        if part.name not in names:
            raise StoreError(
                f"{part} is not in {MANIFEST}, which knows {len(names)} parts; remove it or "
                f"make {folder} anew"
            )
    return [folder / name for name in names]


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
        content = _verified(path, expected) if expected else None
        file = open_part(path, content)
        there = file.schema_arrow.names
        if expected:
            _check_rows(path, file, expected)
    needed = [name for name in columns if not (name == "split" and split is not None)]
    for name in needed:
        if name not in there:
            raise StoreError(f"{path}: no column {name!r}; it has {', '.join(there)}")
    names = list(dict.fromkeys([*needed, *(name for name in (*key, "split") if name in there)]))
    read = rows.select(names) if is_jsonl(path) else _decode(file, path, names)
    read = cast(read, path, table)
    if split is not None and "split" in columns and "split" not in read.column_names:
        read = read.append_column(
            pa.field("split", pa.string(), nullable=False), pa.repeat(pa.scalar(split), len(read))
        )
    return read


def _decode(file: pq.ParquetFile, path: pathlib.Path, names: list[str]) -> pa.Table:
    try:
        return file.read(names, use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: pathlib.Path, error: Exception) -> StoreError:
    return StoreError(f"{path}: damaged inside ({str(error).splitlines()[0]}); {_WAY_OUT}")


def _check_rows(path: pathlib.Path, file: pq.ParquetFile, expected: Mapping[str, Any]) -> None:
    if file.metadata.num_rows != expected["rows"]:
        raise StoreError(
            f"{path}: {file.metadata.num_rows:,} rows; {MANIFEST} expects {expected['rows']:,}"
        )


def _verified(path: pathlib.Path, expected: Mapping[str, Any]) -> bytes:
    """A part's bytes, which are those that the manifest knows."""
    content = path.read_bytes()
    if len(content) != expected["bytes"]:
        kind = "truncated" if len(content) < expected["bytes"] else "too long"
        raise StoreError(
            f"{path}: {kind}: {len(content):,} bytes; {MANIFEST} expects "
            f"{expected['bytes']:,}; {_WAY_OUT}"
        )
    digest = part_digest(path, content)
    if digest != expected["sha256"]:
        fault = f"sha256 {digest[:12]}..., {MANIFEST} expects {expected['sha256'][:12]}..."
        raise StoreError(f"{path}: changed since it was written: {fault}; {_WAY_OUT}")
    return content


def cast(read: pa.Table, path: pathlib.Path, table: str) -> pa.Table:
    """Columns of a file with the types of the table's; one that cannot be, or has empty values, is
    an error with the file's name.
    """
    schema = schema_of(table)
    for place, (name, there) in enumerate(zip(read.column_names, read.schema, strict=True)):
        # a part of this project's has the types already
        if name not in schema.names or there.equals(schema.field(name)):
            continue
        field = schema.field(name)
        column = read.column(place)
        if column.null_count and not field.nullable:
            raise StoreError(
                f"{path}: column {name!r} has {column.null_count:,} empty values; expected none"
            )
        try:
            read = read.set_column(place, field, column.cast(field.type))
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
