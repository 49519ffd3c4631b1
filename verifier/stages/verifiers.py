"""report of several verifiers of the same samples: a table, a page, metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.evaluate import verifiers
from verifier.evaluate.candidates import Candidates
from verifier.report import formatting, page_folder, verifiers_page, writing
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.system import log
from verifier.tables import stored_splits
from verifier.tables.results import REPORT, Table
from verifier.text.split import TEST, Split

_SCORES = "scores of "


def stage(scores: Mapping[str, Stage], pairs: Stage) -> Stage:
    """The report.

    Args:
        scores: by verifier, the table of its place that it ranks by; the samples are the same in
            all.
        pairs: the verifier that learned from pairs, whose counts are shown.
    """
    reads = {f"{_SCORES}{name}": each.of() for name, each in scores.items()}
    reads["pairs"] = pairs.of()
    return Stage(report, makes=REPORT, reads=reads, by_one=True, tell=tell)


def report(context: Context) -> None:
    """Writes the page, its charts and metrics.json."""
    figures = _figures(context)
    learned = context.manifest("pairs")["pairs"]
    about = writing.about_workdir(context.workdir)
    page_folder.write(
        context.stage.makes.folder(context.workdir),
        {"splits": figures, "pairs": learned, "config_hash": about.config_hash},
        verifiers_page.render(figures, learned, about.name, formatting.today(), about.settings),
        verifiers_page.charts(figures),
        figures,
    )


def tell(context: Context) -> None:
    """The table, and where the page lies."""
    log.tell(page_folder.told(context.stage.makes.folder(context.workdir), _as_text))


def _as_text(metrics: Mapping[str, Any]) -> str:
    return "\n\n".join(verifiers.as_text(each, name) for name, each in metrics["splits"].items())


def _figures(context: Context) -> dict[str, Any]:
    """The figures of every test set."""
    config = context.config.report
    ranked: dict[Split, dict[str, Candidates]] = {}
    for role, source in context.stage.inputs():
        if not role.startswith(_SCORES):
            continue
        table = source.stage.makes
        assert isinstance(table, Table)  # as `stage` is given them
        tests = [split for split in source.stage.splits if split.of == TEST.of]
        place = source.stage.workdir(context.root)
        found = stored_splits.read_workdir(
            place, tests, allow_missing=config.allow_missing, scores=table
        )
        for split, rows in found.items():
            ranked.setdefault(split, {})[role.removeprefix(_SCORES)] = rows.candidates
    return {
        str(split): verifiers.figures(own, config.ks, config.resamples, context.config.seed)
        for split, own in ranked.items()
    }
