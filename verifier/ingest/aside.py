"""Rows of files larger than memory, put aside on disk so that those of a problem come together."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

_LOT = 1 << 28  # bytes of the files that are held together, on average
_MOST = 256  # lots: each is a file that is open


@contextlib.contextmanager
def by_problem(
    folder: pathlib.Path, tables: Iterable[pa.Table], size: int
) -> Iterator[Iterator[pa.Table]]:
    """Lots of whole problems, by rising `problem_id`, rows of one in the order in which they came.

    Args:
        folder: where rows are put aside; it is removed before and behind.
        tables: all rows, with a column `problem_id`.
        size: of the files in bytes.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        lots = min(1 + size // _LOT, _MOST)
        _put(folder, tables, lots)
        yield _lots(folder, lots)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: pathlib.Path, tables: Iterable[pa.Table], lots: int) -> None:
    with contextlib.ExitStack() as stack:
        streams: dict[int, pa.RecordBatchStreamWriter] = {}
        for table in tables:
            lot_R = np.array(
                [zlib.crc32(each.encode()) % lots for each in table["problem_id"].to_pylist()]
            )
            for lot in np.unique(lot_R).tolist():
                if lot not in streams:
                    file = stack.enter_context(pa.OSFile(str(folder / str(lot)), "wb"))
                    streams[lot] = stack.enter_context(pa.ipc.new_stream(file, table.schema))
                streams[lot].write_table(table.take(np.flatnonzero(lot_R == lot)))


def _lots(folder: pathlib.Path, lots: int) -> Iterator[pa.Table]:
    for lot in range(lots):
        if (path := folder / str(lot)).exists():
            with pa.OSFile(str(path), "rb") as file:
                rows = pa.ipc.open_stream(file).read_all().combine_chunks()
            number = pa.array(np.arange(len(rows)))
            order = rows.select(["problem_id"]).append_column("number", number)
            order = order.sort_by([("problem_id", "ascending"), ("number", "ascending")])
            yield rows.take(order["number"])
