"""finetune with thoughts: a decoder that learns to think before every token of a text (Quiet-STaR,
Zelikman et al. 2024), and the plainly trained one that it starts from.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Any

import jax
from flax import nnx

from verifier import config as config_lib
from verifier.config import Config, QuietConfig
from verifier.errors import ConfigError
from verifier.model import keys, sharding
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer
from verifier.run import inputs, model_folder, thinker_folder
from verifier.run.context import Context
from verifier.run.stage import Files, Job, Stage
from verifier.stages import base_model, corpus, existing_models, fitting
from verifier.stages.finetune import language_model
from verifier.stages.fitting import Examples
from verifier.system import log
from verifier.tables.results import GENERATOR, Model
from verifier.text.split import HELDOUT, TRAIN
from verifier.text.tokenizer import Tokenizer
from verifier.train.losses import quiet as quiet_loss
from verifier.train.losses.contract import Loss

# What a thought is, and what it is judged by: told by the manifest, for whoever lets it think.
_THOUGHTS = ("thought_tokens", "ahead", "thought_source", "mixing")
_KNOBS = (
    *_THOUGHTS,
    *("thoughts", "tokens", "watched_windows", "marks_like", "embedding_scale", "baseline"),
    *("clamp", "reinforce_temperature", "policy_weight", "base_weight"),
    *("curriculum", "curriculum_ahead", "curriculum_rates"),
)


def base(texts: Stage) -> Stage:
    """What thinkers start from, in the place `base`: the model of `model.weights`, or one of random
    weights; trained plainly on the same texts where `pretrain` has work.
    """
    return Stage(
        _make_base,
        makes=Model("generator", "pretrain"),
        reads={
            "weights": Files("model.weights"),
            "corpus": texts.of(TRAIN),
            "heldout_corpus": texts.of(HELDOUT, noted=False),
        },
        knobs=("seed", "model", "pretrain", "quiet.watched_windows"),
        place="base",
        jobs=(_WindowJob("pretrain", "train", loss=language_model, windows=True),),
        check=check,
    )


def thinkers(config: Config, texts: Stage, start: Stage) -> list[Stage]:
    """One, or one for each stage of the curriculum in the places `stage=1` and so on, each from the
    last.

    Args:
        config: of the run.
        texts: windows of them.
        start: the decoder that the first one starts from.
    """
    made: list[Stage] = []
    for number in range(max(len(config.quiet.curriculum), 1)):
        place = f"stage={number + 1}" if config.quiet.curriculum else ""
        made.append(_thinker(texts, made[-1] if made else start, number, place))
    return made


def of_stage(config: Config, number: int) -> Config:
    """The settings of a stage of the curriculum, counted from 0: its thoughts, and its rate."""
    quiet, finetune = config.quiet, config.finetune
    if quiet.curriculum:
        quiet = dataclasses.replace(quiet, thought_tokens=quiet.curriculum[number])
    if quiet.curriculum_ahead:
        quiet = dataclasses.replace(quiet, ahead=quiet.curriculum_ahead[number])
    if quiet.curriculum_rates:
        rate = quiet.curriculum_rates[number]
        finetune = dataclasses.replace(finetune, learning_rate=rate)
    return dataclasses.replace(config, quiet=quiet, finetune=finetune)


def _thinker(texts: Stage, last: Stage, number: int, place: str) -> Stage:
    job = _WindowJob(
        "finetune",
        "train",
        loss=functools.partial(_loss, number=number),
        thoughts=lambda config: of_stage(config, number).quiet,
        windows=True,
        number=number,
    )
    return Stage(
        functools.partial(_think, number=number),
        makes=GENERATOR,
        reads={
            "last": last.of(),
            "corpus": texts.of(TRAIN),
            "heldout_corpus": texts.of(HELDOUT, noted=False),
        },
        knobs=("seed", "model.dtype", "finetune", *(f"quiet.{name}" for name in _KNOBS)),
        place=place,
        jobs=(job,),
        check=check,
    )


@dataclasses.dataclass(frozen=True)
class _WindowJob(Job):
    """A job whose rows are windows."""

    number: int = 0

    def section(self, config: Config) -> config_lib.TrainConfig:
        section = getattr(of_stage(config, self.number), self.name)
        return dataclasses.replace(section, row_tokens=config.quiet.tokens)


def check(config: Config) -> None:
    """Raises ConfigError for thoughts that cannot be, or that nothing could be answered with, a
    curriculum that is none, or adapters.
    """
    quiet = config.quiet
    if config.model.lora_rank:
        raise ConfigError(
            f"model.lora_rank={config.model.lora_rank}: a model that learns to think is trained "
            "whole; set model.lora_rank=0"
        )
    for name in ("curriculum_ahead", "curriculum_rates"):
        entries = getattr(quiet, name)
        if entries and len(entries) != len(quiet.curriculum):
            raise ConfigError(
                f"quiet.{name} has {len(entries)} entries for the {len(quiet.curriculum)} stages "
                f"of quiet.curriculum={list(quiet.curriculum)}; expected one a stage, or none"
            )
    _check_room(config, config.model.context)
    if config.think.answers and config.think.every != "none" and quiet.thought_source != "drawn":
        raise ConfigError(
            f"think.answers=true with quiet.thought_source={quiet.thought_source}, which nothing "
            "is written with; set think.every=none, or leave think.answers out"
        )
    if not config.finetune.has_work:
        raise ConfigError(
            "finetune.epochs=0.0 with finetune.steps=0: no thought would be learned; expected one "
            "above 0"
        )


def _check_room(config: Config, context: int) -> None:
    """Raises as `losses.quiet.check`, for each stage of the curriculum."""
    for number in range(max(len(config.quiet.curriculum), 1)):
        quiet_loss.check(of_stage(config, number).quiet, context)


def _loss(config: Config, vocab_size: int, number: int) -> Loss:
    return quiet_loss.loss(vocab_size, of_stage(config, number).quiet)


def _examples(context: Context) -> Examples:
    most = context.config.quiet.watched_windows
    return Examples(
        corpus.windows(context, "corpus"), corpus.windows(context, "heldout_corpus", most)
    )


def _make_base(context: Context) -> None:
    config, settings = context.config, context.settings()
    if context.is_done(settings):
        return
    begun, (job,) = time.monotonic(), context.stage.jobs
    tokenizer = corpus.tokenizer(context, "corpus")
    model = base_model.base_model(
        config, tokenizer, sharding.make_mesh(config.mesh), context.stage.jobs
    )
    if model.arch.encoder_layers:
        base_model.refuse_encoder("model.weights", config.model.weights)
    _check_room(config, model.arch.context)  # which may be less than `model.context`
    sums = inputs.sums(config, context.stage.named(config))
    facts: dict[str, Any] = {
        "settings": settings,
        "weights": base_model.weight_sums(config.model.weights),
        "inputs": sums,
    }
    if job.section(config).has_work:
        identity = inputs.identity(settings, sums)
        facts[job.name] = fitting.fit(
            context, job, model, _examples(context), tokenizer.vocab_size, identity
        )
    fitting.finish(context, model, tokenizer, facts, begun)


def _think(context: Context, number: int) -> None:
    """Trains the thinker of a stage of the curriculum."""
    config = of_stage(context.config, number)
    if context.is_done(context.settings()):
        return
    begun = time.monotonic()
    saved = _started(context, number)
    # The base may be of an earlier start, with other thoughts.
    quiet_loss.check(config.quiet, saved.model.backbone.arch.context)
    facts = {
        "weights": saved.manifest.get("weights", {}),
        thinker_folder.THOUGHTS: {name: getattr(config.quiet, name) for name in _THOUGHTS},
    }
    fitting.fit_further(context, saved, _examples(context), facts, begun)


def _started(context: Context, number: int) -> model_folder.Saved:
    """The thinker of the last stage of the curriculum, or a new one around a decoder."""
    config = context.config
    if number:
        mesh, made_by = sharding.make_mesh(config.mesh), context.input("last").stage.name
        return thinker_folder.load(context.source("last"), made_by, config.model.dtype, mesh)
    saved = existing_models.loaded(context, "last")
    return saved._replace(model=new_thinker(config, saved.model, saved.tokenizer))


def new_thinker(config: Config, decoder: Transformer, tokenizer: Tokenizer) -> Thinker:
    """A thinker that knows no thought yet, on the run's mesh."""
    text = config.quiet.marks_like
    ids = tokenizer.encode(text)
    if len(ids) != 1:
        log.say(
            f"quiet.marks_like={text!r} is {len(ids)} tokens of this vocabulary: start and end "
            "of a thought begin as the mean of all embeddings"
        )
    rngs = nnx.Rngs(jax.random.fold_in(keys.key_of(config.seed, "thoughts"), 0))
    thinker = Thinker(
        decoder,
        rngs=rngs,
        embedding_scale=config.quiet.embedding_scale,
        like_id=ids[0] if len(ids) == 1 else None,
    )
    mesh = sharding.make_mesh(config.mesh)
    nnx.update(thinker, sharding.place_parameters(nnx.state(thinker, nnx.Param), mesh))
    return thinker


def thoughts_of(manifest: dict[str, Any], config: QuietConfig) -> QuietConfig:
    """How a stored thinker was taught to think, whatever the settings say now."""
    told = {name: manifest[thinker_folder.THOUGHTS][name] for name in _THOUGHTS}
    return dataclasses.replace(config, **told)
