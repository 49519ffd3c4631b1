"""What a training job starts from: a tokenizer, and a base model that was imported or is new."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from verifier import config as config_lib
from verifier.errors import ConfigError
from verifier.hf import files as hf_files
from verifier.hf import weights as hf_weights
from verifier.model import keys, lora, sharding
from verifier.model.arch import Arch, scratch_arch
from verifier.model.transformer import Transformer
from verifier.run.stage import Job
from verifier.system import paths
from verifier.text import tokenizer as tokenizer_lib
from verifier.text.problem import Problem
from verifier.text.tokenizer import Tokenizer


def check_rows(jobs: Sequence[Job], config: config_lib.Config) -> None:
    """Looks at base models that are to be trained later, before anything is.

    Raises:
        UserError: no such weights, a family that is not supported, or rows longer than its context.
    """
    flat = config_lib.flatten(config)
    for job in jobs:
        if flat[job.weights]:
            folder = hf_files.resolve_weights(flat[job.weights])
            arch = hf_weights.arch_from_hf(hf_files.read_json(folder / "config.json"))
            base_arch(arch, config, folder, [job])


def base_arch(arch: Arch, config: config_lib.Config, source: object, jobs: Sequence[Job]) -> Arch:
    """An imported model as a run has it: with a context of `model.context` at most.

    Relative positions have no end of their own: with them it is `model.context`.

    Args:
        arch: as it was imported.
        config: of the run.
        source: where it comes from, for the message.
        jobs: those that are to train it.

    Raises:
        ConfigError: a training job's rows are longer; or what an encoder reads is to be predicted.
    """
    # learned positions are parameters: their number stays
    if arch.positions != "learned":
        own = arch.context if arch.positions == "rotary" else config.model.context
        arch = dataclasses.replace(arch, context=min(own, config.model.context))
    for job in jobs:
        section = job.section(config)
        if arch.encoder_layers and section.has_work and not job.value_head:
            _check_behind_encoder(job.name, section, source)
        if section.has_work and section.row_tokens > arch.context:
            raise ConfigError(
                f"{job.name}.row_tokens={section.row_tokens} is more than the context of "
                f"{arch.context} tokens of {source}"
            )
    return arch


def _check_behind_encoder(name: str, section: config_lib.TrainConfig, source: object) -> None:
    """Refuses a job that would have a model with an encoder predict its prompts."""
    if isinstance(section, config_lib.PretrainConfig) and section.corpus:
        raise ConfigError(
            f"{name}.corpus={section.corpus!r} has texts without prompts, but {source} has an "
            f"encoder that reads a prompt; set {name}.epochs=0"
        )
    if section.loss_on_question:
        raise ConfigError(
            f"{name}.loss_on_question=true, but the encoder of {source} reads the question and "
            f"predicts nothing; set {name}.loss_on_question=false"
        )


def refuse_encoder(knob: str, weights: str) -> None:
    """Refuses a model with an encoder for a verifier, before anything is trained.

    Args:
        knob: that names it, for the message.
        weights: its folder; one that is not there is looked at when it is read.

    Raises:
        UserError: it has one, or its config.json cannot be read.
    """
    file = paths.local(weights) / "config.json" if weights else None
    if file is None or not file.is_file():
        return
    if hf_weights.arch_from_hf(hf_files.read_json(file)).encoder_layers:
        raise ConfigError(
            f"{knob}={weights!r} has an encoder, which no verifier is built on: it reads question "
            "and solution in one row. Start the verifier from a decoder (verify.init=base "
            "verify.weights=FOLDER), or leave it out (--stages=finetune,sample,label)"
        )


def tokenizer_of(config: config_lib.Config, train: Sequence[Problem]) -> Tokenizer:
    """The tokenizer that the settings name; a SentencePiece model without a path is trained on the
    training problems.

    Raises:
        ConfigError: kind, path and weights do not go together.
    """
    kind, path, weights = config.tokenizer.kind, config.tokenizer.path, config.model.weights
    if weights and (kind == "bytes" or (kind == "sentencepiece" and not path)):
        raise ConfigError(
            f"tokenizer.kind={kind} makes a new vocabulary, which model.weights={weights!r} "
            "was not trained with; set auto"
        )
    if kind == "bytes":
        return tokenizer_lib.ByteTokenizer()
    if kind == "sentencepiece" and not path:
        texts = (f"{each.question}\n{each.solution or ''}" for each in train)
        return tokenizer_lib.train_sentencepiece(texts, config.tokenizer.vocab_size)
    if not path and not weights:
        raise ConfigError(
            f"tokenizer.kind={kind} needs tokenizer.path or model.weights; or set "
            "sentencepiece to train one"
        )
    tokenizer = tokenizer_lib.load_tokenizer(
        pathlib.Path(path) if path else hf_files.resolve_weights(weights)
    )
    if kind != "auto" and kind not in type(tokenizer).__name__.lower():
        raise ConfigError(
            f"tokenizer.kind={kind}, but {path or weights} holds a {type(tokenizer).__name__}; set "
            "tokenizer.kind=auto"
        )
    return tokenizer


def base_model(
    config: config_lib.Config,
    tokenizer: Tokenizer,
    mesh: jax.sharding.Mesh,
    jobs: Sequence[Job],
) -> Transformer:
    """The imported base model with a context of `model.context` at most, or one of random weights.

    Args:
        config: of the run.
        tokenizer: of the model.
        mesh: where its parameters go.
        jobs: those that are to train it.

    Raises:
        UserError: weights that cannot be read, or rows of a job that are longer than the context.
    """
    dtype = jnp.dtype(config.model.dtype)
    if not config.model.weights:
        arch = scratch_arch(config.model, tokenizer.reserved_id + 1)
        sharding.check(arch, mesh)
        model = Transformer(arch, rngs=nnx.Rngs(keys.key_of(config.seed)), dtype=dtype)
        nnx.update(model, sharding.place_parameters(nnx.state(model, nnx.Param), mesh))
        return model
    folder = hf_files.resolve_weights(config.model.weights)
    model = hf_weights.load_weights(
        folder, tokenizer_size=tokenizer.vocab_size, dtype=dtype, mesh=mesh
    )
    model.arch = base_arch(model.arch, config, folder, jobs)
    return model


def attach_adapters(model: Transformer, config: config_lib.Config) -> None:
    """Gives a base model the fresh adapters that the settings ask for; raises as `lora.attach`."""
    lora.attach(model, config.model, keys.key_of(config.seed, "lora"))


def weight_sums(weights: str) -> dict[str, str]:
    """The sums of a base model's files, by name; none for a model of random weights."""
    return hf_files.sums(hf_files.resolve_weights(weights)) if weights else {}
