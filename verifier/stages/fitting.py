"""Fitting a model to examples: the job of a training stage, under the stage's own settings."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from flax import nnx

from verifier import config as config_lib
from verifier.data import batches
from verifier.data.row_stream import Shard
from verifier.data.window_stream import WindowStream
from verifier.data.windows import Windows
from verifier.errors import ConfigError
from verifier.model import lora, sharding
from verifier.model.heads import Verifier
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer
from verifier.run import device_checks, hosts, inputs, model_folder, thinker_folder
from verifier.run.context import Context
from verifier.run.stage import Job
from verifier.system import checksums, log
from verifier.text.problem import Problem
from verifier.text.tokenizer import Tokenizer
from verifier.train import checkpoint, loop
from verifier.train.losses.contract import Loss
from verifier.train.prefetch import Stream


class Examples(NamedTuple):
    """What a job learns from, and what it is watched on."""

    train: Sequence[batches.Example] | Windows
    heldout: Sequence[batches.Example] | Windows


def checkpoints_of(job: Job, folder: pathlib.Path) -> pathlib.Path:
    """Where a job that trains the model of a folder keeps its checkpoints."""
    return folder / f"{job.name}-checkpoints"


def milestone_of(folder: pathlib.Path, number: int) -> pathlib.Path:
    """Where the parameters at a milestone of the training of a folder's model lie."""
    return folder / "milestones" / str(number)


def milestone_sums(folder: pathlib.Path, milestones: int) -> dict[str, dict[str, str]]:
    """The sums of the files of every milestone, by its number; for the manifest of the model."""
    numbers = range(1, milestones + 1)
    return {str(each): checksums.of_folder(milestone_of(folder, each)) for each in numbers}


