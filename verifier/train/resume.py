"""How a job goes on from its newest checkpoint: what the note says, and when it is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from verifier import config as config_lib
from verifier import errors
from verifier.model import lora
from verifier.system import log
from verifier.train import job as job_lib
from verifier.train.checkpoint import Checkpoints
from verifier.train.evaluations import Evaluations
from verifier.train.prefetch import Stream
from verifier.train.step import TrainState


class Position(NamedTuple):
    """Where a job stands."""

    state: TrainState
    evaluations: Evaluations
    done: int = 0  # steps
    seconds: float = 0.0  # that these took


def newest(
    position: Position,
    stream: Stream,
    config: config_lib.TrainConfig,
    job: job_lib.TrainJob,
    watch: str,
    checkpoints: Checkpoints,
) -> Position:
    """The position of the newest checkpoint, to which the stream goes too, where there is one.

    Args:
        position: the job's beginning, which is returned where there is none.
        stream: of the job, at its beginning.
        config: of the job.
        job: the job.
        watch: of its loss.
        checkpoints: of the job.

    Raises:
        CheckpointError: the checkpoint is of another model, other settings or other data.
    """
    done = checkpoints.latest()
    if done is None:
        return position
    note = checkpoints.note(done)
    if note["stream"].keys() != stream.state().keys():
        raise errors.CheckpointError(
            f"{checkpoints.folder} is of a version that read examples in another order, so the "
            "job cannot go on as it would have. Remove it to start the job anew; what is "
            "finished stays."
        )
    own = job_lib.settings(config, job, watch, len(stream))
    _refuse_others(note["settings"], own, config, checkpoints)
    state = position.state
    trained, rest = checkpoints.restore(
        done, lora.trained(state.params), {"state": state.optimiser, "step": state.step}
    )
    params = lora.with_trained(state.params, trained)
    try:
        stream.restore(note["stream"])
    except errors.UserError as error:
        raise errors.CheckpointError(
            f"{checkpoints.path(done)}: {error} (remove {checkpoints.folder})"
        ) from error
    evaluations = Evaluations.from_note(note["standing"], config.patience)
    checkpoints.protect(done, evaluations.protected)
    log.say(f"{job.name}: goes on after step {done} of {len(stream)} ({checkpoints.path(done)})")
    state = TrainState(params, rest["state"], rest["step"])
    return Position(state, evaluations, done, note.get("seconds", 0.0))


def save(
    position: Position,
    settings: Mapping[str, Any],
    stream: Mapping[str, Any],
    checkpoints: Checkpoints,
) -> None:
    """Saves a checkpoint that `newest` goes on from.

    Args:
        position: where the job stands.
        settings: `job.settings`.
        stream: the stream's position behind the batch of the last step.
        checkpoints: of the job.
    """
    state, evaluations, done, seconds = position
    note = {
        "settings": settings,
        "stream": dict(stream),
        "seconds": seconds,
        "standing": evaluations.note(),
    }
    rest = {"state": state.optimiser, "step": state.step}
    checkpoints.save(done, lora.trained(state.params), rest, note, evaluations.protected)


def _refuse_others(
    there: Mapping[str, Any],
    own: Mapping[str, Any],
    config: config_lib.TrainConfig,
    checkpoints: Checkpoints,
) -> None:
    """Raises for settings of another job; what an older version did not note has its default."""
    defaults = config_lib.flatten(config_lib.Config()) | dataclasses.asdict(type(config)())
    changed = config_lib.differences(config_lib.with_defaults(there, own, defaults), own)
    if changed:
        lines = "\n  ".join(changed)
        raise errors.CheckpointError(
            f"{checkpoints.folder} is of a job with other settings:\n  {lines}\nRemove it to "
            "start anew."
        )
