"""dpo: a verifier by preferences, a generator that learns which of two solutions of a problem is
right (V-STaR, Hosseini et al. 2024, section 3.2).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import NamedTuple

from verifier import config as config_lib
from verifier.data import preferences
from verifier.data.preferences import Drawn, PairExamples, Solution
from verifier.errors import ConfigError, DataError
from verifier.run.context import Context
from verifier.run.stage import Input, Job, Stage
from verifier.stages import base_model, existing_models, fitting, stored_samples
from verifier.stages.fitting import Examples
from verifier.stages.likelihood import as_counted
from verifier.system import log
from verifier.tables import store
from verifier.tables.results import Model
from verifier.text import split
from verifier.text.tokenizer import Tokenizer
from verifier.train.losses import dpo
from verifier.train.losses.contract import Loss

# In the place of a verifier, for it is one: who ranks by it asks for no more.
PREFERENCE_VERIFIER = Model("verifier", "dpo")
_GENERATOR = "generator"
# All of the section but `dpo.score`, which says what is done with the model.
_KNOBS = tuple(
    f"dpo.{field.name}"
    for field in dataclasses.fields(config_lib.DpoConfig)
    if field.name != "score"
)


class Judged(NamedTuple):
    """Samples with what is known of them."""

    problems: Stage
    samples: Stage
    labels: Stage
    likelihoods: Stage  # under the generator

    def reads(self, own: split.Split, prefix: str) -> dict[str, Input]:
        """What is read of a split, by roles that begin alike."""
        return {
            f"{prefix}labels": self.labels.of(own),
            f"{prefix}reference": self.likelihoods.of(own),
            # The labels follow from these.
            f"{prefix}samples": self.samples.of(own, noted=False),
            f"{prefix}problems": self.problems.of(own, noted=False),
        }


def stage(generator: Stage, train: Judged, heldout: Judged, place: str) -> Stage:
    """The preference verifier.

    Args:
        generator: that it starts from, and is held against.
        train: what it learns from.
        heldout: what it is watched on.
        place: where it is kept.
    """
    return Stage(
        prefer,
        makes=PREFERENCE_VERIFIER,
        reads={
            _GENERATOR: generator.of(),
            **train.reads(split.TRAIN, ""),
            **heldout.reads(split.HELDOUT, "heldout_"),
        },
        knobs=("seed", *_KNOBS, "model.dtype"),
        place=place,
        jobs=(Job("dpo", "train", loss=preference),),
        check=check,
    )


def preference(config: config_lib.Config, vocab_size: int) -> Loss:
    """What training makes smaller."""
    return dpo.loss(vocab_size, config.dpo.beta)


def check(config: config_lib.Config) -> None:
    """Refuses settings under which there would be nothing to prefer, or no training.

    Raises:
        ConfigError: with the way out.
    """
    base_model.refuse_encoder("model.weights", config.model.weights)
    if not config.dpo.has_work:
        raise ConfigError(
            "dpo.epochs=0.0 with dpo.steps=0: the preference verifier would not be trained at all; "
            "expected one above 0"
        )
    if config.dpo.loss_on_question:
        raise ConfigError(
            "dpo.loss_on_question=true: both solutions of a pair have the same question, which "
            "would count for nothing; set it to false"
        )
    if config.sample.train_samples == 1 or config.sample.temperature == 0:
        raise ConfigError(
            f"sample.train_samples={config.sample.train_samples} with "
            f"sample.temperature={config.sample.temperature:g}: a pair is a right and a wrong "
            "solution of the same problem; set sample.train_samples=16, as published, and a "
            "temperature"
        )


def prefer(context: Context) -> None:
    """Fits the verifier."""
    if context.is_done(context.settings()):
        return
    begun = time.monotonic()
    saved, adapted = existing_models.to_train_on(context, _GENERATOR)
    train, counts = examples(context, "", saved.tokenizer)
    if not len(train):
        raise DataError(_no_pair(context, counts))
    heldout, watched = examples(context, "heldout_", saved.tokenizer)
    facts = {
        "generator": saved.id,
        "trained_on": saved.id,
        "pairs": {"train": counts, "heldout": watched},
        **adapted,
    }
    fitting.fit_further(context, saved, Examples(train, heldout), facts, begun)


def examples(
    context: Context, prefix: str, tokenizer: Tokenizer
) -> tuple[PairExamples, dict[str, int]]:
    """Pairs of a split, and their counts, which are said."""
    config = context.config.dpo
    solutions = _solutions(context, prefix, tokenizer)
    drawn: Drawn = preferences.draw(
        solutions, config.pairs, context.config.seed, config.deduplicate
    )
    own = drawn.counts
    log.say(
        f"{context.title()}: {own['pairs']:,} of {own['possible']:,} pairs of "
        f"{context.input(f'{prefix}labels').split}, of {own['with_pairs']:,} of "
        f"{own['problems']:,} problems; {own['no_wrong']:,} have no wrong solution, "
        f"{own['no_right']:,} no right one"
    )
    prompts = context.prompts(f"{prefix}problems", tokenizer)
    return PairExamples(solutions, drawn.pairs, prompts), own


def _solutions(context: Context, prefix: str, tokenizer: Tokenizer) -> list[Solution]:
    """Labelled samples with what the generator gives them, by problem and sample; those that it
    cannot read, because they are too long, left out.
    """
    for role in ("labels", "reference"):
        context.manifest(f"{prefix}{role}")
    context.refuse_stale(f"{prefix}reference")
    judged = stored_samples.labelled(context, prefix, tokenizer, False)
    names = ["problem_id", "sample_id", "score"]
    table = store.read_table(context.source(f"{prefix}reference"), "scores", names)
    columns = (table[name].to_pylist() for name in names)
    reference = {(problem, sample): score for problem, sample, score in zip(*columns, strict=True)}
    counts_forced, solutions = context.config.dpo.loss_on_forced, []
    for row, correct in zip(judged.rows.to_pylist(), judged.correct.tolist(), strict=True):
        key = row["problem_id"], row["sample_id"]
        if key in reference:
            counted = as_counted(row["tokens"], row["forced"], counts_forced)
            name = f"{key[0]}/{key[1]}"
            solutions.append(Solution(key[0], *counted, correct, reference[key], name))
    return solutions


def _no_pair(context: Context, counts: Mapping[str, int]) -> str:
    return (
        f"{context.title()}: there is no pair of a right and a wrong solution: of "
        f"{counts['problems']:,} problems {counts['no_wrong']:,} have no wrong one and "
        f"{counts['no_right']:,} no right one; draw more solutions a problem "
        "(sample.train_samples), or at another temperature (sample.temperature)"
    )
