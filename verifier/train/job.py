"""A training job: its folders, seed and held-out batches; what it depends on; how it ended."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from verifier import config as config_lib
from verifier.config import Mark
from verifier.data.batches import Batch
from verifier.errors import ConfigError
from verifier.train.prefetch import Stream

# A job may go on under other values of these; files are known to its facts by their sums.
_FREE = (Mark.NO_EFFECT, Mark.WEIGHTS, Mark.TEXTS)


def on_default_device(batch: Batch) -> Batch:
    """Puts a batch on the default device."""
    return jax.tree.map(jnp.asarray, batch)


@dataclasses.dataclass(frozen=True)
class TrainJob:
    """Where a training job reads and writes, and what it is measured by."""

    name: str  # of the log files and the bar; the dropout's keys depend on it
    logs: pathlib.Path
    # a folder of its own; a job that finds its checkpoints there goes on from the newest
    checkpoints: pathlib.Path
    seed: int = 0
    heldout: Sequence[Batch] = ()  # batches of held-out problems, read whole at each evaluation
    # what else the result depends on, such as the id of the start
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    # host batch to device batch; a mesh brings its own
    to_device: Callable[[Batch], Batch] = on_default_device
    # whether to save and stop after a step, given its number
    stop: Callable[[int], bool] = lambda _: False
    # whether to save after a step, beside every `checkpoint_every`-th
    due: Callable[[int], bool] = lambda _: False
    # steps after which the parameters are written to a folder that outlives the job's checkpoints
    milestones: Mapping[int, pathlib.Path] = dataclasses.field(default_factory=dict)


class Fitted(NamedTuple):
    """How a job ended."""

    steps: int  # taken, earlier runs of the same job included
    kept_step: int  # whose parameters the module has now
    stopped_early: bool
    # held-out numbers of these parameters; empty without held-out batches
    heldout: dict[str, float]
    # that earlier starts took, up to the checkpoint that this one went on from
    earlier_seconds: float = 0.0


def settings(
    config: config_lib.TrainConfig, job: TrainJob, watch: str, steps: int
) -> dict[str, Any]:
    """What the job's result depends on, as JSON gives it back."""
    section: type = type(config)
    others = [name for mark in _FREE for name in config_lib.marked(mark, section)]
    knobs = {
        name: value
        for name, value in config_lib.flatten(dataclasses.asdict(config)).items()
        if name not in others
    }
    own = {"seed": job.seed, "steps": steps, "watch": watch}
    return knobs | own | config_lib.flatten(job.facts)


def check(stream: Stream, config: config_lib.TrainConfig, job: TrainJob) -> None:
    """Refuses what cannot work, before anything is compiled.

    Raises:
        ConfigError: no batches, rows that micro-batches do not divide, or nothing to be patient of.
    """
    if not len(stream):
        raise ConfigError(
            f"{job.name}: the stream has no batches; give it examples and epochs > 0 or steps > 0"
        )
    if config.batch_rows % config.accumulate:
        fault = (
            f"batch_rows is {config.batch_rows}, which accumulate={config.accumulate} does not "
            "divide"
        )
        raise ConfigError(f"{job.name}: {fault}; choose a divisor")
    if config.patience and not job.heldout:
        fault = f"patience is {config.patience}, but there are no held-out batches"
        raise ConfigError(
            f"{job.name}: {fault}; set data.heldout_problems or {job.name}.patience=0"
        )
