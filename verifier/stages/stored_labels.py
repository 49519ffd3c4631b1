"""Labels of several models, as a stage reads them that holds these against each other."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.evaluate.choices import Right
from verifier.run.context import Context
from verifier.run.stage import Input, Stage
from verifier.tables.verdicts import solved
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
