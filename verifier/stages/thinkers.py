"""report of a model that thinks: what thoughts gained, of all its stages and of other runs."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from verifier.errors import UserError
from verifier.evaluate import thoughts as gained
from verifier.report import (
    formatting,
    page_folder,
    thought_charts,
    thoughts_page,
    writing,
)
from verifier.run import thinker_folder
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages.thoughts import THOUGHTS
from verifier.system import log, metric_log, paths
from verifier.tables import store
from verifier.tables import thoughts as stored
from verifier.tables.manifests import read_manifest
from verifier.tables.results import GENERATOR, REPORT
from verifier.text.split import HELDOUT

_LOG = "finetune.jsonl"


def stage(thinkers: Sequence[Stage], judged: Sequence[Stage]) -> Stage:
    """The report.

    Args:
        thinkers: of the run, in the order of their training, behind the decoder that they started
            from: the losses of all are held against its own.
        judged: the table thoughts of each.
    """
    reads = {}
    for number, (thinker, table) in enumerate(zip(thinkers, judged, strict=True)):
        reads[f"thinker {number}"] = thinker.of()
        reads[f"thoughts {number}"] = table.of(HELDOUT)
    return Stage(report, makes=REPORT, reads=reads, by_one=True, tell=tell)


def report(context: Context) -> None:
    """Writes the page, its charts and metrics.json."""
    config, places = context.config, _places(context)
    tables = {name: _table(place) for name, place in places.items()}
    figures = gained.figures(
        {name: stored.gains(table) for name, table in tables.items()},
        config.report.resamples,
        config.seed,
    )
    curves = {name: metric_log.read(place / "logs" / _LOG) for name, place in places.items()}
    charts, about = thought_charts.charts(figures, curves), writing.about_workdir(context.workdir)
    page_folder.write(
        context.stage.makes.folder(context.workdir),
        {**figures, "config_hash": about.config_hash},
        thoughts_page.render(
            figures,
            tables,
            charts,
            (about.name, formatting.today(), about.settings),
            (config.quiet.report_windows, config.seed),
        ),
        charts,
        thought_charts.possible(len(tables)),
    )


def tell(context: Context) -> None:
    """The table, and where the page lies."""
    log.tell(page_folder.told(context.stage.makes.folder(context.workdir), gained.as_text))


def _places(context: Context) -> dict[str, pathlib.Path]:
    """The workdirs of all thinkers, those of other runs behind the run's own, by name.

    Raises:
        UserError: another run has no thoughts, or two are called the same.
    """
    own = [
        source.stage.workdir(context.root)
        for role, source in context.stage.inputs()
        if role.startswith("thinker")
    ]
    made = {_name(place, "" if place == context.root else place.name): place for place in own}
    for text in context.config.quiet.report_beside:
        root = paths.to_path(text)
        others = [
            place
            for place in (root, *sorted(root.glob("stage=*")))
            if read_manifest(THOUGHTS.folder(place, HELDOUT))
        ]
        if not others:
            raise UserError(
                f"quiet.report_beside: {root} has no finished table of thoughts; expected the "
                "workdir of a run of quiet_star whose stage thoughts is done"
            )
        for place in others:
            name = _name(place, "/".join([root.name, *place.relative_to(root).parts]))
            if name in made:
                raise UserError(
                    f"quiet.report_beside: two runs would be called {name!r} in the report; "
                    "give one of the workdirs another name"
                )
            made[name] = place
    return made


def _name(place: pathlib.Path, name: str) -> str:
    """What a thinker is called: where it is from, and what its thoughts are."""
    manifest: Mapping[str, Any] = read_manifest(GENERATOR.folder(place)) or {}
    told = manifest.get(thinker_folder.THOUGHTS, {})
    if not told.get("thought_tokens"):
        kind = "no thoughts"
    else:
        what = "pauses" if told["thought_source"] == "pause" else "thoughts"
        kind = f"{what} of {told['thought_tokens']}, {told['ahead']} ahead"
    return f"{name}: {kind}" if name else kind


def _table(place: pathlib.Path) -> pa.Table:
    return store.read_table(THOUGHTS.folder(place, HELDOUT), "thoughts")
