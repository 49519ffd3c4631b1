"""Splits and scans out of Arrow tables, by way of a Parquet file each."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq

from verifier.data.scanning import Scan, scan_file
from verifier.evaluate import tables
from verifier.evaluate.tables import SplitRows

_FOLDER = tempfile.TemporaryDirectory()
_NUMBERS = itertools.count()


def written(table: pa.Table) -> pathlib.Path:
    path = pathlib.Path(_FOLDER.name, f"{next(_NUMBERS)}.parquet")
    pq.write_table(table, path)
    return path


def held(table: pa.Table) -> Scan:
    return scan_file(written(table))


def assemble(
    samples: pa.Table, problems: pa.Table, verdicts: pa.Table | str, scores: pa.Table | None, allow_missing: bool = False, too_long: int = 0
) -> SplitRows:
    """`tables.assemble` of Arrow tables."""
    grader = verdicts if isinstance(verdicts, str) else None
    judged = verdicts if isinstance(verdicts, str) else tables.read_labels(written(verdicts))
    kept = dataclasses.replace(tables.read_scores(written(scores)), too_long=too_long) if scores is not None else None
    return tables.assemble(tables.read_samples(written(samples), grader), problems, judged, kept, allow_missing)
