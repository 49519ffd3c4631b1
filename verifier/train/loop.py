"""The loop of a training job: steps, evaluation, early stopping, checkpoints, logs.

Takes a stream and a loss; knows no stage, no text.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from verifier import config as config_lib
from verifier import errors
from verifier.errors import Diverged
from verifier.model import sharding
from verifier.system import allocator, log, metric_log, stopping
from verifier.train import checkpoint, prefetch, step
from verifier.train.losses.contract import Loss, Terms
from verifier.train.prefetch import Stream

if TYPE_CHECKING:
    from verifier.data.batches import Batch

# after the start, an evaluation or a checkpoint: until a step's scratch has found a place that
# stays its own
_UNSETTLED_STEPS = 3
# a job may go on under other values of these
_WITHOUT_EFFECT = ("checkpoint_minutes", "checkpoint_every", "keep_checkpoints", "remat")
_PLACES = ("weights", "corpus")  # of files, which a job's facts know by their sums


def to_device(batch: Batch) -> Batch:
    """Puts a batch on the default device."""
    return jax.tree.map(jnp.asarray, batch)


@dataclasses.dataclass(frozen=True)
class Job:
    """Where a training job reads and writes, and what it is measured by."""

    name: str  # of the log files and the bar; the dropout's keys depend on it
    logs: pathlib.Path
    # a folder of its own; a job that finds its checkpoints there goes on from the newest
    checkpoints: pathlib.Path
    seed: int = 0
    heldout: Sequence[Batch] = ()  # batches of held-out problems, read whole at each evaluation
    # what else the result depends on, such as the id of the start
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    place: Callable[[Batch], Batch] = to_device  # host batch to device batch; a mesh brings its own
    # whether to save and stop after a step, given its number
    stop: Callable[[int], bool] = lambda _: False
    # whether to save after a step, beside every `checkpoint_every`-th
    due: Callable[[int], bool] = lambda _: False


class Fitted(NamedTuple):
    """How a job ended."""

    steps: int  # taken, earlier runs of the same job included
    kept_step: int  # whose parameters the module has now
    stopped_early: bool
    # held-out numbers of these parameters; empty without held-out batches
    heldout: dict[str, float]
    # that earlier starts took, up to the checkpoint that this one went on from
    earlier_seconds: float = 0.0


@dataclasses.dataclass
class _Standing:
    """What evaluations have shown so far; it travels in the checkpoint's note."""

    best: float = math.inf
    best_step: int = 0
    worse: int = 0  # evaluations since the best
    best_numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    last_numbers: dict[str, float] = dataclasses.field(default_factory=dict)

    def learn(self, numbers: dict[str, float], done: int, watch: str) -> bool:
        """Takes in an evaluation; whether it is the best so far."""
        self.last_numbers = numbers
        if numbers[watch] < self.best:
            self.best, self.best_step, self.worse, self.best_numbers = (
                numbers[watch],
                done,
                0,
                numbers,
            )
            return True
        self.worse += 1
        return False


