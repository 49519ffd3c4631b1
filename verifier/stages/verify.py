"""verify: the verifier, fitted to labelled samples and ground truth, from the generator's weights
or a base model's (Cobbe et al. 2021, section 4.2 and Appendix B).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from verifier import config as config_lib
from verifier.data import batches, labelled_trees, order, step_labels
from verifier.errors import ConfigError, UserError
from verifier.evaluate import caveats
from verifier.model import keys, sharding
from verifier.model.heads import LinearHead, ReservedLogitHead, Verifier, fresh_row
from verifier.model.transformer import Transformer
from verifier.run import adapted_base, inputs, model_folder
from verifier.run.context import Context
from verifier.run.stage import Files, Job, Stage
from verifier.stages import base_model, fitting, stored_samples, token_labels
from verifier.stages.fitting import Examples
from verifier.system import log
from verifier.tables.results import VERIFIER
from verifier.text import split
from verifier.text import tokenizer as tokenizer_lib
from verifier.text.tokenizer import Tokenizer
from verifier.train.losses import value
from verifier.train.losses.contract import Loss

TRAINED_ON, WATCHED = "", "heldout_"  # prefixes of the roles that are read


def stage(
    config: config_lib.Config,
    generator: Stage,
    labels: Stage,
    samples: Stage,
    problems: Stage,
    steps: Stage | None = None,
    place: str = "",
) -> Stage:
    """The verifier of a generator, out of its labelled samples; `steps`: rollouts from their steps,
    where `verify.labels` asks for these.
    """
    if config.verify.labels in step_labels.KINDS and steps is None:
        raise ConfigError(
            f"verify.labels={config.verify.labels} needs rollouts, which this recipe has not; "
            "expected outcome or prefix, or a recipe that gives `steps` to verify.stage"
        )
    own_base = config.verify.init == "base" and bool(config.verify.weights)
    weights = "verify.weights" if own_base else "model.weights"
    return Stage(
        verify,
        makes=VERIFIER,
        reads={
            "weights": Files("verify.weights"),
            "generator": generator.of(),
            "labels": labels.of(split.TRAIN),
            "heldout_labels": labels.of(split.HELDOUT),
            # The labels follow from these.
            "samples": samples.of(split.TRAIN, noted=False),
            "heldout_samples": samples.of(split.HELDOUT, noted=False),
            "problems": problems.of(split.TRAIN, noted=False),
            "heldout_problems": problems.of(split.HELDOUT, noted=False),
            **({"steps": steps.of(split.TRAIN)} if steps else {}),
        },
        knobs=("seed", "verify", "model.dtype", *(f"model.{each}" for each in adapted_base.KNOBS)),
        place=place,
        jobs=(Job("verify", "train", weights, joint, value_head=True),),
        check=check,
    )


def check(config: config_lib.Config) -> None:
    """Refuses settings under which the verifier would not be trained at all.

    Raises:
        ConfigError: no epochs and no steps, a base model with an encoder, or beside adapters a head
            that reads a row of the frozen embedding.
    """
    if config.model.lora_rank and config.verify.head == "reserved_logit":
        raise ConfigError(
            f"verify.head=reserved_logit with model.lora_rank={config.model.lora_rank}: its row of "
            "the embedding would never be trained; set verify.head=linear"
        )
    own = config.verify.init == "base" and bool(config.verify.weights)
    weights = ("verify.weights", config.verify.weights)
    base_model.refuse_encoder(*(weights if own else ("model.weights", config.model.weights)))
    if not config.verify.has_work:
        raise ConfigError(
            "verify.epochs=0.0 with verify.steps=0: the verifier would not be trained at all; "
            "expected one above 0"
        )


def verify(context: Context) -> None:
    """Fits the verifier of the generator whose samples are labelled."""
    config, (job,) = context.config, context.stage.jobs
    mesh = sharding.make_mesh(config.mesh)
    generator = model_folder.outline(
        context.source("generator"), context.input("generator").stage.name, config.model.dtype
    )
    settings = context.settings()
    if context.is_done(settings):
        return
    begun = time.monotonic()
    drawn_by = {
        prefix: stored_samples.drawn_by(context, f"{prefix}samples", generator.id)
        for prefix in (TRAINED_ON, WATCHED)
    }
    backbone, tokenizer, weights, adapted = _base(context, generator, mesh)
    reads_text = _reads_text(tokenizer, generator, drawn_by)
    samples = {
        prefix: stored_samples.labelled(context, prefix, tokenizer, reads_text)
        for prefix in (TRAINED_ON, WATCHED)
    }
    train, heldout = (
        _examples(context, prefix, each, tokenizer, reads_text) for prefix, each in samples.items()
    )
    if memory := caveats.of_memory(*(each.correct for each in samples.values())):
        log.say(f"warning: verify: {memory}")
    examples = _mixed(context, train, heldout, tokenizer)
    model = Verifier(backbone, _fresh_head(config, backbone, tokenizer))
    nnx.update(model, sharding.place_parameters(nnx.state(model, nnx.Param), mesh))
    sums = inputs.sums(config, context.stage.named(config))
    identity = inputs.identity(settings, sums)
    fitted = fitting.fit(context, job, model, examples, tokenizer.vocab_size, identity)
    facts: dict[str, Any] = {"settings": settings, "weights": weights, "inputs": sums, **adapted}
    facts |= {job.name: fitted, "generator": generator.id, "trained_on": drawn_by[TRAINED_ON]}
    facts["reads_text"] = reads_text
    if folds := context.manifest("samples").get(stored_samples.FOLDS):
        facts["folds"] = {place: each["generator"] for place, each in folds.items()}
    fitting.finish(context, model, tokenizer, facts, begun)


def joint(config: config_lib.Config, vocab_size: int) -> Loss:
    """What the verifier's training makes smaller."""
    return value.loss(vocab_size, config.verify.value_loss, config.verify.lm_weight)


