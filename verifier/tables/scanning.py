"""Reads tables piece by piece, and chosen rows again later: for tables larger than memory.

A piece is at most PIECE rows of one row group. What is no Parquet is held whole, and so are the
bytes of a file of several row groups behind an object store. What is wrong with a file is named as
`reading.read_table` does.
"""

from __future__ import annotations

import collections
import concurrent.futures
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from verifier.errors import StoreError
from verifier.tables import manifests, reading
from verifier.tables.parts import decode_group

PIECE = 1 << 16  # rows that are decoded at once: some 100 MB of tokens and their values
# Threads: decoding lets go of the interpreter. More would only hold more pieces at a time.
_WORKERS = 2
_Made = TypeVar("_Made")


class View(NamedTuple):
    """How the columns of one file of others are named and made here.

    Attributes:
        fields: by the name here the column in the file; what it lacks is null.
        make: of a column and its name here the column as it is to be.
    """

    fields: Mapping[str, str]
    make: Callable[[pa.ChunkedArray, str], pa.ChunkedArray]


class _Group(NamedTuple):
    """Rows that are decoded as one: a row group of a Parquet file, or a table held in memory."""

    path: pathlib.Path
    number: int
    rows: int
    held: pa.Table | pq.FileMetaData  # the rows themselves, or the footer of their file
    content: bytes | None = None  # of the file, where it is not to be fetched again
    view: View | None = None
    # The number of its first row in the file, or [rows] the number of the row of the file that each
    # of its rows was made of.
    row: np.ndarray | int = 0


