"""Labels of several models, as a stage reads them that holds these against each other."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.evaluate.choices import Right
from verifier.grading import graders
from verifier.run.context import Context
from verifier.run.stage import Input, Stage
from verifier.tables import store
from verifier.tables.verdicts import any_right, solved
from verifier.text.split import Split


def by_split(labels: Mapping[str, Stage]) -> dict[str, Input]:
    """What a stage reads that reads labels of several models, by role: every split by itself."""
    return {
        f"{role} {split}": stage.of(split)
        for role, stage in labels.items()
        for split in stage.splits
    }


def samples_of(labels: Mapping[str, Stage], split: Split) -> dict[str, Input]:
    """The solutions of a split that labels are of, by role, to be graded otherwise (`right_by`)."""
    reads = dict[str, Input]()
    for role, stage in labels.items():
        source = stage.reads["samples"]
        assert isinstance(source, Input)  # labels are of the run's own samples
        reads[samples_role(role, split)] = source.stage.of(split)
    return reads


def right_by(
    context: Context, role: str, split: Split, gold: Mapping[str, str], grader: str
) -> dict[Split, Right]:
    """Which problems of a split, as the labels have it, are solved by the word of another grader.

    Args:
        context: of the stage.
        role: of the labels.
        split: as `samples_of` was given it, or of the same problems.
        gold: right answers by problem.
        grader: a name in `graders.NAMES`.
    """
    right = dict[Split, Right]()
    for name, source in context.stage.inputs():
        own = source.split
        if own is None or own.problems != split.problems or name != samples_role(role, own):
            continue
        rows = store.read_table(
            source.folder(context.root), "samples", ["problem_id", "solution"]
        ).to_pydict()
        golds = [gold[key] for key in rows["problem_id"]]
        graded = graders.relabel(
            rows["solution"], golds, grader, context.config.label.grader_seconds
        )
        right[own] = any_right(rows["problem_id"], graded.correct.tolist())
    return right


def samples_role(role: str, split: Split) -> str:
    """The role of the solutions that a role's labels are of."""
    return f"{role} samples {split}"


def right_of(context: Context, role: str) -> dict[Split, Right]:
    """By split, which problems are solved by what a role's labels are of (`by_split`)."""
    right = dict[Split, Right]()
    for name, source in context.stage.inputs():
        split = source.split
        if split is None or name != f"{role} {split}":
            continue
        right[split] = solved(source.folder(context.root))
    return right
