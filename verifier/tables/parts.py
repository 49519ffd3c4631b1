"""The Parquet files of a table: how they are named, opened and decoded."""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from verifier.errors import StoreError
from verifier.system import checksums, paths
from verifier.tables import expansion

_BUFFER = 1 << 16  # bytes read at a time where a look at the beginning is enough
WAY_OUT = "put back a whole copy, or remove it and run its stage again"


def open_part(
    path: pathlib.Path,
    content: bytes | None,
    footer: pq.FileMetaData | None = None,
    dictionaries: Sequence[str] = (),
) -> pq.ParquetFile:
    """A Parquet file, from its bytes where they are in memory; a truncated one is refused by name.

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
    match = re.match(r"part-(\d+)", part.name)
    return int(match[1]) if match else -1


def part_name(number: int, content: bytes | memoryview) -> str:
    """The name of a part, with the first digits of its sum.

    The digits tell it from a damaged one before there is a manifest.
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
            f"{named[1]}...; {WAY_OUT}"
        )
    return digest


def decode(file: pq.ParquetFile, path: pathlib.Path, names: list[str]) -> pa.Table:
    try:
        return file.read(names, use_threads=False)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: pathlib.Path, error: Exception) -> StoreError:
    return StoreError(f"{path}: damaged inside ({str(error).splitlines()[0]}); {WAY_OUT}")
