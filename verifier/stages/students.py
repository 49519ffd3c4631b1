"""report of students beside each other: a table for the terminal, a page, metrics.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from verifier.evaluate import students
from verifier.report import formatting, page_folder, students_page, writing
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import stored_labels
from verifier.system import log
from verifier.tables.results import REPORT

AGAINST = "label_only"


def stage(
    judged: Mapping[tuple[str, float], Stage], learners: Mapping[tuple[str, float], Stage]
) -> Stage:
    """The report.

    Args:
        judged: the labels of every student, by method and share of the training problems.
        learners: the students, likewise, where the report is to tell what they "learned".
    """
    reads = stored_labels.by_split({_role(*name): each for name, each in judged.items()})
    reads |= {_role(*name): each.of() for name, each in learners.items()}
    return Stage(report, makes=REPORT, reads=reads, by_one=True, tell=tell)


def report(context: Context) -> None:
    """Writes the page, its charts and metrics.json."""
    figures, learned = _figures(context), _learned(context)
    about = writing.about_workdir(context.workdir)
    page_folder.write(
        context.stage.makes.folder(context.workdir),
        {"splits": figures, "config_hash": about.config_hash, **learned},
        students_page.render(figures, AGAINST, about.name, formatting.today(), about.settings),
        students_page.charts(figures),
        figures,
    )


def tell(context: Context) -> None:
    """The table, and where the page lies."""
    folder = context.stage.makes.folder(context.workdir)
    splits = json.loads((folder / page_folder.METRICS).read_text())["splits"]
    tables = [students.as_text(each, name, AGAINST) for name, each in splits.items()]
    log.tell("\n\n".join([*tables, page_folder.where(folder)]))


def _figures(context: Context) -> dict[str, Any]:
    """The figures of every split."""
    report_knobs = context.config.report
    names = _names(context)
    right = {name: stored_labels.right_of(context, _role(*name)) for name in names}
    return {
        str(split.problems): students.figures(
            {name: by_split[split] for name, by_split in right.items()},
            AGAINST,
            report_knobs.resamples,
            context.config.seed,
        )
        for split in right[names[0]]
    }


def _learned(context: Context) -> dict[str, Any]:
    """What each student learned from, where that is to be told."""
    told = [
        {"method": method, "share": share, **context.manifest(_role(method, share))["learned"]}
        for method, share in _names(context)
        if _role(method, share) in context.stage.reads
    ]
    return {"learned": told} if told else {}


def _names(context: Context) -> list[tuple[str, float]]:
    """The students, by method and share."""
    own = context.config.step_by_step
    return [(method, share) for share in own.train_shares for method in own.methods]


def _role(method: str, share: float) -> str:
    return f"{method}_{share:g}"
