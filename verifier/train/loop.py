"""The loop of a training job: steps, evaluation, early stopping, checkpoints, logs."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from verifier import config as config_lib
from verifier import errors
from verifier.model import lora, sharding
from verifier.system import allocator, log, metric_log, stopping
from verifier.train import job as job_lib
from verifier.train import parameters, prefetch, resume, step
from verifier.train.checkpoint import Checkpoints
from verifier.train.evaluations import Evaluations
from verifier.train.job import Fitted, TrainJob
from verifier.train.losses.contract import Loss, Terms
from verifier.train.meter import Meter, means
from verifier.train.prefetch import Stream

__all__ = ["Fitted", "TrainJob", "fit"]

# After the start, an evaluation or a checkpoint: until a step's scratch has found memory that stays
# its own. Only on a CPU, whose steps take the host's (`allocator.keeping`).
_UNSETTLED_STEPS = 3
# Settled steps after which memory is settled once more, and again after twice as many: where a
# small array has come into the scratch's place all the same, a job of 7 GB held 13 until its next
# checkpoint.
_SETTLED_STEPS = 10


def fit(
    model: nnx.Module, stream: Stream, loss: Loss, config: config_lib.TrainConfig, job: TrainJob
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
    job_lib.check(stream, config, job)
    steps = len(stream)
    graphdef, params, constants = step.split_model(model)
    programs, optimizer = step.compile_steps(
        (graphdef, constants), loss, config, steps, job.seed, job.name
    )
    with Checkpoints(job.checkpoints, config.keep_checkpoints) as checkpoints:
        begun = time.monotonic()
        # No name for the beginning: its moments are to go where a checkpoint brings others.
        position = resume.newest(
            resume.Position(step.first_state(params, optimizer), Evaluations(config.patience)),
            stream,
            config,
            job,
            loss.watch,
            checkpoints,
        )
        earlier, evaluations = position.seconds, position.evaluations
        run = _Run(programs, loss, config, job, checkpoints, stream, evaluations, begun - earlier)
        state, done = run.go(position.state, position.done)
        early = evaluations.out_of_patience and done < steps
        if config.patience and evaluations.best_step != done:
            best = checkpoints.restore_params(evaluations.best_step, lora.trained(state.params))
            state = state._replace(params=lora.with_trained(state.params, best))
            log.say(
                f"{job.name}: keeps step {evaluations.best_step}, the best of held-out "
                f"{loss.watch} ({evaluations.best:.4f})"
            )
    nnx.update(model, state.params)
    if config.patience:
        return Fitted(done, evaluations.best_step, early, evaluations.best_numbers, earlier)
    return Fitted(done, done, early, evaluations.last_numbers, earlier)


@dataclasses.dataclass
class _Run:
    """The parts of one run of a job."""

    programs: step.Programs
    loss: Loss
    config: config_lib.TrainConfig
    job: TrainJob
    checkpoints: Checkpoints
    stream: Stream
    evaluations: Evaluations
    begun: float  # by the clock, as if earlier starts had come right before this one
    meter: Meter = dataclasses.field(init=False)
    give_back: Callable[[], None] = dataclasses.field(init=False)  # what memory is free
    unsettled: int = dataclasses.field(init=False)  # steps
    settled: int = 0  # steps since
    most_settled: int = _SETTLED_STEPS

    def go(self, state: step.TrainState, done: int) -> tuple[step.TrainState, int]:
        """Takes the steps that are left, logged and with a bar."""
        steps, name = len(self.stream), self.job.name
        self.unsettled = self._unsettled_steps()
        keeping = allocator.keeping() if _in_host_memory() else contextlib.nullcontext(lambda: None)
        progress = log.Progress(steps, "step", name, done=done)
        with (
            sharding.using(sharding.mesh_of(state.params)),
            metric_log.MetricLog(self.job.logs, name, first_step=done + 1) as metrics,
            progress,
            keeping as self.give_back,
            stopping.saving(),
        ):
            self.meter = Meter(metrics, progress, self.checkpoints)
            if done < steps and not self.evaluations.out_of_patience:
                state, done = self._steps(state, done)
        return state, done

    def _steps(self, state: step.TrainState, done: int) -> tuple[step.TrainState, int]:
        """Steps until the job's end, or until it is told to stop."""
        steps = len(self.stream)
        ends = set(itertools.accumulate(self.stream.steps_per_epoch))
        with contextlib.closing(prefetch.ahead(self.stream, self.job.to_device)) as batches:
            for batch in batches:
                state, numbers = self.programs.step(state, batch.on_device)
                done += 1
                self.meter.push(done, numbers, batch.tokens * jax.process_count())
                if self.unsettled:
                    self.unsettled -= 1
                    self.meter.drain()
                    self.give_back()
                elif _in_host_memory():
                    self._settle_once_more()
                last = done == steps
                better = False
                if self.job.heldout and (last or self._evaluation_due(done, ends)):
                    better = self._evaluate(state.params, done)
                    last |= self.evaluations.out_of_patience
                if done in self.job.milestones:
                    self._settle_anew()
                    parameters.save_params(self.job.milestones[done], state.params)
                stop = self.job.stop(done) and not last
                due = self._checkpoint_due(done)
                if stop or due or last or (better and self.config.patience):
                    self._save(state, done, batch.position)
                if stop:
                    self.checkpoints.wait()
                    raise errors.Stopped(f"{self.job.name} after step {done} of {steps}")
                if last:
                    break
        self.meter.drain()
        return state, done

    def _evaluation_due(self, done: int, ends: set[int]) -> bool:
        """Whether to evaluate after a step, given the last steps of the epochs."""
        every = self.config.eval_every
        return done % every == 0 if every else done in ends

    def _checkpoint_due(self, done: int) -> bool:
        """Whether to save after a step; the job is asked at every one."""
        every = self.config.checkpoint_every
        return self.job.due(done) or bool(every and done % every == 0)

    def _evaluate(self, params: Any, done: int) -> bool:
        """Reads the held-out batches; whether these parameters are the best so far."""
        self._settle_anew()
        terms: Terms = {}
        for batch in self.job.heldout:
            more = self.programs.evaluate(params, self.job.to_device(batch))
            terms = jax.tree.map(jnp.add, terms, more) if terms else more
        each = means(jax.device_get(terms))
        numbers = {"loss": self.loss.total_of_means(each)} | each
        self.give_back()
        self.meter.metrics.write(
            done, {f"heldout_{name}": value for name, value in numbers.items()}
        )
        text = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
        log.say(f"{self.job.name}: held-out at step {done}: {text}")
        watch = self.loss.watch
        if watch not in numbers:
            raise errors.ConfigError(
                f"watch is {watch!r}, but the held-out batches give {', '.join(numbers)}"
            )
        return self.evaluations.add(numbers, done, watch)

    def _save(self, state: step.TrainState, done: int, stream: Mapping[str, Any]) -> None:
        """Saves a checkpoint of numbers known to be finite."""
        self._settle_anew()
        settings = job_lib.settings(self.config, self.job, self.loss.watch, len(self.stream))
        seconds = time.monotonic() - self.begun
        position = resume.Position(state, self.evaluations, done, seconds)
        resume.save(position, settings, stream, self.checkpoints)
        # Writing takes the same cores as a step, and a copy of the state beside its scratch.
        if _in_host_memory():
            self.checkpoints.wait()
            self.give_back()

    def _settle_anew(self) -> None:
        """Waits for the last step, before work of another kind takes memory."""
        self.meter.drain()
        self.give_back()
        self.unsettled, self.settled = self._unsettled_steps(), 0

    def _settle_once_more(self) -> None:
        """Now and then among many steps with nothing between them, ever more rarely."""
        self.settled += 1
        if self.settled == self.most_settled:
            self.most_settled *= 2
            self._settle_anew()

    def _unsettled_steps(self) -> int:
        """Steps to come that are waited for one by one."""
        return _UNSETTLED_STEPS if _in_host_memory() else 0


def _in_host_memory() -> bool:
    """Whether steps take the host's memory and cores."""
    return jax.default_backend() == "cpu"
