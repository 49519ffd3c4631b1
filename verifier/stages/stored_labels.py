"""Labels of several models, as a stage reads them that holds these against each other."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from verifier.evaluate.choices import Right
from verifier.run.context import Context
from verifier.run.stage import Input, Stage
from verifier.tables import store
from verifier.text.split import Split


def by_split(labels: Mapping[str, Stage]) -> dict[str, Input]:
    """What a stage reads that reads labels of several models, by role: every split by itself."""
    return {
        f"{role} {split}": stage.of(split)
        for role, stage in labels.items()
        for split in stage.splits
    }


def right_of(context: Context, role: str) -> dict[Split, Right]:
    """By split, which problems are solved by what a role's labels are of (`by_split`)."""
    right = dict[Split, Right]()
    for name, source in context.stage.inputs():
        split = source.split
        if split is None or name != f"{role} {split}":
            continue
        right[split] = solved(source.folder(context.root))
    return right


def solved(folder: pathlib.Path) -> dict[str, bool]:
    """Which problems have a right solution, by the labels in a folder."""
    table = store.read_table(folder, "labels", ["problem_id", "correct"])
    right: dict[str, bool] = {}
    columns = (table[name].to_pylist() for name in ("problem_id", "correct"))
    for problem_id, correct in zip(*columns, strict=True):
        right[problem_id] = right.get(problem_id, False) or correct
    return right
