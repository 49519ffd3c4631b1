"""Writing a table of solutions while they come, by all processes; a kill costs little."""

from __future__ import annotations

import pathlib
import time
import types
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import pyarrow as pa

from verifier.errors import Stopped, WorkdirError
from verifier.run import hosts, inputs
from verifier.system import log, stopping
from verifier.tables import store

# Rows that wait to be written as one part, or as many as come in PART_SECONDS: a kill costs these.
PART_ROWS = 4096
PART_SECONDS = 60.0


def stop_if_asked(progress: log.Progress) -> None:
    if stopping.asked():
        raise Stopped(
            f"{progress.description} at {progress.done:,} of {progress.total:,} {progress.unit}s"
        )


def writer(
    folder: pathlib.Path,
    name: str,
    settings: dict[str, Any],
    sums: Mapping[str, Mapping[str, str]] = types.MappingProxyType({}),
    schema: pa.Schema | None = None,
) -> store.TableWriter:
    """A table that all processes write, each its own parts.

    Args:
        folder: of one split.
        name: of the table.
        settings: that it depends on.
        sums: of files of others that it depends on (`inputs.sums`).
        schema: of this table, where it has further columns; None: the usual one.

    Raises:
        StoreError: as `store.TableWriter`.
        WorkdirError: it was begun with other files.
    """
    processes = jax.process_index(), jax.process_count()

    def opened() -> store.TableWriter:
        table = store.TableWriter(folder, name, settings, *processes, schema)
        if sums and (hosts.is_first() or table.present()):
            begun = (table.first_start({"inputs": sums}) or {}).get("inputs", {})
            if changed := inputs.changed(begun, sums):
                raise WorkdirError(
                    f"{folder} was begun with other files of {', '.join(changed)}: put them back, "
                    "or remove the folder to start anew"
                )
        return table

    return hosts.in_turn(str(folder), opened)


def finish(table: store.TableWriter, manifest: dict[str, Any]) -> None:
    """Ends a table once all processes have written theirs."""
    hosts.wait(f"{table.folder} written")
    if hosts.is_first():
        table.finish({"seconds": table.seconds(), **manifest})
    hosts.wait(f"{table.folder} finished")


def write(table: store.TableWriter, groups: Iterable[list[dict[str, Any]]]) -> None:
    """Appends whole problems, many to a part."""
    waiting: list[dict[str, Any]] = []
    written = time.monotonic()
    try:
        for rows in groups:
            waiting += rows
            if len(waiting) >= PART_ROWS or time.monotonic() - written >= PART_SECONDS:
                table.append(waiting)
                waiting, written = [], time.monotonic()
    except Stopped:
        table.append(waiting)
        raise
    table.append(waiting)
