"""Tables on disk: parts that are written whole, a manifest that is written last.

    tables/samples/split=test/
        unfinished.json       the settings, from the first moment until the table is finished; what
                              a new start must know to go on
        part-00000-3f...parquet  whole problems: what is here need not be made again; the name ends
                                 in the first digits of its sum
        manifest.json         the end: schema version, rows, parts with sizes and sums, settings;
                              takes the place of unfinished.json

Other tools read the parts as they are; with pandas:
`pd.read_parquet(glob("tables/samples/split=*/*.parquet"), partitioning=None)`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from verifier.config import Config, differences, flatten, with_defaults
from verifier.errors import StoreError, WriteError
from verifier.system import checksums
from verifier.system.atomic import ASIDE, write_bytes
from verifier.tables import lists
from verifier.tables.manifests import MANIFEST, UNFINISHED, read_manifest, refuse_other_schema
from verifier.tables.parts import number_of, open_part, part_digest, part_name, parts_of
from verifier.tables.reading import duplicate_key, read_table
from verifier.tables.schemas import SCHEMA_VERSION, SCHEMAS, key_of, schema_of, unit_of

__all__ = [
    "SCHEMAS",
    "TableWriter",
    "read_manifest",
    "read_table",
    "remove_table",
]


class TableWriter:
    """Writes one split of a table, part by part.

    Started again after a crash, it goes on after the last whole part.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        table: str,
        settings: Mapping[str, Any] | None = None,
        process: int = 0,
        processes: int = 1,
        schema: pa.Schema | None = None,
    ) -> None:
        """Opens a folder, new or left unfinished.

        Args:
            folder: of one split, such as `tables/samples/split=test`.
            table: which of SCHEMAS.
            settings: flat and JSON-able; what the rows depend on. Kept in `unfinished.json`, then
                in the manifest.
            process: which of several writers of the same table this is. Number 0 must have opened
                it before the others do, all of them before any appends, and it must be the one to
                finish.
            processes: how many writers there are.
            schema: another one than the table's usual: see `schemas.variant`.

        Raises:
            StoreError: the table is finished, or its parts were written with other settings (each
                is named, old and new).
        """
        self.folder = folder
        self.table = table
        self.schema = schema_of(table) if schema is None else schema
        self.settings = json.loads(json.dumps(dict(settings or {})))
        self._process = process
        if (self.folder / MANIFEST).exists():
            raise StoreError(
                f"{self.folder} holds a finished table; read it, or remove the folder to write "
                "it anew"
            )
        # Left by a crash in the middle of a write.
        for left in self.folder.glob(f"*{ASIDE}") if process == 0 else ():
            left.unlink()
        self._claim(process)
        parts = parts_of(self.folder)
        self._next, self._stride = 1 + max(map(number_of, parts), default=-1) + process, processes
        self._earlier, self._since = float(self._unfinished.get("seconds", 0.0)), time.monotonic()
        self._unit = unit_of(table)
        self._present = {
            unit for part in parts for unit in _units_in(part, self.schema, self._unit)
        }

    def present(self) -> set[Any]:
        """The problems that are stored already, or what else a table's unit is."""
        return set(self._present)

    def stored(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of what is stored already."""
        parts = (open_part(part, part.read_bytes()) for part in parts_of(self.folder))
        tables = [part.read(list(columns)) for part in parts]
        names = [self.schema.field(name) for name in columns]
        return pa.concat_tables(tables) if tables else pa.schema(names).empty_table()

    def first_start(self, facts: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the first start noted of itself; None where it noted nothing.

        A start that finds no part yet is the first, and notes these `facts`.
        """
        if self._present:
            return self._unfinished.get("first_start")
        with self._safe(UNFINISHED):
            self._note(first_start=dict(facts))
        return facts

    def begin(self) -> None:
        """The work on the table begins now, not when it was opened."""
        self._since = time.monotonic()

    def seconds(self) -> float:
        """What the work has taken, that of earlier starts up to their last parts included."""
        return self._earlier + time.monotonic() - self._since

    def append(self, rows: Sequence[Mapping[str, Any]] | pa.Table) -> None:
        """Writes whole problems as one part; when it returns, they are safe on disk.

        Args:
            rows: one mapping a row with exactly the table's columns (numpy arrays may stand for
                lists), or an Arrow table.

        Raises:
            StoreError: wrong columns or values, a key twice, a problem that an earlier part holds,
                or a full disk; nothing is written then.
        """
        table = rows if isinstance(rows, pa.Table) else self._as_table(rows)
        if not len(table):
            return
        self._check(table)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        content = memoryview(sink.getvalue())
        part = part_name(self._next, content)
        with self._safe(part):
            if self._process == 0:
                self._note(seconds=self.seconds())
            write_bytes(self.folder / part, content)
        self._next += self._stride
        self._present.update(pc.unique(table[self._unit]).to_pylist())

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Writes `manifest.json`; from then on the table counts as finished.

        Args:
            manifest: what is to be known beside rows, parts and settings; JSON-able.
        """
        parts: list[dict[str, Any]] = []
        digests: dict[Any, bytes] = {}
        for part in parts_of(self.folder):
            content = part.read_bytes()
            digest = part_digest(part, content)
            rows = open_part(part, content).read()
            parts.append(
                {"name": part.name, "rows": len(rows), "bytes": len(content), "sha256": digest}
            )
            digests |= _unit_digests(rows, self.table)
        own = {
            "table": self.table,
            "schema_version": SCHEMA_VERSION,
            "id": _content_id(digests),
            "rows": sum(part["rows"] for part in parts),
            "parts": parts,
        }
        if taken := own.keys() & manifest.keys():
            raise StoreError(
                f"{self.folder}: the manifest's own entries {sorted(taken)} cannot be given; "
                "call them something else"
            )
        with self._safe(MANIFEST):
            checksums.write_sealed(
                self.folder / MANIFEST, {**own, "settings": self.settings, **manifest}
            )
        (self.folder / UNFINISHED).unlink(missing_ok=True)

    def _claim(self, process: int) -> None:
        """Notes the settings before the first part, or checks them against those of the parts."""
        unfinished, parts = self.folder / UNFINISHED, parts_of(self.folder)
        _refuse_unknown_parts(self.folder, parts)
        if not parts and process == 0:  # what was begun and has no part may be something else now
            self._unfinished = {
                "table": self.table,
                "schema_version": SCHEMA_VERSION,
                "settings": self.settings,
            }
            with self._safe(UNFINISHED):
                self._note()
            return
        self._unfinished = old = checksums.read_sealed(
            unfinished, f"remove {self.folder} to start anew"
        )
        refuse_other_schema(old, self.folder)
        # knobs that came later acted as by default
        there = with_defaults(old["settings"], self.settings, flatten(Config()))
        changed = differences(
            {"table": old["table"], **there}, {"table": self.table, **self.settings}
        )
        if changed:
            lines = "\n  ".join(changed)
            way_out = "Go on with the old ones, or remove the folder to start anew."
            raise StoreError(f"{self.folder} was begun with other settings:\n  {lines}\n{way_out}")

    def _note(self, **more: Any) -> None:
        """Adds to what a new start must know."""
        self._unfinished |= more
        checksums.write_sealed(self.folder / UNFINISHED, self._unfinished)

    def _as_table(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        names = set(self.schema.names)
        for number, row in enumerate(rows):
            if row.keys() != names:
                wrong = (
                    f"columns missing {sorted(names - row.keys())}, unknown "
                    f"{sorted(row.keys() - names)}"
                )
                raise StoreError(
                    f"{self.folder}, row {number} of {len(rows)}: {wrong}; expected "
                    f"{self.schema.names}"
                )
        arrays = []
        for field in self.schema:
            try:
                arrays.append(lists.array([row[field.name] for row in rows], field.type))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
                raise StoreError(
                    f"{self.folder}: column {field.name!r} must be {field.type}: {error}"
                ) from error
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _check(self, table: pa.Table) -> None:
        path = self.folder / f"part-{self._next:05d}"
        if not table.schema.equals(self.schema):
            raise StoreError(
                f"{path}: the rows have the columns\n{table.schema}\nexpected\n{self.schema}"
            )
        for field in self.schema:
            if not field.nullable and table[field.name].null_count:
                raise StoreError(
                    f"{path}: column {field.name!r} has {table[field.name].null_count} nulls; "
                    "expected none"
                )
        if twice := duplicate_key(table, key_of(self.table)):
            raise StoreError(
                f"{path}: {twice} stands twice in the rows to be written; expected once"
            )
        again = self._present.intersection(pc.unique(table[self._unit]).to_pylist())
        if again:
            unit = self._unit.removesuffix("_id")
            raise StoreError(
                f"{path}: {unit} {min(again)} is in an earlier part; expected every {unit} "
                "whole in one part, for resuming"
            )

    @contextlib.contextmanager
    def _safe(self, name: str) -> Iterator[None]:
        """What has been written before stays, whatever is refused now on the way to a file."""
        try:
            yield
        except WriteError as error:
            raise StoreError(
                f"{self.folder / name}: {error}; the parts before it are whole, and a new "
                "start goes on from there"
            ) from error


def remove_table(folder: pathlib.Path) -> None:
    """Removes one split of a table.

    Its manifest goes first, so that a crash half way leaves no table that looks whole.
    """
    for path in (
        folder / MANIFEST,
        folder / UNFINISHED,
        *parts_of(folder),
        *folder.glob(f"*{ASIDE}"),
    ):
        path.unlink(missing_ok=True)


def begun_with(folder: pathlib.Path) -> dict[str, Any] | None:
    """What is noted of a table that has parts and is not finished, its `settings` and what its
    `first_start` noted of itself; None where it has no part.

    Raises:
        StoreError: parts of which nobody knows the settings.
    """
    parts = parts_of(folder)
    if not parts:
        return None
    _refuse_unknown_parts(folder, parts)
    return checksums.read_sealed(folder / UNFINISHED, f"remove {folder} to start anew")


def _refuse_unknown_parts(folder: pathlib.Path, parts: Sequence[pathlib.Path]) -> None:
    if parts and not (folder / UNFINISHED).exists():
        raise StoreError(
            f"{parts[0]} is there, but no {UNFINISHED} to say with which settings it was made; "
            f"remove {folder}"
        )


def _units_in(part: pathlib.Path, schema: pa.Schema, unit: str) -> list[Any]:
    """The units of an earlier part, which must be whole."""
    content = part.read_bytes()
    part_digest(part, content)
    file = open_part(part, content)
    if missing := [name for name in schema.names if name not in file.schema_arrow.names]:
        raise StoreError(f"{part}: no column {missing[0]!r}; it has {file.schema_arrow.names}")
    return pc.unique(file.read([unit])[unit]).to_pylist()


def _unit_digests(rows: pa.Table, table: str) -> dict[Any, bytes]:
    """SHA-256 of each unit's rows, whatever their order."""
    unit = unit_of(table)
    rows = rows.sort_by([(name, "ascending") for name in key_of(table)])
    ends = np.cumsum([count["counts"] for count in pc.value_counts(rows[unit]).to_pylist()])
    digests = {}
    for first, end in itertools.pairwise([0, *ends.tolist()]):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            # A slice would keep the whole part's buffers.
            stream.write_table(rows.take(pa.array(range(first, end))).combine_chunks())
        digests[rows[unit][first].as_py()] = hashlib.sha256(sink.getvalue()).digest()
    return digests


def _content_id(digests: Mapping[Any, bytes]) -> str:
    """16 hex digits of a SHA-256 over all units, whatever their parts and order."""
    return hashlib.sha256(b"".join(digest for _, digest in sorted(digests.items()))).hexdigest()[
        :16
    ]
