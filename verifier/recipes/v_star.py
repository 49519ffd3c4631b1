"""V-STaR, verifiers for models that teach themselves (Hosseini et al. 2024).

The loops of STaR, whose right solutions teach the generator. Right and wrong ones of all loops
teach two verifiers, one that values every token (Cobbe et al. 2021) and one that prefers right
solutions to wrong ones (DPO). Both rank what the last generator draws of the test problems.
"""

from __future__ import annotations

import dataclasses

from verifier.config import Config
from verifier.errors import ConfigError
from verifier.recipes import star
from verifier.run.stage import Stage
from verifier.stages import (
    dpo,
    label,
    likelihood,
    pooled_samples,
    problems,
    sample,
    score,
    verifiers,
    verify,
)
from verifier.stages.dpo import Judged
from verifier.tables.results import GENERATOR, SAMPLES
from verifier.text.split import TRAIN

LOOPS, DPO = "loops", "dpo"  # where samples of all loops lie, and what the preference verifier does


def stages(config: Config) -> list[Stage]:
    """The stages of star, then three groups and the report of both verifiers.

    In `loops`, beside the report of star: pool, label and likelihood of what the models of all
    loops have drawn of the training problems. In the run's own workdir: sample, label and
    likelihood of the other problems, verify and score. In `dpo`: dpo, and of the same samples pool,
    label and score.
    """
    *looped, loops_page = star.stages(config)
    of_loops = [each for each in looped if "/" not in each.place]  # none with hints
    generator = [each for each in of_loops if each.makes == GENERATOR][-1]
    learned = _pooled(config, [each for each in of_loops if each.makes == SAMPLES], generator)
    drawn = _drawn(config, generator)
    verifier = verify.stage(config, generator, drawn.labels, drawn.samples, drawn.problems)
    reads = {
        "samples": learned.samples.of(TRAIN, noted=False),
        "labels": learned.labels.of(TRAIN),
        "problems": learned.problems.of(TRAIN, noted=False),
    }
    verifier = dataclasses.replace(verifier, reads={**verifier.reads, **reads})
    scores = score.stage(verifier, drawn.samples, drawn.problems)
    preferring = dataclasses.replace(dpo.stage(generator, learned, drawn, DPO), check=_check)
    # A workdir of its own, in which the verifier ranks the same samples.
    asked = problems.stage(config, DPO)
    same = pooled_samples.stage([drawn.samples], generator, drawn.samples.splits, DPO)
    labels = label.stage(same, asked, DPO)
    reference = drawn.likelihoods if config.dpo.score == "ratio" else None
    preferred = likelihood.scores(preferring, same, asked, reference, DPO)
    # What no verifier is needed for stands beside them.
    ranks = {"token values": scores, "dpo": preferred, "likelihood": drawn.likelihoods}
    page = verifiers.stage(ranks, preferring)
    made = [*looped, dataclasses.replace(loops_page, place=LOOPS), *learned, *drawn]
    return [*made, verifier, scores, preferring, asked, same, labels, preferred, page]


def _pooled(config: Config, samples: list[Stage], generator: Stage) -> Judged:
    """What the models of all loops have drawn of the training problems."""
    questions = problems.stage(config, LOOPS)
    pool = pooled_samples.stage(samples, generator, (TRAIN,), LOOPS)
    labels = label.stage(pool, questions, LOOPS)
    return Judged(questions, pool, labels, likelihood.stage(generator, pool, questions, LOOPS))


def _drawn(config: Config, generator: Stage) -> Judged:
    """What the last model draws of held-out and test problems."""
    questions = problems.stage(config)
    others = [split for split in questions.splits if split != TRAIN]
    samples = sample.stage(generator, questions, sample.with_greedy(others))
    labels = label.stage(samples, questions)
    return Judged(questions, samples, labels, likelihood.stage(generator, samples, questions))


def _check(config: Config) -> None:
    """Raises ConfigError for what there would be no last generator or no pairs with."""
    if config.star.plateau:
        raise ConfigError(
            f"star.plateau={config.star.plateau}: both verifiers are of the last loop, which must "
            "be known before; set star.plateau=0, and star.loops=3, as published"
        )
    dpo.check(config)
