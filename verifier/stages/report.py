"""report: metrics.json and the page, out of a workdir's tables."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.report import page_folder, writing
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.system import log
from verifier.tables.results import REPORT


def stage(inputs: Mapping[str, Stage], place: str = "") -> Stage:
    """The report on a workdir's samples, and on labels and scores as far as there are some.

    Args:
        inputs: by role, `samples` and `labels`, `scores` where there are some, and the `generator`
            that drew.
        place: the workdir.
    """
    reads = {role: each.of() for role, each in inputs.items()}
    return Stage(report, makes=REPORT, reads=reads, place=place, by_one=True, tell=tell)


def report(context: Context) -> None:
    """Reports on the workdir that the stage works in."""
    config, root = context.config, context.workdir
    generator = context.source("generator") if "generator" in context.stage.reads else None
    here = [stage.makes for stage in context.stages if stage.place == context.stage.place]
    about = writing.about_workdir(root, generator, here)
    writing.write_report(root, context.stage.makes.folder(root), config.report, config.seed, about)


def tell(context: Context) -> None:
    """The table of results and where the report lies, for whoever started the run."""
    log.tell(page_folder.told(context.stage.makes.folder(context.workdir), writing.results_table))