class Scan:
    """The rows of one file or of one split's folder, in stored order.

    Attributes:
        path: of the file or folder, for messages.
        names: the columns that all of it has.
        rows: how many there are.
    """

    def __init__(
        self, path: pathlib.Path, groups: Sequence[_Group], names: Sequence[str], table: str = ""
    ) -> None:
        self.path, self.names, self.rows = path, list(names), sum(group.rows for group in groups)
        self._groups, self._table = list(groups), table
        self._first = np.cumsum([0, *(group.rows for group in groups)])

    def pieces(
        self, columns: Sequence[str], work: Callable[[pa.Table, int], _Made]
    ) -> Iterator[_Made]:
        """What `work` makes of every piece and the number of its first row, in stored order.

        Threads do the work.

        All that is made of a few row groups is held at a time, so it should be small.

        Raises:
            StoreError: a column is not there, of a wrong type or with empty values, or a file is
                damaged inside.
        """

        def whole(number: int) -> list[_Made]:
            first, made = int(self._first[number]), []
            for piece in self._decoded(self._groups[number], columns):
                made.append(work(piece, first))
                first += len(piece)
            return made

        with concurrent.futures.ThreadPoolExecutor(_WORKERS) as pool:
            waiting: collections.deque[concurrent.futures.Future[list[_Made]]] = collections.deque()
            for number in range(len(self._groups)):
                waiting.append(pool.submit(whole, number))
                if len(waiting) > 2 * _WORKERS:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    def one_by_one(
        self, columns: Sequence[str], most: int | None = None
    ) -> Iterator[tuple[pa.Table, int]]:
        """Every piece and the number of its first row, in stored order, one held at a time.

        For work that is slower than decoding, and for rows that are long, of which a piece has
        `most`.

        Raises:
            StoreError: as `pieces`.
        """
        first = 0
        for group in self._groups:
            for piece in self._decoded(group, columns, most):
                yield piece, first
                first += len(piece)

    def take(self, rows: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Chosen rows in the order asked for; only the row groups that hold them are decoded.

        Args:
            rows: [any] numbers of rows, from 0.
            columns: as in `pieces`.
        """
        wanted = np.unique(rows)
        groups = np.unique(np.searchsorted(self._first, wanted, side="right") - 1)

        def chosen(number: int) -> list[pa.Table]:
            first, taken = int(self._first[number]), []
            for piece in self._decoded(self._groups[number], columns):
                low, high = np.searchsorted(wanted, [first, first + len(piece)])
                taken.append(piece.take(wanted[low:high] - first))
                first += len(piece)
            return taken

        with concurrent.futures.ThreadPoolExecutor(_WORKERS) as pool:
            taken = [piece for pieces in pool.map(chosen, groups.tolist()) for piece in pieces]
        if not taken:
            raise ValueError(f"{self.path}: no row was asked for")
        return pa.concat_tables(taken).take(np.searchsorted(wanted, rows))

    def groups_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row group of each row, and how many rows each group has: what taking them costs."""
        return np.searchsorted(self._first, rows, side="right") - 1, np.diff(self._first)

    def named(self, rows: np.ndarray) -> str:
        """Rows as people count them in their files, the first few: "3, 8, 9 and 12 more".

        Where there are several files, the file's name stands with it.
        """
        several = len({group.path for group in self._groups}) > 1
        words = []
        for row in rows[:3].tolist():
            index = int(np.searchsorted(self._first, row, side="right")) - 1
            group, own = self._groups[index], row - int(self._first[index])
            number = group.row + own if isinstance(group.row, int) else int(group.row[own])
            words.append(f"{number + 1}" + (f" ({group.path.name})" if several else ""))
        return ", ".join(dict.fromkeys(words)) + (
            f" and {len(rows) - 3:,} more" if len(rows) > 3 else ""
        )

    def _decoded(
        self, group: _Group, columns: Sequence[str], most: int | None = None
    ) -> Iterator[pa.Table]:
        for name in columns:
            if name not in self.names:
                raise StoreError(
                    f"{group.path}: no column {name!r}; it has {', '.join(self.names)}"
                )
        if group.view is None:
            yield from self._stored(group, columns, most)
            return
        there = [name for name in columns if name in group.view.fields]
        for piece in self._stored(
            group, list(dict.fromkeys(group.view.fields[name] for name in there)), most
        ):
            made = {name: group.view.make(piece[group.view.fields[name]], name) for name in there}
            yield pa.table(
                {name: made[name] if name in made else pa.nulls(len(piece)) for name in columns}
            )

    def _stored(
        self, group: _Group, columns: Sequence[str], most: int | None
    ) -> Iterator[pa.Table]:
        most = most or PIECE
        if isinstance(group.held, pa.Table):
            pieces: Iterator[pa.Table] = (
                group.held.select(columns).slice(at, most) for at in range(0, group.rows, most)
            )
        else:
            pieces = decode_group(
                group.path, group.held, group.number, columns, most, group.content
            )
        for piece in pieces:
            yield reading.cast(piece, group.path, self._table) if self._table else piece


class Part(NamedTuple):
    """One file of others: a Parquet file, or the rows that were read of another one.

    Attributes:
        path: of the file.
        view: how its columns are named and made here.
        held: the rows; None: they are decoded from the Parquet file when they are wanted.
        row: [rows] of the file that each row of `held` was made of, where one may give several or
            none.
        content: the bytes of the Parquet file, where it is not one on disk.
    """

    path: pathlib.Path
    view: View
    held: pa.Table | None = None
    row: np.ndarray | None = None
    content: bytes | None = None


def scan_table(path: pathlib.Path, table: str) -> Scan:
    """One split's folder, or one file, of a table; whole files that agree with their manifest.

    Raises:
        StoreError: nothing there, unfinished, truncated, or not what the manifest says.
    """
    return Scan(path, *_groups(manifests.checked_files(path, table)), table)


def scan_parts(path: pathlib.Path, parts: Sequence[Part]) -> Scan:
    """The rows of some files made elsewhere, file after file, with all columns that any has.

    Args:
        path: that they were asked for by.
        parts: the files.

    Raises:
        StoreError: a Parquet file is truncated.
    """
    groups: list[_Group] = []
    for part in parts:
        if part.held is not None:
            groups.append(
                _Group(
                    part.path,
                    0,
                    len(part.held),
                    part.held,
                    view=part.view,
                    row=0 if part.row is None else part.row,
                )
            )
            continue
        footer, _, content = manifests.read_footer(part.path, None, part.content)
        first = 0
        for number in range(footer.num_row_groups):
            rows = footer.row_group(number).num_rows
            groups.append(
                _Group(part.path, number, rows, footer, part.content or content, part.view, first)
            )
            first += rows
    return Scan(
        path, groups, list(dict.fromkeys(name for part in parts for name in part.view.fields))
    )


def _groups(
    files: Mapping[pathlib.Path, Mapping[str, Any] | None],
) -> tuple[list[_Group], list[str]]:
    """The row groups of some files, and the columns that all files have."""
    groups: list[_Group] = []
    names: list[list[str]] = []
    for path, expected in files.items():
        if reading.is_jsonl(path):
            held = reading.read_external(path)
            groups.append(_Group(path, 0, len(held), held))
            names.append(held.column_names)
        else:
            footer, there, content = manifests.read_footer(path, expected)
            sizes = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
            groups += [
                _Group(path, number, rows, footer, content) for number, rows in enumerate(sizes)
            ]
            names.append(there)
    return groups, [
        name for name in names[0] if all(name in others for others in names)
    ] if names else []