def fit(
    model: nnx.Module, stream: Stream, loss: Loss, config: config_lib.TrainConfig, job: Job
) -> Fitted:
    """Trains a module in place, from where the job's last checkpoint stands.

    A job that is killed and started again with the same arguments ends with the same parameters,
    bit for bit. With `config.patience` the module ends with the parameters of the best evaluation,
    else with the last ones.

    Args:
        model: float32 parameters. Its arrays are donated to the first step: share them with no
            other module, and drop the module on errors.
        stream: batches; their rows must be a multiple of `config.accumulate`.
        loss: what is made smaller; its `watch` decides which parameters are best.
        config: of the job.
        job: folders, seed, held-out batches.

    Returns:
        How it ended.

    Raises:
        Diverged: a number is not finite. The checkpoint before that is kept.
        CheckpointError: the job's checkpoints are of another model or of other settings.
        Stopped: `job.stop` said so; everything is saved.
        ConfigError: settings that cannot be met.
    """
    _check(stream, config, job)
    steps = len(stream)
    graph, params, constants = step.split_model(model)
    programs, optimizer = step.compile_steps(
        (graph, constants), loss, config, steps, job.seed, job.name
    )
    state = step.first_state(params, optimizer)
    with checkpoint.Checkpoints(job.checkpoints, config.keep_checkpoints) as checkpoints:
        begun = time.monotonic()
        state, standing, done, earlier = _resume(
            state, stream, config, job, loss.watch, checkpoints
        )
        progress = log.Progress(steps, "step", job.name, done=done)
        on_mesh = sharding.using(sharding.mesh_of(params))
        # Elsewhere steps take no host memory.
        keeping = (
            allocator.keeping()
            if jax.default_backend() == "cpu"
            else contextlib.nullcontext(lambda: None)
        )
        with (
            on_mesh,
            metric_log.MetricLog(job.logs, job.name, first_step=done + 1) as metrics,
            progress,
            keeping as give_back,
            stopping.saving(),
        ):
            meter = _Meter(metrics, progress, checkpoints)
            run = _Run(
                programs,
                loss,
                config,
                job,
                checkpoints,
                meter,
                stream,
                standing,
                give_back,
                begun - earlier,
            )
            state, done = run.go(state, done)
        early = _out_of_patience(standing, config) and done < steps
        if config.patience and standing.best_step != done:
            state = state._replace(
                params=checkpoints.restore_params(standing.best_step, state.params)
            )
            log.say(
                f"{job.name}: keeps step {standing.best_step}, the best of held-out "
                f"{loss.watch} ({standing.best:.4f})"
            )
    nnx.update(model, state.params)
    if config.patience:
        return Fitted(done, standing.best_step, early, standing.best_numbers, earlier)
    return Fitted(done, done, early, standing.last_numbers, earlier)


@dataclasses.dataclass
class _Run:
    """The parts of one run of a job."""

    programs: step.Programs
    loss: Loss
    config: config_lib.TrainConfig
    job: Job
    checkpoints: checkpoint.Checkpoints
    meter: _Meter
    stream: Stream
    standing: _Standing
    give_back: Callable[[], None]  # to the system, what memory is free
    begun: float  # by the clock, as if earlier starts had come right before this one
    unsettled: int = _UNSETTLED_STEPS

    def go(self, state: step.TrainState, done: int) -> tuple[step.TrainState, int]:
        """Takes the steps that are left."""
        config, steps = self.config, len(self.stream)
        ends = set(itertools.accumulate(self.stream.steps_per_epoch))
        if done >= steps or _out_of_patience(self.standing, config):
            return state, done
        with contextlib.closing(prefetch.ahead(self.stream, self.job.place)) as batches:
            for batch in batches:
                state, numbers = self.programs.step(state, batch.placed)
                done += 1
                self.meter.push(done, numbers, batch.tokens * jax.process_count())
                if self.unsettled:
                    self.unsettled -= 1
                    self.meter.drain()
                    self.give_back()
                last = done == steps
                better = False
                if self.job.heldout and (
                    last or (done % config.eval_every == 0 if config.eval_every else done in ends)
                ):
                    better = self._evaluate(state.params, done)
                    last |= _out_of_patience(self.standing, config)
                stop = self.job.stop(done) and not last
                due = self.job.due(done) or (
                    config.checkpoint_every and done % config.checkpoint_every == 0
                )
                if stop or due or last or (better and config.patience):
                    self._save(state, done, batch.position)
                if stop:
                    self.checkpoints.wait()
                    raise errors.Stopped(f"{self.job.name} after step {done} of {steps}")
                if last:
                    break
        self.meter.drain()
        return state, done

    def _evaluate(self, params: Any, done: int) -> bool:
        """Reads the held-out batches; whether these parameters are the best so far."""
        self._settle_anew()
        terms: Terms = {}
        for batch in self.job.heldout:
            more = self.programs.evaluate(params, self.job.place(batch))
            terms = jax.tree.map(jnp.add, terms, more) if terms else more
        means = _means(jax.device_get(terms))
        numbers = {"loss": self.loss.total_of_means(means)} | means
        self.give_back()
        self.meter.metrics.write(
            done, {f"heldout_{name}": value for name, value in numbers.items()}
        )
        text = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
        log.say(f"{self.job.name}: held-out at step {done}: {text}")
        if self.loss.watch not in numbers:
            raise errors.ConfigError(
                f"watch is {self.loss.watch!r}, but the held-out batches give {', '.join(numbers)}"
            )
        return self.standing.learn(numbers, done, self.loss.watch)

    def _save(self, state: step.TrainState, done: int, position: Mapping[str, Any]) -> None:
        """Saves a checkpoint of numbers known to be finite."""
        self._settle_anew()
        note = {
            "settings": _settings(self.config, self.job, self.loss.watch, len(self.stream)),
            "stream": dict(position),
            "seconds": time.monotonic() - self.begun,
            "standing": dataclasses.asdict(self.standing)
            | {"best": self.standing.best if self.standing.best_step else None},
        }
        protect = _protected(self.standing, self.config)
        self.checkpoints.save(
            done, state.params, {"state": state.optimiser, "step": state.step}, note, protect
        )
        # writing takes the same cores as a step, and a copy of the state beside its scratch
        if jax.default_backend() == "cpu":
            self.checkpoints.wait()
            self.give_back()

    def _settle_anew(self) -> None:
        """Waits for the last step, before work of another kind takes memory."""
        self.meter.drain()
        self.give_back()
        self.unsettled = _UNSETTLED_STEPS


