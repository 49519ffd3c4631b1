"""Splits out of tables that are held in memory."""

from __future__ import annotations

import pathlib

import pyarrow as pa

from verifier.data.scanning import Scan, scan_held
from verifier.evaluate import tables
from verifier.evaluate.tables import SplitRows


def held(table: pa.Table) -> Scan:
    return scan_held(table, pathlib.Path("made"))


def assemble(
    samples: pa.Table, problems: pa.Table, verdicts: pa.Table | str, scores: pa.Table | None, allow_missing: bool = False
) -> SplitRows:
    """`tables.assemble` of Arrow tables."""
    grader = verdicts if isinstance(verdicts, str) else None
    judged = verdicts if isinstance(verdicts, str) else tables.keep_labels(held(verdicts))
    kept = tables.keep_scores(held(scores)) if scores is not None else None
    return tables.assemble(tables.keep_samples(held(samples), grader), problems, judged, kept, allow_missing)