def _base(
    context: Context, generator: model_folder.Saved, mesh: jax.sharding.Mesh
) -> tuple[Transformer, Tokenizer, dict[str, str], dict[str, Any]]:
    """What the verifier starts from, its tokenizer, the sums of the files of `verify.weights` where
    these bring their own, and what the manifest notes of the base of adapters.

    From an adapted generator the verifier trains on at its adapters, which begin where they ended.

    Raises:
        UserError: the generator's base model, from which the verifier is to start too, has changed
            since.
    """
    config, part = context.config, context.input("generator")
    if config.verify.init == "generator":
        folder = part.folder(context.root)
        rank, about = config.model.lora_rank, generator.manifest.get(adapted_base.LORA)
        if rank and not about:
            raise UserError(
                f"model.lora_rank={rank}, but {folder} was trained whole: a verifier's adapters go "
                "on from a generator's, or start beside a base model (verify.init=base)"
            )
        loaded = model_folder.load(
            folder, part.stage.name, config.model.dtype, mesh, merged=not rank
        )
        adapted = {adapted_base.LORA: about} if rank else {}
        return loaded.model, generator.tokenizer, {}, adapted
    if not config.verify.weights:
        sums = base_model.weight_sums(config.model.weights)
        if changed := config_lib.differences(generator.manifest["weights"], sums):
            raise UserError(
                f"model.weights={config.model.weights!r} has changed since the generator was "
                f"made from it ({changed[0]}): put back the files it had, or start anew in "
                "another --workdir"
            )
        jobs = [*part.stage.jobs, *context.stage.jobs]
        model = base_model.base_model(config, generator.tokenizer, mesh, jobs)
        base_model.attach_adapters(model, config)
        return model, generator.tokenizer, {}, adapted_base.facts(config.model)
    weighted = dataclasses.replace(config.model, weights=config.verify.weights)
    other = dataclasses.replace(config, model=weighted, tokenizer=config_lib.TokenizerConfig())
    tokenizer = base_model.tokenizer_of(other, [])
    backbone = base_model.base_model(other, tokenizer, mesh, context.stage.jobs)
    base_model.attach_adapters(backbone, other)
    sums = base_model.weight_sums(config.verify.weights)
    return backbone, tokenizer, sums, adapted_base.facts(other.model)


def _reads_text(
    tokenizer: Tokenizer, generator: model_folder.Saved, drawn_by: Mapping[str, str]
) -> bool:
    """Whether the verifier reads solutions as text, which is said; their ids only where they are
    known to be in its own tokens.

    Args:
        tokenizer: the verifier's.
        generator: that of the workdir.
        drawn_by: the generators that drew the samples.
    """
    others = sorted(set(drawn_by.values()) - {generator.id})
    if others:
        log.say(
            f"verify: samples were drawn by generator {', '.join(others)}, whose tokens are "
            "not known: solutions are read as text"
        )
    elif not tokenizer_lib.same_ids(tokenizer, generator.tokenizer):
        log.say(
            "verify: the verifier has other tokens than the generator: solutions are read as "
            "text, in its own"
        )
    else:
        return False
    return True


