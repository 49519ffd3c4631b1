"""Runs the stages that it is given, one after the other, in one workdir."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Sequence

from verifier import config as config_lib
from verifier.config import checks as config_checks
from verifier.errors import Stopped
from verifier.run import device_checks, hosts, workdir
from verifier.run.context import Context
from verifier.run.stage import Stage, chosen, implied_by
from verifier.system import log, metric_log, stopping
from verifier.tables import store


def run(
    stages: Sequence[Stage],
    config: config_lib.Config,
    root: pathlib.Path,
    names: Sequence[str] | None = None,
) -> None:
    """Runs stages in their order and prints the results.

    Args:
        stages: of the recipe.
        config: checked (`config.checks.check`).
        root: the workdir; made where it is missing, gone on with where it holds results of the same
            settings.
        names: of the stages that are asked for; None: all.

    Raises:
        UserError: of any room, with a message that says what to do.
    """
    wanted = chosen(stages, names)
    for line in config_checks.warnings(config):
        log.say(f"warning: {line}")
    metric_log.mirror_to_wandb(config.log.wandb)
    there = root.exists()
    if not there:  # and is not made where something is refused
        check(stages, wanted, config, root)
    with workdir.locked(root) if hosts.is_first() else contextlib.nullcontext():
        if there:
            check(stages, wanted, config, root)
        _run(stages, wanted, config, root)
    if hosts.is_first():
        for stage in wanted:
            if stage.tell is not None:
                stage.tell(Context(config, root, stage, stages))
        if not any(stage.tell for stage in wanted):
            log.tell(f"workdir  {root}")


def check(
    stages: Sequence[Stage],
    wanted: Sequence[Stage],
    config: config_lib.Config,
    root: pathlib.Path,
) -> None:
    """Looks at all that could end a run later, before anything is written.

    Args:
        stages: of the recipe.
        wanted: those that are to run.
        config: of the run.
        root: the workdir; may be missing.

    Raises:
        UserError: results of other settings in the workdir, what a stage could not do, or what the
            devices cannot.
    """
    for stage in wanted:
        stage.refuse(config)
    workdir.refuse_other_settings(stages, root, config)
    Context(config, root, stages[0], stages).template()  # is the same for all
    device_checks.check(config, [stage for stage in wanted if not _all_done(stage, root)])


def _all_done(stage: Stage, root: pathlib.Path) -> bool:
    return all(store.read_manifest(folder) for folder in stage.results(root).values())


def _run(
    stages: Sequence[Stage],
    wanted: Sequence[Stage],
    config: config_lib.Config,
    root: pathlib.Path,
) -> None:
    """The stages, by all processes."""
    for stage in implied_by(wanted):  # of all splits; written by one process, read by all
        if hosts.is_first():
            stage.do(Context(config, root, stage, stages))
    if hosts.is_first():
        for folder in {stage.workdir(root) for stage in (*implied_by(wanted), *wanted)}:
            workdir.save_config(folder, config)
    hosts.wait("implied")
    for stage in wanted:
        if stopping.asked() and hosts.count() == 1:
            raise Stopped(f"before {stage}")
        log.say(f"== {stage}")
        stopping.say_what(str(stage))
        if hosts.is_first() or not stage.by_one:
            stage.do(Context(config, root, stage, stages))
        hosts.wait(str(stage))
