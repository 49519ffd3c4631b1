"""Files made elsewhere as rows of this project's columns: JSON, CSV, Parquet and Arrow.

Files may be packed, alone, in a folder or given by a pattern. What a file is, its first bytes say,
not its name. Only the columns that a layout asks for are read; a Parquet file with one solution a
row stays on disk, everything else is held in memory.
"""

from __future__ import annotations

import glob
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather

from verifier.errors import TablesError
from verifier.ingest import json_rows, layouts, recognition, shapes, unnesting
from verifier.ingest.recognition import Chosen
from verifier.system import log, paths, text_files
from verifier.tables import plain_text
from verifier.tables.parts import decode_group, open_part
from verifier.tables.plain_text import NotText
from verifier.tables.scanning import Part, Scan, View, scan_parts

KINDS = "Parquet, Arrow, CSV and JSON files, packed or not"
# Of a folder the files of the first kind that is there are read.
_SUFFIXES = (".parquet", ".arrow", ".feather", ".jsonl", ".ndjson", ".csv", ".tsv", ".json")
_PACKED = (".gz", ".zst", ".bz2", ".xz")
_HEADER = 1 << 20
_LOOKED_AT = 256  # rows of a JSON file by which its layout is recognised
_STRANGERS = {
    b"PK\x03\x04": "a zip archive: unpack it",
    b"<!DOCTYPE": "a web page: fetch the file itself",
    b"<html": "a web page: fetch the file itself",
    b"\xff\xfe": "text in UTF-16: convert it, such as with iconv -f UTF-16 -t UTF-8",
    b"\x80\x04": (
        "a Python pickle, which runs what is in it and is not opened: write the rows as "
        "Parquet or JSON"
    ),
    b"\x89HDF": "an HDF5 file: write the rows as Parquet or JSON",
    b"SQLite format": "an SQLite database: write the rows as Parquet or JSON",
}


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
    """The files that a path stands for: itself, a folder's, or those of a pattern (`out-*.jsonl`).

    Raises:
        TablesError: there is none.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        there = sorted(
            (
                file
                for file in path.iterdir()
                if file.is_file() and not file.name.startswith((".", "_"))
            ),
            key=paths.natural_order,
        )
        kinds = {
            file: next((kind for kind in _SUFFIXES if _bare(file).endswith(kind)), "")
            for file in there
        }
        first = next((kind for kind in _SUFFIXES if kind in kinds.values()), "")
        files = [file for file, kind in kinds.items() if kind and kind == first]
        if not files:
            names = ", ".join(file.name for file in there[:5]) or "no file"
            raise TablesError(
                f"{path}: no samples in it (there: {names}); expected a workdir, a table "
                f"folder, or {KINDS}"
            )
        return files
    fitting = [] if paths.is_remote(path) else glob.glob(str(path), recursive=True)
    files = sorted(
        filter(pathlib.Path.is_file, map(pathlib.Path, fitting)), key=paths.natural_order
    )
    if not files:
        raise TablesError(
            f"{path}: there is no such file; expected a workdir, a table folder, or {KINDS}, "
            "their folder or a pattern"
        )
    return files


def scan(
    path: pathlib.Path,
    layout: str,
    fields: Mapping[str, str],
    needed: Sequence[str] = ("solution",),
) -> Scan:
    """The rows that a path stands for, one a solution, by the names of `layouts.FIELDS`.

    Says which layout was taken.

    Args:
        path: of a file or folder, or a pattern.
        layout: a name in `layouts.NAMES`.
        fields: paths that the user names, as in `recognition.choose`.
        needed: fields that must be there.

    Raises:
        TablesError: no file, no row, a layout that is not recognised, or a cell that is no text or
            number where one is needed.
        StoreError: a file cannot be read.
    """
    parts, said = [], dict[str, int]()
    files = files_of(path)
    for file in files:
        if len(files) > 1 and not file.stat().st_size:  # a shard of a job that found nothing to do
            continue
        part, chosen = _opened(file, layout, fields, needed)
        parts.append(part)
        taken = ", ".join(f"{name}={field}" for name, field in chosen.fields.items())
        line = f"layout {chosen.layout}: {taken}" + (f"; {chosen.note}" if chosen.note else "")
        said[line] = said.get(line, 0) + 1
    whole = scan_parts(path, parts)
    if not whole.rows:
        raise TablesError(f"{path} is empty: expected at least one row")
    for line, count in said.items():
        log.say(f"{path}: {line}" + (f" ({count} of {len(parts)} files)" if len(parts) > 1 else ""))
    return whole


def _opened(
    path: pathlib.Path, layout: str, fields: Mapping[str, str], needed: Sequence[str]
) -> tuple[Part, Chosen]:
    raw = json_rows.fetched(path)
    with json_rows.unpacked(path, raw) as file, json_rows.faults_of(path):
        head = file.read(512)
        is_packed = json_rows.is_packed(path, raw)
        is_whole = head.startswith((b"ARROW1", b"FEA1", b"\xff\xff\xff\xff")) or (
            is_packed and head.startswith(b"PAR1")
        )
        content = head + file.read() if is_whole else None
    text_files.refuse_pointer(path, head, TablesError)
    for start, what in _STRANGERS.items():
        if head.startswith(start):
            raise TablesError(f"{path} is {what}")
    if head.startswith(b"PAR1"):
        return _of_parquet(path, content or raw, layout, fields, needed)
    if content is not None or _bare(path).endswith((".csv", ".tsv")):
        schema, read = _arrow(path, content) if content is not None else _csv(path, raw)
        return _of_table(path, schema, read, layout, fields, needed)
    rows = json_rows.json_rows(path, raw)
    first = list(itertools.islice(rows, _LOOKED_AT))
    shape = shapes.shape_of_rows(first)
    chosen = recognition.choose(shape, layout, fields, str(path), needed)
    later = {
        name: name
        for name in layouts.FIELDS
        if name not in fields and name not in chosen.fields and name not in shape
    }
    return unnesting.unnested(
        path,
        itertools.chain(first, rows),
        chosen,
        later if chosen.layout in layouts.GENERAL else {},
    )


def _of_parquet(
    path: pathlib.Path,
    content: bytes | None,
    layout: str,
    fields: Mapping[str, str],
    needed: Sequence[str],
) -> tuple[Part, Chosen]:
    file = open_part(path, content)
    footer = file.metadata
    if not footer.num_rows:
        raise TablesError(f"{path} is empty: expected at least one row")

    def read(columns: Sequence[str]) -> pa.Table:
        groups = range(footer.num_row_groups)
        pieces = [
            piece
            for group in groups
            for piece in decode_group(path, footer, group, columns, 1 << 16, content)
        ]
        return pa.concat_tables(pieces)

    chosen = _chosen(path, file.schema_arrow, layout, fields, needed)
    if _is_flat(file.schema_arrow, chosen):
        return Part(path, _view(path, chosen), content=content), chosen
    return unnesting.unnested(path, _rows_of(read(_columns(file.schema_arrow, chosen))), chosen, {})


def _of_table(
    path: pathlib.Path,
    schema: pa.Schema,
    read: Callable[[Sequence[str]], pa.Table],
    layout: str,
    fields: Mapping[str, str],
    needed: Sequence[str],
) -> tuple[Part, Chosen]:
    chosen = _chosen(path, schema, layout, fields, needed)
    table = read(_columns(schema, chosen))
    if _is_flat(schema, chosen):
        return Part(path, _view(path, chosen), table), chosen
    return unnesting.unnested(path, _rows_of(table), chosen, {})


def _chosen(
    path: pathlib.Path,
    schema: pa.Schema,
    layout: str,
    fields: Mapping[str, str],
    needed: Sequence[str],
) -> Chosen:
    """The layout of a file with a schema, none of whose columns that are wanted is there twice."""
    with json_rows.faults_of(path):  # names of columns may be no text
        shape = shapes.shape_of_schema(schema)
    chosen = recognition.choose(shape, layout, fields, str(path), needed)
    for name in _columns(schema, chosen):
        if schema.names.count(name) > 1:
            raise TablesError(
                f"{path}: column `{name}` is there {schema.names.count(name)} times; rename "
                "one, or drop it"
            )
    return chosen


def _columns(schema: pa.Schema, chosen: Chosen) -> list[str]:
    """The columns that hold the fields."""
    paths = [*chosen.fields.values(), *([chosen.once] if chosen.once else [])]
    wanted = [
        name
        for path in paths
        for name in schema.names
        if "*" in path or name == path or path.startswith(f"{name}.")
    ]
    return list(dict.fromkeys(wanted))


def _is_flat(schema: pa.Schema, chosen: Chosen) -> bool:
    """Whether every row is a solution and every field a column."""
    if chosen.once or any(path not in schema.names for path in chosen.fields.values()):
        return False
    return not any(
        pa.types.is_nested(schema.field(path).type)
        for name, path in chosen.fields.items()
        if name not in layouts.LISTS
    )


def _view(path: pathlib.Path, chosen: Chosen) -> View:
    def make(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        try:
            return plain_text.text_column(column) if name in layouts.TEXTS else column
        except NotText as error:
            raise TablesError(
                f"{path}: field `{chosen.fields[name]}` is {error}; expected text"
            ) from error

    return View(chosen.fields, make)


def _rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(1024):
        yield from batch.to_pylist()


def _arrow(
    path: pathlib.Path, content: bytes
) -> tuple[pa.Schema, Callable[[Sequence[str]], pa.Table]]:
    """An Arrow file, an Arrow stream (what `datasets` saves), or an old Feather file."""
    with json_rows.faults_of(path):
        if content.startswith(b"ARROW1"):
            table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        elif content.startswith(b"FEA1"):
            table = pyarrow.feather.read_table(pa.BufferReader(content))
        else:
            table = pa.ipc.open_stream(pa.BufferReader(content)).read_all()

    def read(columns: Sequence[str]) -> pa.Table:
        with json_rows.faults_of(path):
            chosen = table.select(columns)
            chosen.validate(full=True)  # offsets that lead outside of it would be followed
            return chosen

    return table.schema, read


def _csv(
    path: pathlib.Path, raw: bytes | None
) -> tuple[pa.Schema, Callable[[Sequence[str]], pa.Table]]:
    """A table of text: what numbers are is decided later, so that no digit of an id is lost."""
    with json_rows.unpacked(path, raw) as file, json_rows.faults_of(path):
        content = file.read()
        header = content[:_HEADER].partition(b"\n")[0]
        mark = max((",", ";", "\t"), key=lambda each: header.count(each.encode()))
        parse = pa.csv.ParseOptions(delimiter=mark, newlines_in_values=True)
        whole = pa.csv.ReadOptions(block_size=min(max(len(content), _HEADER), (1 << 31) - 1))
        schema = pa.csv.open_csv(pa.BufferReader(content), whole, parse).schema

    def read(columns: Sequence[str]) -> pa.Table:
        texts = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(schema.names, pa.string()),
            include_columns=columns,
            null_values=[""],
            strings_can_be_null=True,
        )
        with json_rows.faults_of(path):
            return pa.csv.read_csv(pa.BufferReader(content), whole, parse, texts)

    return schema, read


def _bare(path: pathlib.Path) -> str:
    """A file's name in small letters, without the ending that says that it is packed."""
    name = path.name.lower()
    return next((name.removesuffix(ending) for ending in _PACKED if name.endswith(ending)), name)
