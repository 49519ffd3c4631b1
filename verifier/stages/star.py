"""STaR: a model learns from those of its own solutions that reach the answer, and from those that
it finds with the answer at hand (Zelikman et al. 2022, section 3).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Sequence
from typing import Any

from verifier import config as config_lib
from verifier.config import Config
from verifier.data import self_taught
from verifier.data.examples import encode_solution, lm_example
from verifier.data.self_taught import Hint, Kept, Own
from verifier.errors import ConfigError, DataError
from verifier.evaluate import loops
from verifier.run import adapted_base
from verifier.run.context import Context
from verifier.run.stage import Files, Input, Job, Stage
from verifier.stages import base_model, existing_models, fitting, sample
from verifier.stages.finetune import language_model, make_generator
from verifier.stages.fitting import Examples
from verifier.system import log
from verifier.tables import store, verdicts
from verifier.tables.results import GENERATOR
from verifier.text.problem import Problem
from verifier.text.split import TRAIN
from verifier.text.tokenizer import Tokenizer

_LAST = "last"  # the role in which the model of the last loop is read
_KNOBS = (
    *("seed", "data", "tokenizer", "model", "finetune", "star.rationalise", "star.hint"),
    *("star.start", "star.growth", "star.deduplicate", "star.fewest_words"),
)


def learner(
    problems: Stage,
    model: Stage,
    written: tuple[Stage, Stage],
    hinted: tuple[Stage, Stage] | None,
    loop: int,
    place: str,
    start: str,
) -> Stage:
    """The model of a loop.

    Args:
        problems: of the run.
        model: of the loop before, which it starts from where that is asked for.
        written: the other one's samples and their labels.
        hinted: the same of those with hints; None: there are none.
        loop: its number, from 1 on.
        place: where it is kept.
        start: `star.start`.
    """
    reads: dict[str, Input | Files] = {
        "weights": Files("model.weights"),
        "tokenizer": Files("tokenizer.path"),
        "problems": problems.of(TRAIN, noted=False),
        "samples": written[0].of(TRAIN),
        "labels": written[1].of(TRAIN),
    }
    if hinted is not None:
        # Not noted: there are none where no problem has failed. They follow from the others.
        reads["hinted_samples"] = hinted[0].of(TRAIN, noted=False)
        reads["hinted_labels"] = hinted[1].of(TRAIN, noted=False)
    if start == "last":
        reads[_LAST] = model.of()
    return Stage(
        _learn,
        makes=GENERATOR,
        reads=reads,
        knobs=_KNOBS,
        place=place,
        jobs=(_GrowingJob("finetune", "train", loss=language_model, loop=loop),),
        check=check,
    )


def check(config: Config) -> None:
    """Raises ConfigError for what a loop could not do."""
    Hint(config.star.hint)
    if not config.finetune.steps:
        raise ConfigError(
            "finetune.steps=0: the loops of star take so many optimiser steps, more by "
            "star.growth in each; set finetune.steps=40, as published, or another number"
        )
    if config.finetune.patience:
        raise ConfigError(
            f"finetune.patience={config.finetune.patience}: a model that learns from its own "
            "solutions is not watched on others; set finetune.patience=0"
        )
    if config.sample.temperature == 0 and config.sample.train_samples > 1:
        raise ConfigError(
            f"sample.train_samples={config.sample.train_samples} with sample.temperature=0: the "
            "most likely solution is one; set sample.train_samples=1, or a temperature"
        )
    sample.refuse_no_greedy(config)


@dataclasses.dataclass(frozen=True)
class _GrowingJob(Job):
    """A job that takes more steps in every loop."""

    loop: int = 1

    def section(self, config: Config) -> config_lib.TrainConfig:
        steps = round(config.finetune.steps * (1 + config.star.growth) ** (self.loop - 1))
        return dataclasses.replace(config.finetune, steps=steps)


def own_of(context: Context, prefix: str = "") -> list[Own]:
    """The stored solutions of the role `samples`, with what `labels` say of them; before both names
    stands the prefix.

    Raises:
        TablesError: one has no label.
    """
    columns = ["problem_id", "sample_id", "solution", "finish"]
    samples = store.read_table(context.source(f"{prefix}samples"), "samples", columns)
    right = verdicts.Labels(context.source(f"{prefix}labels"))(samples).right
    return [
        Own(row["problem_id"], row["solution"], row["finish"] == "eos", correct)
        for row, correct in zip(samples.to_pylist(), right.tolist(), strict=True)
    ]


def used_by_kind(used: Collection[str], asked: Sequence[Problem]) -> dict[str, float]:
    """By source, the share of the problems asked that something is learned of."""
    sources = {each.problem_id: each.source for each in asked}
    learned = loops.kinds_of((each for each in used if each in sources), sources)
    return {kind: learned.get(kind, 0) / n for kind, n in loops.kinds_of(sources, sources).items()}


def kept_of(context: Context) -> tuple[list[Kept], dict[str, Any]]:
    """What a loop learns, and its counts for the manifest.

    Raises:
        DataError: it is nothing; with the numbers.
    """
    config, solutions = context.config.star, own_of(context)
    hinted: list[Own] = []
    if "hinted_samples" in context.stage.reads and self_taught.unsolved(solutions):
        context.manifest("hinted_labels")
        hinted = own_of(context, "hinted_")
    found, left_out = self_taught.kept(
        solutions, hinted, Hint(config.hint), config.deduplicate, config.fewest_words
    )
    ids = {each.problem_id for each in solutions}
    asked, problems = len(ids), context.problems("problems")
    used = {each.problem_id for each in found}
    unaided = {each.problem_id for each in found if not each.hinted}
    counts = {
        "own": sum(not each.hinted for each in found),
        "hinted": sum(each.hinted for each in found),
        "used_without_hints": len(unaided) / asked if asked else 0.0,
        "used": len(used) / asked if asked else 0.0,
        "used_by_kind": used_by_kind(used, [each for each in problems if each.problem_id in ids]),
        "left_out": dict(left_out),
    }
    reasons = "".join(f"; {number:,} {reason}" for reason, number in left_out.items())
    log.say(
        f"{context.title()}: learns {counts['own']:,} solutions of its own and "
        f"{counts['hinted']:,} by a hint, of {counts['used']:.1%} of {asked:,} problems{reasons}"
    )
    if not found:
        right = sum(each.correct for each in solutions)
        helped = sum(each.correct for each in hinted)
        raise DataError(
            f"{context.title()}: nothing is left to learn from: {right:,} of {len(solutions):,} "
            f"solutions of the loop before are right, and {helped:,} of {len(hinted):,} with a "
            f"hint{reasons}; start from a base that solves some (model.weights), show it exemplars "
            "(star.first=in_context_chain_of_thought), or draw several solutions a problem "
            "(sample.train_samples, sample.temperature)"
        )
    return found, counts


def _learn(context: Context) -> None:
    """Fits the base, or the model of the last loop, to what is kept."""
    if context.is_done(context.settings()):
        return
    begun = time.monotonic()
    train = context.problems("problems")
    found, learned = kept_of(context)
    (job,) = context.stage.jobs
    learned["steps"] = job.section(context.config).steps

    def examples(job: Job, tokenizer: Tokenizer) -> Examples:
        return Examples(examples_of(context, job, found, train, tokenizer), [])

    if context.config.star.start == "base":
        make_generator(context, train, examples, learned=learned)
    else:
        saved, adapted = existing_models.to_train_on(context, _LAST)
        if not adapted:  # in the first loop, where adapters begin beside the base
            base_model.attach_adapters(saved.model, context.config)
            adapted = adapted_base.facts(context.config.model)
        facts = {"weights": saved.manifest.get("weights", {}), "learned": learned, **adapted}
        fitting.fit_further(context, saved, examples(job, saved.tokenizer), facts, begun)


def examples_of(
    context: Context,
    job: Job,
    found: Sequence[Kept],
    train: Sequence[Problem],
    tokenizer: Tokenizer,
) -> list[Any]:
    """Plain questions, whatever was put to whoever wrote the solutions."""
    config, asked = job.section(context.config), {each.problem_id: each for each in train}
    return [
        lm_example(
            context.prompt_ids(asked[each.problem_id], tokenizer),
            *encode_solution(each.solution, tokenizer),
            loss_on_question=config.loss_on_question,
            loss_on_forced=config.loss_on_forced,
            name=each.problem_id,
        )
        for each in found
    ]
