"""report: metrics.json and the page, out of a workdir's tables."""

from __future__ import annotations

import json
from collections.abc import Mapping

from verifier.report import writing
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.system import log
from verifier.tables.results import REPORT


def stage(tables: Mapping[str, Stage], place: str = "") -> Stage:
    """The report on a workdir's samples, and on labels and scores as far as there are some."""
    reads = {role: table.of() for role, table in tables.items()}
    return Stage(report, makes=REPORT, reads=reads, place=place, by_one=True)


def report(context: Context) -> None:
    """Reports on the workdir that the stage works in; the table of results is said at the end."""
    config = context.config
    folder = context.stage.makes.folder(context.workdir)
    writing.write_report(context.workdir, folder, config.report, config.seed)


def tell(context: Context) -> None:
    """The table of results and where the report lies, for whoever started the run."""
    folder = context.stage.makes.folder(context.workdir)
    table = writing.results_table(json.loads((folder / "metrics.json").read_text()))
    log.tell(f"{table}\n\npage     {folder / 'index.html'}\nmetrics  {folder / 'metrics.json'}")
