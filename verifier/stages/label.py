"""label: every stored solution, graded by its final answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from verifier import config as config_lib
from verifier.grading import corrections, graders
from verifier.grading.answer import WORDS
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.system import log
from verifier.tables import store
from verifier.tables.results import LABELS
from verifier.text.problem import Problem
from verifier.text.split import TEST, Split


def stage(samples: Stage, problems: Stage, place: str = "") -> Stage:
    """Labels of all samples but those of problems whose answers nobody knows."""
    return Stage(
        label,
        makes=LABELS,
        splits=tuple(split for split in samples.splits if not split.unlabelled),
        reads={"samples": samples.of(), "problems": problems.of()},
        knobs=("label",),
        ignores=ignored,
        place=place,
        check=check,
        by_one=True,
        partial=True,
    )


def check(config: config_lib.Config) -> None:
    """Looks at the grader before hours of sampling, not after.

    Raises:
        UserError: it does not exist, or what it needs is not installed.
    """
    graders.check_grader(config.label.grader)


def grader_of(config: config_lib.Config, split: Split) -> str:
    """Who judges a split: `label.grader`, but `bbh` for sources whose answers are words, unless
    `label.grader` reads words itself.
    """
    has_words = source_of(config, split) in ("bbh", "labelled_choice")
    words = has_words and config.label.grader not in WORDS
    return "bbh" if words else config.label.grader


def source_of(config: config_lib.Config, split: Split) -> str:
    """The name of the source that a split's problems are from."""
    tested = config.data.test_name if split.of == TEST.of else ""
    return split.set or tested or config.data.name


def ignored(config: config_lib.Config, split: Split | None) -> Sequence[str]:
    """Only one grader needs a limit of time."""
    return () if config.label.grader == graders.MATH_VERIFY else ("label.grader_seconds",)


def label(context: Context) -> None:
    """Grades the samples of every split that has some.

    Raises:
        WorkdirError: none has.
    """
    sampled = [
        split
        for split in context.stage.splits
        if store.read_manifest(context.source("samples", split))
    ]
    if not sampled:
        context.manifest("samples", TEST)  # says what is missing
    for split in sampled:
        context.refuse_stale("samples", split)
        settings = context.settings(split)
        if not context.is_done(settings, split):
            _label(context, split, store.TableWriter(context.folder(split), "labels", settings))


def right_answers(context: Context, problems: Sequence[Problem]) -> dict[str, str]:
    """By problem, the answer that solutions are graded by; known-wrong ones are corrected where
    `label.fix_labels` asks for it.
    """
    gold = {each.problem_id: each.answer for each in problems}
    return corrections.corrected(gold)[0] if context.config.label.fix_labels else gold


def with_right_answers(context: Context, problems: Sequence[Problem]) -> list[Problem]:
    """The problems with `right_answers` for theirs."""
    right = right_answers(context, problems)
    return [dataclasses.replace(each, answer=right[each.problem_id]) for each in problems]


def _label(context: Context, split: Split, table: store.TableWriter) -> None:
    knobs, title = context.config.label, context.title(split)
    grader = grader_of(context.config, split)
    gold = {each.problem_id: each.answer for each in context.problems("problems", split)}
    source = context.source("samples", split)
    rows = store.read_table(source, "samples", ["problem_id", "sample_id", "solution"])
    keys = rows["problem_id"].to_pylist()
    right, fixed = _right_answers(title, {key: gold[key] for key in keys}, knobs.fix_labels)
    graded = graders.relabel(
        rows["solution"].to_pylist(),
        [right[key] for key in keys],
        grader,
        knobs.grader_seconds,
    )
    columns = [
        rows["problem_id"],
        rows["sample_id"],
        pa.array(graded.answers, pa.string()),
        pa.array(graded.correct),
        pa.array([grader] * len(keys)),
    ]
    # One part holds all: a run killed after it has only the manifest to write.
    if not table.present():
        table.append(pa.Table.from_arrays(columns, schema=store.SCHEMAS["labels"]))
    table.finish(
        {"seconds": table.seconds(), "not_graded": graded.not_graded, "fixed_labels": fixed}
    )
    log.say(
        f"{title}: {graded.correct.sum():,} of {len(keys):,} solutions are right "
        f"({graded.correct.mean():.1%})"
    )
    for line in _doubts(str(split), grader, rows, graded, right):
        log.say(f"warning: label {line}")
    if graded.not_graded:
        given_up = graders.given_up(graded.not_graded, grader, knobs.grader_seconds)
        log.say(f"{title}: {given_up}")


def _doubts(
    split: str, grader: str, rows: pa.Table, graded: graders.Relabelled, right: Mapping[str, str]
) -> list[str]:
    """What makes a split's verdicts doubtful (`graders.findings`)."""

    def look(indices: np.ndarray) -> graders.Solutions:
        some = rows.take(indices)
        golds = [right[key] for key in some["problem_id"].to_pylist()]
        return some["solution"].to_pylist(), golds

    answered = np.array([answer is not None for answer in graded.answers], bool)
    return graders.findings(split, grader, answered, not graded.correct.any(), dict(right), look)


def _right_answers(
    title: str, gold: dict[str, str], fix_labels: bool
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The answers to grade by, and what was corrected in them, which is said."""
    if not fix_labels:
        return gold, []
    right, fixed = corrections.corrected(gold)
    log.say(f"{title}: {len(fixed)} known-wrong gold answers are corrected")
    for each in fixed:
        log.say(
            f"  problem {each['problem_id']}: {each['new']}, not {each['old']} ({each['reason']})"
        )
    return right, fixed
