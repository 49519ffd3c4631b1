"""The table of choices: what each candidate is worth by each criterion, and which was taken."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verifier.system import atomic, checksums
from verifier.tables.manifests import MANIFEST

_FILE = "choices.parquet"
SCHEMA = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),  # that made the candidates
        pa.field("candidate", pa.string(), nullable=False),
        pa.field("criterion", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("chosen", pa.bool_(), nullable=False),  # the best by this criterion
    ]
)


def write(
    folder: pathlib.Path, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> None:
    """Writes the table, its manifest last."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), sink, compression="zstd")
    content = memoryview(sink.getvalue())
    digest = checksums.of_bytes(content)
    atomic.write_bytes(folder / _FILE, content)
    checksums.write_sealed(
        folder / MANIFEST,
        {"id": digest[:16], "settings": dict(settings), "files": {_FILE: digest}},
    )


def read(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a finished table.

    Raises:
        Damaged: its file is not what was written.
    """
    manifest = checksums.read_sealed(folder / MANIFEST, f"remove {folder} to make it anew")
    checksums.check(folder, manifest["files"], f"remove {folder} to make it anew")
    return pq.read_table(folder / _FILE, schema=SCHEMA).to_pylist()