class _Meter:
    """Reads a step's numbers only when the next step is under way, so that the device never waits;
    stops on what is not finite.
    """

    def __init__(
        self,
        metrics: metric_log.MetricLog,
        progress: log.Progress,
        checkpoints: checkpoint.Checkpoints,
    ) -> None:
        self.metrics, self.progress, self.checkpoints = metrics, progress, checkpoints
        self._pending: collections.deque[tuple[int, dict[str, Any], int]] = collections.deque()
        # (time a step was read, its tokens)
        self._recent: collections.deque[tuple[float, int]] = collections.deque(maxlen=50)

    def push(self, done: int, numbers: dict[str, Any], tokens: int) -> None:
        """Takes the numbers of a step just sent to the device, and reads those of the one
        before.
        """
        self._pending.append((done, numbers, tokens))
        self.drain(left=1)

    def drain(self, left: int = 0) -> None:
        """Reads until only `left` steps are unread."""
        while len(self._pending) > left:
            done, on_device, tokens = self._pending.popleft()
            numbers = jax.device_get(on_device)
            terms = numbers.pop("terms")
            line = {name: float(value) for name, value in numbers.items()} | _means(terms)
            self._stop_unless_finite(done, line)
            self._recent.append((time.monotonic(), tokens))
            line["tokens_per_second"] = rate = self._rate()
            self.metrics.write(done, line)
            self.progress.advance(loss=line["loss"], tokens_per_second=rate)

    def _rate(self) -> float:
        """Real tokens a second over the last steps; the first step of a run compiles and does not
        count.
        """
        seconds = self._recent[-1][0] - self._recent[0][0]
        return sum(tokens for _, tokens in list(self._recent)[1:]) / seconds if seconds else 0.0

    def _stop_unless_finite(self, done: int, line: dict[str, float]) -> None:
        """Raises for a step that has broken the parameters."""
        broken = [
            name
            for name in ("loss", "gradient_norm", "update_norm")
            if not math.isfinite(line[name])
        ]
        if not broken:
            return
        latest = self.checkpoints.latest()
        kept = (
            "no checkpoint had been saved"
            if latest is None
            else f"the last good checkpoint is {self.checkpoints.path(latest)}"
        )
        raise Diverged(
            f"step {done}: {' and '.join(broken)} not finite; {kept}. Try a lower "
            "learning_rate, a longer warmup_share, clip_norm of 1 or less, or "
            "model.dtype=float32"
        )


