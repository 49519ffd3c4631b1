"""Splits and scans out of Arrow tables, by way of a Parquet file each."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import tempfile
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from verifier.evaluate.candidates import Candidates
from verifier.tables import assembly, stored_splits
from verifier.tables.scanning import Part, Scan, View, scan_parts
from verifier.tables.split_rows import SplitRows

_FOLDER = tempfile.TemporaryDirectory()
_NUMBERS = itertools.count()


def written(table: pa.Table) -> pathlib.Path:
    path = pathlib.Path(_FOLDER.name, f"{next(_NUMBERS)}.parquet")
    pq.write_table(table, path)
    return path


def by_problem(candidates: Candidates, name: str) -> list[np.ndarray]:
    """A column of candidates, problem by problem."""
    return np.split(getattr(candidates, name), candidates.start_P[1:])


def held(table: pa.Table) -> Scan:
    return scan_of(written(table), table.column_names)


def scan_of(path: pathlib.Path, names: Sequence[str]) -> Scan:
    """The columns of a Parquet file as they are."""
    return scan_parts(
        path, [Part(path, View({name: name for name in names}, lambda column, _: column))]
    )


def assemble(
    samples: pa.Table,
    problems: pa.Table,
    verdicts: pa.Table | str,
    scores: pa.Table | None,
    allow_missing: bool = False,
    too_long: int = 0,
) -> SplitRows:
    """`tables.assemble` of Arrow tables."""
    grader = verdicts if isinstance(verdicts, str) else None
    graded = verdicts if isinstance(verdicts, str) else stored_splits.read_labels(written(verdicts))
    kept = (
        dataclasses.replace(stored_splits.read_scores(written(scores)), too_long=too_long)
        if scores is not None
        else None
    )
    return assembly.assemble(
        stored_splits.read_samples(written(samples), grader), problems, graded, kept, allow_missing
    )
