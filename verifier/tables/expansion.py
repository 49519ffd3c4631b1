"""How much memory a row group asks for once it is decoded, judged before it is.

A text that is stored once may stand in every row.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from verifier.errors import StoreError

ROOM = 1 << 30  # bytes that a piece may take without a second thought
# Times the file's size that a piece may ask for: repetitions that are worth storing are not
# repeated as often as that.
_MORE = 1000
_MOST_ROWS = (1 << 31) - 1  # rows are numbered in 32 bits
Open = Callable[[Sequence[str]], pq.ParquetFile]  # of the columns that are to stay dictionaries


def rows_at_once(
    path: pathlib.Path, size: int, open_file: Open, group: int, columns: Sequence[str], most: int
) -> int:
    """How many rows of a row group can be decoded at once.

    Args:
        path: of the file, for messages.
        size: of the file in bytes.
        open_file: opens it.
        group: number of the row group.
        columns: that are wanted.
        most: rows at once at most.

    Returns:
        `most`, or fewer where texts that stand in the group's dictionaries are long and stand in
        many rows.

    Raises:
        StoreError: so many rows, or so much text out of so small a file, that it is no honest
            table.
    """
    footer = open_file(()).metadata
    if footer.num_rows > _MOST_ROWS:
        raise StoreError(
            f"{path} says that it has {footer.num_rows:,} rows in {size:,} bytes; expected "
            f"{_MOST_ROWS:,} at most"
        )
    row_group = footer.row_group(group)
    chunks = [row_group.column(number) for number in range(row_group.num_columns)]
    wanted = [
        chunk for chunk in chunks if any(_is_in(chunk.path_in_schema, name) for name in columns)
    ]
    values = max((chunk.num_values for chunk in wanted), default=0)
    if values * 8 > 16 * ROOM and values * 8 > _MORE * size:
        raise _refusal(path, values * 8, size)
    texts = [
        chunk
        for chunk in wanted
        if chunk.physical_type == "BYTE_ARRAY" and chunk.has_dictionary_page
    ]
    share = min(1.0, most / max(row_group.num_rows, 1))  # of the group that is decoded at once
    long = [
        chunk.path_in_schema
        for chunk in texts
        if _longest(open_file, group, chunk.path_in_schema) * chunk.num_values * share > ROOM
    ]
    if not long:
        return most
    tops = [name for name in columns if any(_is_in(each, name) for each in long)]
    asked = max(
        sum(map(_size, batch.columns))
        for batch in open_file(long).iter_batches(most, [group], tops, use_threads=False)
    )
    if asked > ROOM and asked > _MORE * size:
        raise _refusal(path, asked, size)
    return most if asked <= ROOM else max(1, min(row_group.num_rows, most) * ROOM // asked)


def _is_in(path: str, name: str) -> bool:
    """Whether a leaf belongs to a column."""
    return path == name or path.startswith(f"{name}.")


def _longest(open_file: Open, group: int, name: str) -> int:
    """Bytes of the longest text in the dictionary of a column.

    The dictionary is whole once the column's first row is read.
    """
    first = next(open_file([name]).iter_batches(1, [group], [name], use_threads=False), None)
    leaves = [leaf for column in (first.columns if first else ()) for leaf in _leaves(column)]
    return max(
        (pc.max(pc.binary_length(leaf.dictionary)).as_py() or 0 for leaf in leaves), default=0
    )


def _size(column: pa.Array) -> int:
    """Bytes of the texts of a column, each as often as it stands there."""
    total = 0
    for leaf in _leaves(column):
        length = np.append(
            pc.fill_null(pc.binary_length(leaf.dictionary), 0).to_numpy(zero_copy_only=False), 0
        ).astype(np.int64)
        total += int(length[pc.fill_null(leaf.indices, -1).to_numpy(zero_copy_only=False)].sum())
    return total


def _leaves(column: pa.Array) -> Iterator[pa.DictionaryArray]:
    """The dictionaries in a column, however deep in lists and structs."""
    if pa.types.is_dictionary(column.type):
        yield column
    elif pa.types.is_struct(column.type):
        for inner in column.flatten():
            yield from _leaves(inner)
    elif (
        pa.types.is_list(column.type)
        or pa.types.is_large_list(column.type)
        or pa.types.is_map(column.type)
    ):
        yield from _leaves(column.values)


def _refusal(path: pathlib.Path, asked: int, size: int) -> StoreError:
    return StoreError(
        f"{path}: {size:,} bytes that ask for {asked / 1e9:,.1f} GB; no honest table is packed "
        "like that: write it anew"
    )