def _check(stream: Stream, config: config_lib.TrainConfig, job: Job) -> None:
    """Refuses what cannot work, before anything is compiled."""
    if not len(stream):
        raise errors.ConfigError(
            f"{job.name}: the stream has no batches; give it examples and epochs > 0 or steps > 0"
        )
    if config.batch_rows % config.accumulate:
        fault = (
            f"batch_rows is {config.batch_rows}, which accumulate={config.accumulate} does not "
            "divide"
        )
        raise errors.ConfigError(f"{job.name}: {fault}; choose a divisor")
    if config.patience and not job.heldout:
        fault = f"patience is {config.patience}, but there are no held-out batches"
        raise errors.ConfigError(
            f"{job.name}: {fault}; set data.heldout_problems or {job.name}.patience=0"
        )


def _resume(
    state: step.TrainState,
    stream: Stream,
    config: config_lib.TrainConfig,
    job: Job,
    watch: str,
    checkpoints: checkpoint.Checkpoints,
) -> tuple[step.TrainState, _Standing, int, float]:
    """State, standing, steps done and the seconds they took, from the newest checkpoint where there
    is one.
    """
    done = checkpoints.latest()
    if done is None:
        return state, _Standing(), 0, 0.0
    note = checkpoints.note(done)
    if note["stream"].keys() != stream.state().keys():
        raise errors.CheckpointError(
            f"{checkpoints.folder} is of a version that read examples in another order, so the "
            "job cannot go on as it would have. Remove it to start the job anew; what is "
            "finished stays."
        )
    own, defaults = (
        _settings(config, job, watch, len(stream)),
        config_lib.flatten(config_lib.Config()) | dataclasses.asdict(type(config)()),
    )
    changed = config_lib.differences(config_lib.with_defaults(note["settings"], own, defaults), own)
    if changed:
        lines = "\n  ".join(changed)
        raise errors.CheckpointError(
            f"{checkpoints.folder} is of a job with other settings:\n  {lines}\nRemove it to "
            "start anew."
        )
    params, rest = checkpoints.restore(
        done, state.params, {"state": state.optimiser, "step": state.step}
    )
    try:
        stream.restore(note["stream"])
    except errors.UserError as error:
        raise errors.CheckpointError(
            f"{checkpoints.path(done)}: {error} (remove {checkpoints.folder})"
        ) from error
    standing = _Standing(
        **note["standing"]
        | {"best": math.inf if note["standing"]["best"] is None else note["standing"]["best"]}
    )
    checkpoints.protect(done, _protected(standing, config))
    log.say(f"{job.name}: goes on after step {done} of {len(stream)} ({checkpoints.path(done)})")
    return (
        step.TrainState(params, rest["state"], rest["step"]),
        standing,
        done,
        note.get("seconds", 0.0),
    )


def _settings(config: config_lib.TrainConfig, job: Job, watch: str, steps: int) -> dict[str, Any]:
    """What the job's result depends on, as JSON gives it back."""
    others = (*_WITHOUT_EFFECT, *_PLACES)
    knobs = {
        name: value
        for name, value in config_lib.flatten(dataclasses.asdict(config)).items()
        if name not in others
    }
    return (
        knobs | {"seed": job.seed, "steps": steps, "watch": watch} | config_lib.flatten(job.facts)
    )


def _protected(standing: _Standing, config: config_lib.TrainConfig) -> int | None:
    """The step whose checkpoint the job may end with."""
    return standing.best_step if config.patience else None


def _out_of_patience(standing: _Standing, config: config_lib.TrainConfig) -> bool:
    """Whether too many evaluations have passed since the best one."""
    return bool(config.patience) and standing.worse >= config.patience


def _means(terms: Terms) -> dict[str, float]:
    """Host numbers of terms: each mean, where anything has a weight."""
    return {name: float(term.sum / term.weight) for name, term in terms.items() if term.weight > 0}
