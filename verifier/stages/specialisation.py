"""report of a student: what each checkpoint solves, in which format, and which was chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from verifier.evaluate import choices
from verifier.report import formatting, page_folder, specialisation_page, writing
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import stored_labels
from verifier.system import log
from verifier.tables import choices as choices_table
from verifier.tables.results import REPORT
from verifier.text import few_shot


def stage(choice: Stage, student: Stage, tested: Mapping[str, Sequence[Stage]]) -> Stage:
    """The report.

    Args:
        choice: among the checkpoints.
        student: whose checkpoints they are.
        tested: by format the labels of every candidate, the one before training first.
    """
    reads = {"choices": choice.of(), "student": student.of()}
    for name, candidates in tested.items():
        reads |= stored_labels.by_split({f"{name}_{n}": each for n, each in enumerate(candidates)})
    return Stage(report, makes=REPORT, reads=reads, by_one=True, tell=tell)


def report(context: Context) -> None:
    """Writes the page, the charts and metrics.json."""
    metrics = _metrics(context)
    about = writing.about_workdir(context.workdir)
    page_folder.write(
        context.stage.makes.folder(context.workdir),
        metrics | {"config_hash": about.config_hash},
        specialisation_page.render(metrics, about.name, formatting.today(), about.settings),
        specialisation_page.charts(metrics),
        few_shot.FORMATS,
    )


def tell(context: Context) -> None:
    """The table, and where the page lies."""
    folder = context.stage.makes.folder(context.workdir)
    table = specialisation_page.table(json.loads((folder / page_folder.METRICS).read_text()))
    log.tell(f"{table}\n\n{page_folder.where(folder)}")


def _metrics(context: Context) -> dict[str, Any]:
    """What metrics.json holds."""
    config, seed = context.config.select, context.config.seed
    rows = choices_table.read(context.source("choices"))
    kept = {
        row["criterion"]: {"candidate": int(row["candidate"].split("=")[1]), "value": row["value"]}
        for row in rows
        if row["chosen"]
    }
    student = context.manifest("student")
    steps = student["finetune"]["steps"]
    by_format = dict[str, dict[str, Any]]()
    for name in config.formats:
        roles = [f"{name}_{number}" for number in range(config.checkpoints + 1)]
        by_format[name] = choices.figures(
            [stored_labels.right_of(context, role) for role in roles],
            {criterion: each["candidate"] for criterion, each in kept.items()},
            config.sets,
            config.share,
            (context.config.report.resamples, seed),
        )
    return {
        "formats": by_format,
        "steps": [steps * n // config.checkpoints for n in range(config.checkpoints + 1)],
        "selection": kept,
        "learned": student.get("learned", {}),
        "notes": _notes(by_format),
    }


def _notes(by_format: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is suspicious: nothing right, or everything."""
    notes = []
    for name, sets in by_format.items():
        for one, each in sets.items():
            values = {point["value"] for point in each["accuracy"]}
            if values in ({0.0}, {1.0}):
                notes.append(
                    f"{one}, {specialisation_page.words(name)}: every checkpoint solves "
                    f"{'nothing' if values == {0.0} else 'everything'}; look at what is written "
                    "before believing it"
                )
    return notes