def _fresh_head(
    config: config_lib.Config, backbone: Transformer, tokenizer: Tokenizer
) -> ReservedLogitHead | LinearHead:
    if config.verify.head == "reserved_logit":
        key = jax.random.fold_in(keys.key_of(config.seed), tokenizer.reserved_id)
        fresh_row(backbone, tokenizer.reserved_id, key)
    return model_folder.make_head(config.verify.head, tokenizer, backbone.arch)


def _mixed(
    context: Context,
    train: batches.LabelledSamples,
    heldout: batches.LabelledSamples,
    tokenizer: Tokenizer,
) -> Examples:
    """Labelled samples with the worked solutions of which the language-model loss is taken."""
    config, seed = context.config.verify, context.config.seed
    truth, watched = (
        fitting.ground_truth(context, context.problems(f"{prefix}problems"), tokenizer, config)
        if config.lm_weight
        else []
        for prefix in (TRAINED_ON, WATCHED)
    )
    # Where few samples are read many times, all of the ground truth is to be read beside them.
    passes = max(-(-len(truth) // max(len(train), 1)), 1) if config.steps else 1
    if config.group == 1:
        mixed = batches.mix(train, truth, seed, passes) if config.lm_weight else train
        return Examples(mixed, [*heldout, *watched])
    size, once = config.row_tokens, np.ones(len(watched))
    pairs = passes * len(train) if config.lm_weight else 0
    readings = np.bincount(order.partners(pairs, len(truth), seed), minlength=len(truth))
    grown = labelled_trees.grown(train, truth, readings, config.group, size, passes)
    log.say(f"verify: {passes * len(train):,} samples are read in {len(grown):,} trees")
    # Of held-out ones all that is asked is a mean, which no group changes.
    return Examples(grown, labelled_trees.grown(heldout, watched, once, 0, size))


def _examples(
    context: Context,
    prefix: str,
    samples: stored_samples.Labelled,
    tokenizer: Tokenizer,
    reads_text: bool,
) -> batches.LabelledSamples:
    """Labelled samples of a split, those that are used."""
    config, labelled = context.config.verify, context.input(f"{prefix}labels").split
    prompts = context.prompts(f"{prefix}problems", tokenizer)
    rows = samples.rows
    of_rows = rows["problem_id"].to_pylist()
    most = config.problems if prefix == TRAINED_ON else 0
    kept = _used(config, of_rows, rows["tokens"], sorted(set(of_rows))[: most or None])
    correct = samples.correct[kept]
    if alike := caveats.of_labels(str(labelled), correct):
        log.say(f"warning: verify: {alike}")
    by_step = config.labels in step_labels.KINDS and prefix == TRAINED_ON
    if by_step and reads_text:
        raise UserError(
            f"verify.labels={config.labels} with a verifier that reads solutions as text: steps "
            "end at tokens of the generator; start from the generator (verify.init=generator, "
            "verify.other_generator=false), or set verify.labels to outcome or prefix"
        )
    labels_of: Any = correct  # held-out ones are valued at the outcome, whatever is learned
    if prefix == TRAINED_ON:
        labels_of = token_labels.of_samples(context, rows, kept, correct)
    how = {
        "level": "token" if by_step else config.level,  # the labels say which count
        "normalise": config.normalise,
        "loss_on_forced": config.loss_on_forced or (by_step and config.level == "solution"),
    }
    return batches.LabelledSamples(rows, kept, labels_of, prompts, **how)


def _used(
    config: config_lib.VerifyConfig, of_rows: Sequence[str], tokens: Any, problems: Sequence[str]
) -> list[int]:
    """The rows that are learned from, of some problems: the first of each, repeats left out if
    asked; `of_rows`: the problem of every row.
    """
    kept: list[int] = []
    seen: set[tuple[Any, ...]] = set()
    used = dict.fromkeys(problems, 0)
    for row, key in enumerate(of_rows):
        if key not in used:
            continue
        if config.samples_per_problem and used[key] >= config.samples_per_problem:
            continue
        if config.deduplicate:
            text = (key, *tokens[row].as_py())
            if text in seen:
                continue
            seen.add(text)
        used[key] += 1
        kept.append(row)
    return kept
