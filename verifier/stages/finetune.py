"""finetune: the generator, fitted to ground-truth solutions, after further pre-training where that
is asked for (Cobbe et al. 2021, section 4.1).
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import nnx

from verifier import config as config_lib
from verifier.data import batches
from verifier.model import sharding
from verifier.run import adapted_base, hosts, inputs
from verifier.run.context import Context
from verifier.run.stage import Files, Job, Stage
from verifier.stages import base_model, fitting
from verifier.stages.fitting import Examples
from verifier.system import log
from verifier.tables.results import GENERATOR
from verifier.tasks import sources
from verifier.text.problem import Problem, Template
from verifier.text.split import HELDOUT, TRAIN
from verifier.text.tokenizer import Tokenizer
from verifier.train.losses import lm
from verifier.train.losses.contract import Loss

LEFT_OUT = "left_out"  # the role of training problems that are not learned from


def stage(problems: Stage, place: str = "", left_out: Stage | None = None) -> Stage:
    """The generator of a run, from `model.weights` or random weights.

    Args:
        problems: of the run.
        place: where it is kept.
        left_out: training problems of the run that it is not to learn.
    """
    return Stage(
        finetune,
        makes=GENERATOR,
        reads={
            "weights": Files("model.weights"),
            "tokenizer": Files("tokenizer.path"),
            "corpus": Files("pretrain.corpus"),
            # Known by `data` and `seed`, which are among the knobs.
            "problems": problems.of(TRAIN, noted=False),
            "heldout_problems": problems.of(HELDOUT, noted=False),
            **({LEFT_OUT: left_out.of(TRAIN)} if left_out else {}),
        },
        knobs=("seed", "data", "tokenizer", "model", "pretrain", "finetune"),
        place=place,
        jobs=tuple(Job(name, "train", loss=language_model) for name in ("pretrain", "finetune")),
    )


def finetune(context: Context) -> None:
    """Fits the generator to the worked solutions of its problems."""
    train, heldout = context.problems("problems"), context.problems("heldout_problems")
    learned, told = train, {}
    if LEFT_OUT in context.stage.reads:
        unseen = {each.problem_id for each in context.problems(LEFT_OUT)}
        learned = [each for each in train if each.problem_id not in unseen]
        told = {"problems": len(learned), LEFT_OUT: len(train) - len(learned)}

    def examples(job: Job, tokenizer: Tokenizer) -> Examples:
        config = job.section(context.config)
        watched = fitting.ground_truth(context, heldout, tokenizer, config)
        if isinstance(config, config_lib.PretrainConfig) and config.corpus:
            return Examples(_corpus(config, tokenizer), watched)
        return Examples(fitting.ground_truth(context, learned, tokenizer, config), watched)

    # A tokenizer is made from all, so that whatever is left out, tokens are the same.
    make_generator(context, train, examples, learned=told)


def make_generator(
    context: Context,
    train: Sequence[Problem],
    examples: Callable[[Job, Tokenizer], Examples],
    milestones: int = 0,
    learned: Mapping[str, Any] = types.MappingProxyType({}),
    template: Template | None = None,
) -> None:
    """Trains a base model by the jobs of a stage, one after the other, and saves it as a folder.

    Args:
        context: of a stage that makes a model.
        train: problems from which a tokenizer is made where none is given.
        examples: of each job, in the model's tokens.
        milestones: how often the parameters are kept on the way of the last job (`fitting.fit`).
        learned: what the manifest is to tell of the examples, by name; may be filled by `examples`.
        template: how problems are put to the model, where not by the run's own.
    """
    config, settings = context.config, context.settings()
    if context.is_done(settings):
        return
    begun = time.monotonic()
    tokenizer = base_model.tokenizer_of(config, train)
    mesh = sharding.make_mesh(config.mesh)
    to_come = [job for stage in context.stages for job in stage.jobs if job.kind == "train"]
    base_model.check_rows([job for job in to_come if job.weights != "model.weights"], config)
    trained = [job for job in to_come if job.weights == "model.weights"]
    model = base_model.base_model(config, tokenizer, mesh, trained)
    base_model.attach_adapters(model, config)
    sums = inputs.sums(config, context.stage.named(config))
    facts: dict[str, Any] = {
        "settings": settings,
        "weights": base_model.weight_sums(config.model.weights),
        "inputs": sums,
        **adapted_base.facts(config.model),
    }
    facts["parameters"] = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    log.say(
        f"{context.title()}: {facts['parameters']:,} parameters, {tokenizer.vocab_size:,} tokens "
        "in the vocabulary"
    )
    identity = inputs.identity(settings, sums)
    for job in context.stage.jobs:
        if job.section(config).has_work:
            own = examples(job, tokenizer)
            kept = milestones if job is context.stage.jobs[-1] else 0
            facts[job.name] = fitting.fit(
                context, job, model, own, tokenizer.vocab_size, identity, kept
            )
            if kept and hosts.is_first():  # who writes the manifest
                facts["milestones"] = fitting.milestone_sums(context.folder(), kept)
    told = {"learned": dict(learned)} if learned else {}
    told |= {"template": dataclasses.asdict(template)} if template else {}
    fitting.finish(context, model, tokenizer, facts | told, begun)


def language_model(config: config_lib.Config, vocab_size: int) -> Loss:
    """What pretrain and finetune make smaller."""
    return lm.loss(vocab_size)


def _corpus(config: config_lib.PretrainConfig, tokenizer: Tokenizer) -> list[batches.Example]:
    """Documents as examples; one that is longer than a row is read in pieces."""
    examples = []
    for text in sources.read_corpus(pathlib.Path(config.corpus)):
        ids = [*tokenizer.encode(text), tokenizer.end_id]
        for first in range(0, len(ids), config.row_tokens):
            piece = ids[first : first + config.row_tokens]
            example = batches.lm_example(
                [], piece, [False] * len(piece), loss_on_question=True, loss_on_forced=True
            )
            examples.append(example)
    return examples
