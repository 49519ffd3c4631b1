"""python -m verifier.launch: runs an experiment, or some of its stages.

Knows flags; what a stage does stands in `stages/`.
"""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from verifier import errors
from verifier.system import stopping

if __name__ == "__main__":
    stopping.listen(goes_on=True)  # before all that takes time to import

from absl import app, flags

from verifier import config as config_lib
from verifier.config import checks as config_checks
from verifier.run import experiment
from verifier.system import allocator, log, paths

if TYPE_CHECKING:
    from verifier.stages import sweep  # which imports JAX

_EXP = flags.DEFINE_string(
    "exp",
    None,
    "A module of experiments/, a path to a .py file with get_config(), or 'list'; "
    "sweep:NAME[:THEME[.VARIANT]] for variants.",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run's results lie. Default: runs/NAME.")
_STAGES = flags.DEFINE_list("stages", None, "Stages to run, in their order. Default: all.")
_SET = flags.DEFINE_multi_string(
    "set",
    [],
    "path=value for a knob of the configuration; may be repeated, or followed by more path=value.",
)
_SEEDS = flags.DEFINE_list(
    "seeds", None, "Seeds of a sweep, such as 0,1,2. Default: the experiment's own."
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Only say what each stage reads and makes, and whether that is done."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address",
    None,
    "host:port of process 0 of a run of several processes (launch/README.md).",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes of the run.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "This process's number, from 0.")
for _name in ("dry_run", "coordinator_address", "num_processes", "process_id"):
    flags.DEFINE_alias(_name.replace("_", "-"), _name)


def _chosen(
    themes: dict[str, dict[str, list[str]]], wanted: str
) -> dict[str, dict[str, list[str]]]:
    """The theme that is named, or one variant of it, or all."""
    own = [name for name in themes if f"{wanted}.".startswith(f"{name}.")]  # names may hold dots
    theme = max(own, key=len, default=wanted.partition(".")[0])
    variant = wanted.removeprefix(theme)[1:]
    if theme and theme not in themes:
        raise errors.ConfigError(
            f"--exp={_EXP.value}: there is no theme {theme!r}; expected one of {', '.join(themes)}"
        )
    if variant and variant not in themes[theme]:
        known = ", ".join(themes[theme])
        raise errors.ConfigError(
            f"--exp={_EXP.value}: {theme} has no variant {variant!r}; expected one of {known}"
        )
    if variant:  # under a name of its own: the comparison of the whole theme stays
        return {wanted: {variant: themes[theme][variant]}}
    return {theme: themes[theme]} if theme else themes


def _seeds(config: config_lib.Config) -> list[int]:
    words = [str(config.seed)] if _SEEDS.value is None else _SEEDS.value
    try:
        seeds = [config_lib.override(config, [f"seed={word}"]).seed for word in words]
    except errors.ConfigError as error:
        raise errors.ConfigError(f"--seeds: {error}") from error
    if not seeds or len(set(seeds)) < len(seeds):
        raise errors.ConfigError(
            f"--seeds={','.join(map(str, seeds))}: expected different whole numbers, such as "
            "--seeds=0,1,2"
        )
    return seeds


def run(argv: Sequence[str]) -> None:
    """What `main` does, with errors that a user can mend still raised.

    Args:
        argv: arguments that are no flags; each must be one more `path=value`.
    """
    if _EXP.value is None:
        raise errors.ConfigError(
            "--exp is missing: name an experiment (--exp=list shows them), such as "
            "--exp=tiny_token_verifier"
        )
    if _EXP.value == "list":
        log.tell(experiment.summaries())
        return
    strays = [word for word in argv if "=" not in word]
    if strays:
        raise errors.ConfigError(
            f"unexpected argument {strays[0]!r}: knobs are given as --set path=value, the rest "
            "as --flag=value"
        )
    is_sweep = _EXP.value.startswith("sweep:")
    wanted, _, theme = (
        _EXP.value.removeprefix("sweep:").partition(":") if is_sweep else (_EXP.value, "", "")
    )
    # An experiment file may import JAX, which both must come before.
    allocator.settle()
    log.leave_out_remarks()
    config = config_lib.override(experiment.load(wanted), [*_SET.value, *argv])
    name = pathlib.Path(wanted).stem
    workdir = paths.to_path(_WORKDIR.value or pathlib.Path("runs") / name)
    if _SEEDS.value and not is_sweep:
        raise errors.ConfigError(
            f"--seeds={','.join(_SEEDS.value)} belongs to --exp=sweep:NAME; a single run takes "
            "--set seed=N"
        )

    config_checks.check(config)
    themes = experiment.load_themes(wanted) if is_sweep else {}
    _work(wanted, config, workdir, themes, _chosen(themes, theme))


def _work(
    wanted: str,
    config: config_lib.Config,
    workdir: pathlib.Path,
    themes: experiment.Themes,
    chosen_themes: experiment.Themes,
) -> None:
    """The run, or the sweep where there are themes; says what it would be where that is asked."""
    # After the cheap checks: importing JAX takes seconds.
    from verifier.recipes import token_verifier
    from verifier.run import hosts, precision, stage
    from verifier.stages import runner, sweep

    recipe = experiment.load_recipe(wanted, token_verifier.stages)
    stage.chosen(recipe(config), _STAGES.value)
    job = hosts.find(
        hosts.Cluster(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value),
        os.environ,
        hosts.has_tpu(),
    )
    if job is not None and not _DRY_RUN.value:
        hosts.join(job)
        stopping.listen(goes_on=True)  # again: JAX takes SIGTERM for itself
    begun = workdir.glob(f"seed=*/{sweep.BASE}") if themes else [workdir]
    config = precision.settled(config, begun)
    stages = recipe(config)
    variants = (
        sweep.check(config, recipe, themes, _seeds(config), workdir, _STAGES.value)
        if themes
        else []
    )
    if _DRY_RUN.value:
        runs = sweep.named(variants, chosen_themes)
        _tell(runs or [sweep.Variant("", config, workdir, stages)])
    elif themes:
        sweep.run(variants, chosen_themes, workdir, _STAGES.value, runner.run)
    else:
        runner.run(stages, config, workdir, _STAGES.value)


def _tell(runs: Sequence[sweep.Variant]) -> None:
    """Says how the results of runs stand, and what would end a run before its first stage.

    Raises:
        ConfigError: something is refused.
    """
    from verifier.run import stage, status
    from verifier.stages import runner, sweep

    refused = []
    for index, each in enumerate(runs):
        earlier = [one for one in runs[:index] if one.config.seed == each.config.seed]
        shared = sweep.to_be_shared(each, earlier)
        lines = status.lines(each.stages, _STAGES.value, each.config, each.root, shared)
        log.tell(f"{each.root}\n{status.table(lines)}")
        refused += [line.why for line in lines if line.state == status.REFUSED][:1]
        try:
            wanted = stage.chosen(each.stages, _STAGES.value)
            runner.check(each.stages, wanted, each.config, each.root)
        except errors.UserError as error:
            refused.append(str(error))
    if refused:
        raise errors.ConfigError(f"the run would be refused: {refused[-1]}")


def main(argv: Sequence[str]) -> None:
    """Runs; what a user can mend ends as one line on stderr and exit status 1, everything else with
    its traceback.
    """
    try:
        run(argv[1:])
    except errors.UserError as error:
        log.complain(error)
        sys.exit(1)
    except errors.Stopped as stopped:
        print(f"stopped: {stopped}; the same command goes on from here", file=sys.stderr)
        sys.exit(stopping.SAVED_STATUS)


def entry() -> None:
    app.run(main)


if __name__ == "__main__":
    entry()
