"""The manifest of a whole table, and the table's files checked against it."""

from __future__ import annotations

import concurrent.futures
import pathlib
from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from verifier.errors import StoreError
from verifier.system import checksums, paths
from verifier.tables.parts import WAY_OUT, open_part, part_digest, parts_of
from verifier.tables.schemas import SCHEMA_VERSION

MANIFEST = "manifest.json"
UNFINISHED = "unfinished.json"


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
    """Raises StoreError if a table's manifest is of another schema version.

    A manifest without a version is of version 1; a model's has none.
    """
    version = manifest.get("schema_version", 1)
    if "table" in manifest and version != SCHEMA_VERSION:
        raise StoreError(
            f"{folder} holds {manifest['table']} of schema version {version!r}; this program "
            f"knows version {SCHEMA_VERSION}: read it with the release that wrote it, or make "
            "it anew"
        )


def checked_files(path: pathlib.Path, table: str) -> dict[pathlib.Path, Mapping[str, Any] | None]:
    """The files of one split's folder, or the one file.

    Where there is a manifest, they are those it lists, whole and unchanged.

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
    files = files_of(path, table)

    def check(file: pathlib.Path) -> None:
        if entry := files[file]:
            verified(file, entry)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # few, since each holds a whole file
        list(pool.map(check, files))
    return files


def read_footer(
    path: pathlib.Path, expected: Mapping[str, Any] | None, content: bytes | None = None
) -> tuple[pq.FileMetaData, list[str], bytes | None]:
    """A Parquet file's footer, its columns, and its bytes.

    The bytes are None unless each row group would otherwise fetch all of them again.

    Raises:
        StoreError: it is truncated, or has not as many rows as its manifest says.
    """
    if content is None and paths.is_remote(path):
        content = path.read_bytes()
    file = open_part(path, content)
    if expected:
        check_rows(path, file, expected)
    return file.metadata, file.schema_arrow.names, content if file.num_row_groups > 1 else None


def files_of(folder: pathlib.Path, table: str) -> dict[pathlib.Path, Mapping[str, Any] | None]:
    """The files of one split's folder, unread: those in its manifest, else all table files there.

    Returns:
        Of every file what the manifest says of it; None where there is no manifest.

    Raises:
        StoreError: it is unfinished or of another table, has no file, or not just those listed.
    """
    manifest = _manifest_for_reading(folder, table)
    if manifest is None:
        files = parts_of(folder) or sorted(
            file for file in folder.iterdir() if file.suffix in (".parquet", ".jsonl")
        )
        if not files:
            raise StoreError(
                f"{folder}: no part-*.parquet in it, nor any other Parquet or JSONL file"
            )
        return dict.fromkeys(files)
    names = [part["name"] for part in manifest["parts"]]
    for name in names:
        if not (folder / name).exists():
            raise StoreError(
                f"{folder / name} is missing; {MANIFEST} expects {len(names)} parts: put it "
                f"back or make {folder} anew"
            )
    for part in parts_of(folder):
        if part.name not in names:
            raise StoreError(
                f"{part} is not in {MANIFEST}, which knows {len(names)} parts; remove it or "
                f"make {folder} anew"
            )
    return {folder / part["name"]: part for part in manifest["parts"]}


def _manifest_for_reading(folder: pathlib.Path, table: str) -> dict[str, Any] | None:
    """The manifest of a finished table; None where there is none, or it lists no parts."""
    manifest = read_manifest(folder)
    if manifest is None and (folder / UNFINISHED).exists():
        raise StoreError(
            f"{folder} is not finished ({len(parts_of(folder))} parts so far); run its stage "
            "again, it goes on from there"
        )
    if manifest is not None and manifest.get("table", table) != table:
        raise StoreError(f"{folder} holds {manifest['table']}; expected {table}")
    return manifest if manifest is not None and "parts" in manifest else None


def check_rows(path: pathlib.Path, file: pq.ParquetFile, expected: Mapping[str, Any]) -> None:
    """Raises StoreError if a part has not as many rows as its manifest says."""
    if file.metadata.num_rows != expected["rows"]:
        raise StoreError(
            f"{path}: {file.metadata.num_rows:,} rows; {MANIFEST} expects {expected['rows']:,}"
        )


def verified(path: pathlib.Path, expected: Mapping[str, Any]) -> bytes:
    """A part's bytes, which are those that the manifest knows."""
    content = path.read_bytes()
    if len(content) != expected["bytes"]:
        kind = "truncated" if len(content) < expected["bytes"] else "too long"
        raise StoreError(
            f"{path}: {kind}: {len(content):,} bytes; {MANIFEST} expects "
            f"{expected['bytes']:,}; {WAY_OUT}"
        )
    digest = part_digest(path, content)
    if digest != expected["sha256"]:
        fault = f"sha256 {digest[:12]}..., {MANIFEST} expects {expected['sha256'][:12]}..."
        raise StoreError(f"{path}: changed since it was written: {fault}; {WAY_OUT}")
    return content
