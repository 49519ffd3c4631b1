"""report of a student: what each checkpoint solves, in which format, and which was chosen."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from verifier import config as config_lib
from verifier.evaluate import caveats, choices
from verifier.grading import answer
from verifier.report import formatting, page_folder, specialisation_page, writing
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import label, stored_labels
from verifier.system import log
from verifier.tables import choices as choices_table
from verifier.tables.results import REPORT
from verifier.text import few_shot
from verifier.text.problem import Problem
from verifier.text.split import HELDOUT, Split

_PROBLEMS = "problems"  # before the split, in the names of roles


def stage(
    config: config_lib.Config,
    problems: Stage,
    choice: Stage,
    student: Stage,
    tested: Mapping[str, Sequence[Stage]],
) -> Stage:
    """The report.

    Args:
        config: of the run.
        problems: that the candidates are tested on.
        choice: among the checkpoints.
        student: whose checkpoints they are.
        tested: by format the labels of every candidate, the one before training first.
    """
    reads = {"choices": choice.of(), "student": student.of()}
    splits = dict.fromkeys(split for labels in tested.values() for split in labels[0].splits)
    reads |= {f"{_PROBLEMS} {split}": problems.of(split.problems) for split in splits}
    for name, candidates in tested.items():
        roles = {f"{name}_{n}": each for n, each in enumerate(candidates)}
        reads |= stored_labels.by_split(roles)
        for split in filter(functools.partial(_graded_twice, config), splits):
            reads |= stored_labels.samples_of(roles, split)
    return Stage(report, makes=REPORT, reads=reads, by_one=True, tell=tell)


def _graded_twice(config: config_lib.Config, split: Split) -> bool:
    """Whether another grader is put beside: Fu et al. 2023 read BIG-Bench Hard by a lenient one."""
    return split.problems != HELDOUT and label.source_of(config, split) == "bbh"


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
    log.tell(page_folder.told(folder, specialisation_page.table))


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
    problems = _problems(context)
    kinds = {each.problem_id: _kind(each) for own in problems.values() for each in own}
    for name in config.formats:
        roles = [f"{name}_{number}" for number in range(config.checkpoints + 1)]
        beside = _beside(context, roles, problems)
        by_format[name] = choices.figures(
            [stored_labels.right_of(context, role) for role in roles],
            {criterion: each["candidate"] for criterion, each in kept.items()},
            config.sets,
            config.share,
            (context.config.report.resamples, seed),
            choices.Known(kinds, beside),
        )
        for split in problems:
            if own := by_format[name].get(split.set or split.of):
                own["grader"] = label.grader_of(context.config, split)
    return {
        "formats": by_format,
        "steps": [steps * n // config.checkpoints for n in range(config.checkpoints + 1)],
        "selection": kept,
        "learned": student.get("learned", {}),
        "notes": _notes(by_format),
    }


def _problems(context: Context) -> dict[Split, list[Problem]]:
    """The problems that candidates are tested on, by split."""
    roles = [
        (role, source.split)
        for role, source in context.stage.inputs()
        if role.startswith(f"{_PROBLEMS} ") and source.split is not None
    ]
    return {split: context.problems(role) for role, split in roles}


def _kind(problem: Problem) -> str:
    """The kind of problem that its source names: `chain` of `generated/chain`."""
    return problem.source.rpartition("/")[2]


def _beside(
    context: Context, roles: Sequence[str], problems: Mapping[Split, Sequence[Problem]]
) -> dict[str, list[dict[Split, choices.Right]]]:
    """What candidates solve by the word of another grader, by its name, where there is one."""
    beside: dict[str, list[dict[Split, choices.Right]]] = {}
    for split, asked in problems.items():
        if not _graded_twice(context.config, split):
            continue
        own = label.grader_of(context.config, split)
        gold = label.right_answers(context, asked)
        for grader in answer.beside(own):
            if grader != own:
                theirs = beside.setdefault(grader, [{} for _ in roles])
                for role, solved in zip(roles, theirs, strict=True):
                    solved |= stored_labels.right_by(context, role, split, gold, grader)
    return beside


def _notes(by_format: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is suspicious: nothing right, or everything."""
    told = (
        caveats.of_accuracy(
            f"{one}, {specialisation_page.words(name)}: every checkpoint",
            [point["value"] for point in each["accuracy"]],
        )
        for name, sets in by_format.items()
        for one, each in sets.items()
    )
    return [note for note in told if note]
