"""Stages of loops that do nothing once training accuracy has stopped rising."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from verifier.evaluate import loops
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.system import log
from verifier.tables import verdicts
from verifier.text.split import TRAIN


def unless_over(stage: Stage, judged: Sequence[Stage], failed: Stage | None = None) -> Stage:
    """A stage that does nothing but say so once training accuracy has stopped rising.

    Args:
        stage: of a loop.
        judged: the labels of the base and of all loops that are done before it.
        failed: problems that it is about; it does nothing where there are none, either.
    """
    roles = {f"labels {number}": each.of(TRAIN, noted=False) for number, each in enumerate(judged)}
    reads = {**stage.reads, **roles}
    if failed is not None:
        reads["failed"] = failed.of(TRAIN, noted=False)

    def do(context: Context) -> None:
        plateau = context.config.star.plateau
        end = end_of(list(roles), plateau, context)
        if end is not None:
            log.say(
                f"{context.title()}: not done: training accuracy has stopped rising by loop {end} "
                f"(star.plateau={plateau})"
            )
        elif failed is not None and not context.problems("failed"):
            log.say(f"{context.title()}: not done: no problem has failed")
        else:
            stage.do(context)

    return dataclasses.replace(stage, do=do, reads=reads)


def end_of(roles: Sequence[str], plateau: int, context: Context) -> int | None:
    """The loop after which nothing is done any more (`loops.over_after`).

    Args:
        roles: of the labels of the base and of each loop, of which those after the end may be
            missing.
        plateau: `star.plateau`.
        context: of the stage that reads them.

    Raises:
        WorkdirError: other labels are missing.
    """
    accuracies: list[float] = []
    for role in roles:
        context.manifest(role)
        accuracies.append(loops.accuracy_of(verdicts.solved(context.source(role))))
        end = loops.over_after(accuracies, plateau)
        if end is not None:
            return end
    return None
