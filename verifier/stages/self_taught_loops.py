"""report of the loops of a model that learns from itself: a table, a page, metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc

from verifier.evaluate import loops
from verifier.evaluate.choices import Right
from verifier.report import formatting, loops_page, page_folder, writing
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import plateau, stored_labels
from verifier.system import log
from verifier.tables import store, verdicts
from verifier.tables.results import REPORT
from verifier.text.problem import Problem
from verifier.text.split import TEST, TRAIN, Split

_TESTED = "problems of "  # before the name of a test set


def stage(problems: Stage, models: Sequence[Stage], judged: Sequence[Stage]) -> Stage:
    """The report.

    Args:
        problems: of the run.
        models: of the base and of every loop.
        judged: the labels of what each has drawn.
    """
    reads = {"problems": problems.of(TRAIN)}
    reads |= {_asked(split): problems.of(split) for split in problems.splits if split.of == TEST.of}
    reads |= {f"generator {loop}": model.of() for loop, model in enumerate(models)}
    labels = {_labels(loop): each for loop, each in enumerate(judged)}
    reads |= stored_labels.by_split(labels)
    for split in judged[0].splits:
        reads |= stored_labels.samples_of(labels, split)
    return Stage(report, makes=REPORT, reads=reads, by_one=True, tell=tell)


def report(context: Context) -> None:
    """Writes the page, its charts and metrics.json."""
    problems = context.problems("problems")
    figures, first = _figures(context, problems)
    about = writing.about_workdir(context.workdir)
    shown = [each for each in problems if each.problem_id in first]
    shown.sort(key=lambda each: (-first[each.problem_id], each.problem_id))
    page_folder.write(
        context.stage.makes.folder(context.workdir),
        {**figures, "config_hash": about.config_hash},
        loops_page.render(
            figures,
            [
                (each.question, each.source, first[each.problem_id])
                for each in shown[: context.config.report.show_problems]
            ],
            about.name,
            formatting.today(),
            about.settings,
        ),
        loops_page.charts(figures),
        loops_page.CHARTS,
    )


def tell(context: Context) -> None:
    """The table, and where the page lies."""
    log.tell(page_folder.told(context.stage.makes.folder(context.workdir), loops.as_text))


def _figures(
    context: Context, problems: Sequence[Problem]
) -> tuple[dict[str, Any], dict[str, int]]:
    """The figures of the loops that were done, and which loop first solved each problem."""
    config, count = context.config, context.config.star.loops + 1
    roles = [_role(loop, TRAIN) for loop in range(count)]
    end = plateau.end_of(roles, config.star.plateau, context)
    done = range(count if end is None else end + 1)
    train: list[Right] = [verdicts.solved(context.source(roles[loop])) for loop in done]
    sets = [
        source.split
        for role, source in context.stage.inputs()
        if source.split is not None and source.split.of == TEST.of
        if role == _role(0, source.split)
    ]
    tests: dict[str, list[Right]] = {}
    named = {"train": TRAIN}
    for split in sets:
        there = [context.source(_role(loop, split)) for loop in done]
        if all(store.read_manifest(folder) for folder in there):
            tests[str(split.problems)] = [verdicts.solved(folder) for folder in there]
            named[str(split.problems)] = split
    manifests = [context.manifest(f"generator {loop}") for loop in done]
    figures = loops.figures(
        train,
        tests,
        [each["learned"] for each in manifests[1:]],
        [{name: _written(context, loop, split) for name, split in named.items()} for loop in done],
        {each.problem_id: each.source for each in [*problems, *_tested(context)]},
        config.report.resamples,
        config.seed,
    )
    return {**figures, "ended_by_plateau": end is not None}, loops.first_solved(train)


def _tested(context: Context) -> list[Problem]:
    """The problems of all test sets."""
    roles = [role for role in context.stage.reads if role.startswith(_TESTED)]
    return [each for role in roles for each in context.problems(role)]


def _written(context: Context, loop: int, split: Split) -> loops.Written:
    """How long the solutions of a loop's model are."""
    folder = context.source(stored_labels.samples_role(_labels(loop), split))
    samples = store.read_table(folder, "samples", ["tokens", "finish"])
    cut_off = pc.mean(pc.equal(samples["finish"], "length").cast("float64")).as_py()
    return loops.Written(pc.mean(pc.list_value_length(samples["tokens"])).as_py(), cut_off)


def _asked(split: Split) -> str:
    return f"{_TESTED}{split}"


def _labels(loop: int) -> str:
    return f"labels {loop}"


def _role(loop: int, split: Split) -> str:
    return f"{_labels(loop)} {split}"