def fit(
    context: Context,
    job: Job,
    model: nnx.Module,
    examples: Examples,
    vocab_size: int,
    identity: Mapping[str, Any],
    milestones: int = 0,
) -> dict[str, Any]:
    """Runs one training job.

    Args:
        context: of the stage.
        job: of the stage.
        model: lies on a mesh; is changed.
        examples: of the job.
        vocab_size: of the model's tokenizer.
        identity: what the result depends on, by which checkpoints are known to be of this job.
        milestones: how often, evenly over its steps, the parameters are kept beside the model's
            (`milestone_of`), the last time at its end.

    Returns:
        What became of it, for the manifest.

    Raises:
        ConfigError: fewer steps than milestones, or milestones of adapters.
    """
    config, seed = job.section(context.config), context.config.seed
    folder = checkpoints_of(job, context.folder())
    assert job.loss is not None  # of a training job
    loss: Loss = job.loss(context.config, vocab_size)
    spec = batches.BatchSpec(config.batch_rows, config.row_tokens, loss.targets, _encoder_of(model))
    shard = Shard(jax.process_index(), jax.process_count())
    how = (config.epochs, config.steps, shard)
    stream = _stream(examples.train, seed, spec, *how)
    heldout = examples.heldout
    watched = list(_stream(heldout, 0, spec, 1.0, 0, shard)) if len(heldout) else []
    log.say(f"{job.name}: {amounts(examples.train, len(stream), loss)}")
    _refuse_milestones(milestones, job, len(stream), model)
    kept = [(len(stream) * number // milestones, number) for number in range(1, milestones + 1)]
    mesh = _mesh(model, job, config)
    train_job = loop.TrainJob(
        name=job.name,
        logs=context.logs,
        checkpoints=folder,
        seed=seed,
        heldout=watched,
        facts=dict(identity),
        to_device=functools.partial(sharding.place_rows, mesh=mesh),
        stop=hosts.stopping_after,
        due=hosts.Every(f"checkpoint in {folder}", config.checkpoint_minutes),
        milestones={at: milestone_of(context.folder(), number) for at, number in kept},
    )
    return loop.fit(model, stream, loss, config, train_job)._asdict()


def _refuse_milestones(milestones: int, job: Job, steps: int, model: nnx.Module) -> None:
    if milestones > steps:
        raise ConfigError(
            f"select.checkpoints={milestones}, but {job.name} takes {steps} steps; set as "
            f"many at most, or raise {job.name}.epochs"
        )
    if milestones and lora.is_adapted(nnx.state(model, nnx.Param)):
        raise ConfigError(
            f"select.checkpoints={milestones} with adapters: checkpoints to choose among are whole "
            "models; set model.lora_rank=0"
        )


def _stream(examples: Sequence[batches.Example] | Windows, *how: Any) -> Stream:
    """The batches of examples, or of windows on disk; further arguments as `BatchStream` has."""
    if isinstance(examples, Windows):
        return WindowStream(examples, *how)
    return batches.BatchStream(examples, *how)


def amounts(examples: Sequence[batches.Example] | Windows, steps: int, loss: Loss) -> str:
    """How much a job learns from, and the share of tokens that each part of its loss looks at."""
    if isinstance(examples, Windows):
        return f"{len(examples):,} windows of {examples.window_tokens} tokens, {steps} steps"
    counted = batches.supervision(examples, {part.weight for part in loss.parts.values()})
    shares = ", ".join(
        f"{counted.share(part.weight):.0%} by {name}" for name, part in loss.parts.items()
    )
    return (
        f"{len(examples):,} examples, {counted.tokens:,} tokens, {steps} steps; "
        f"supervised tokens: {shares}"
    )


def finish(
    context: Context,
    model: Transformer | Verifier | Thinker,
    tokenizer: Tokenizer,
    facts: Mapping[str, Any],
    begun: float,
) -> None:
    """Saves what a stage has trained, and removes the checkpoints of its jobs.

    Args:
        context: of the stage.
        model: trained.
        tokenizer: of the model.
        facts: for the manifest; what became of each job by its name, and the "template" where
            problems are not put to it by the run's own.
        begun: when the stage began in this process, by `time.monotonic`.
    """
    folder, fitted = context.folder(), [facts.get(job.name) for job in context.stage.jobs]
    earlier = sum(each["earlier_seconds"] for each in fitted if each)
    own = {"template": dataclasses.asdict(context.template())}
    seconds = {"seconds": earlier + time.monotonic() - begun}
    facts = {**own, **facts, **seconds}
    if isinstance(model, Thinker):
        name = thinker_folder.save(folder, model, tokenizer, facts)
    else:
        name = model_folder.save(folder, model, tokenizer, facts)
    for job in context.stage.jobs:  # of no more use, and three times the size of the model
        checkpoint.remove_checkpoints(checkpoints_of(job, folder))
    log.say(f"{context.title()}: {context.stage.makes.name} {name} saved in {folder}")


def fit_further(
    context: Context,
    saved: model_folder.Saved,
    examples: Examples,
    facts: Mapping[str, Any],
    begun: float,
) -> None:
    """Fits a model of an earlier stage further, by the only job of this one, and saves it.

    Args:
        context: of the stage.
        saved: its model lies on a mesh, and is changed.
        examples: of the job.
        facts: for the manifest, beside the settings, the sums of files of others, and what became
            of the job.
        begun: as `finish`.
    """
    settings, (job,) = context.settings(), context.stage.jobs
    sums = inputs.sums(context.config, context.stage.named(context.config))
    identity = inputs.identity(settings, sums)
    fitted = fit(context, job, saved.model, examples, saved.tokenizer.vocab_size, identity)
    own = {"settings": settings, "inputs": sums, job.name: fitted}
    finish(context, saved.model, saved.tokenizer, own | dict(facts), begun)


def ground_truth(
    context: Context,
    problems: Sequence[Problem],
    tokenizer: Tokenizer,
    config: config_lib.TrainConfig,
) -> list[batches.Example]:
    """The worked solutions of the problems that have one, as examples of a language model."""
    return [
        batches.lm_example(
            *batches.encode_problem(each, tokenizer, context.template()),
            loss_on_question=config.loss_on_question,
            loss_on_forced=config.loss_on_forced,
            name=each.problem_id,
        )
        for each in problems
        if each.solution
    ]


def _encoder_of(model: nnx.Module) -> batches.EncoderIds | None:
    """What stands beside examples where a model has an encoder."""
    if not isinstance(model, Transformer) or not model.arch.encoder_layers:
        return None
    return batches.EncoderIds(model.arch.start_id, model.arch.close_id)


def _mesh(model: nnx.Module, job: Job, config: config_lib.TrainConfig) -> jax.sharding.Mesh:
    """The mesh that a model lies on; raises as `device_checks.check_rows`."""
    mesh = sharding.mesh_of(nnx.state(model, nnx.Param))
    assert mesh is not None  # the stage has put it there
    device_checks.check_rows(job.name, config, mesh)
    return mesh
