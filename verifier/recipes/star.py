"""STaR, bootstrapping reasoning with reasoning (Zelikman et al. 2022).

In every loop a model solves the training problems; those that it fails are put again with the
answer as a hint; and the base learns from what reaches the answer, without any hint in it. That is
the model of the next loop. A loop's place is a workdir like any other: a generator, what it has
drawn, and what of that is right.
"""

from __future__ import annotations

import dataclasses

from verifier.config import Config
from verifier.run.stage import Stage
from verifier.stages import (
    existing_models,
    hinted_base,
    hints,
    label,
    plateau,
    problems,
    prompting,
    sample,
    self_taught_loops,
    star,
)
from verifier.text.split import TEST, TRAIN


def stages(config: Config) -> list[Stage]:
    """In `loop=0` the base as it is, in each further loop finetune; of each sample and label, and
    in its `hint` failures, sample and label; report.
    """
    made: list[Stage] = []
    models: list[Stage] = []
    judged: list[Stage] = []
    written: tuple[Stage, Stage] | None = None
    hinted: tuple[Stage, Stage] | None = None
    for loop in range(config.star.loops + 1):
        place, put = f"loop={loop}", prompting.PLAIN
        questions = problems.stage(config, place)  # so that the place is a workdir of its own
        tests = [split for split in questions.splits if split.of == TEST.of]
        splits = [TRAIN, *(dataclasses.replace(split, greedy=True) for split in tests)]
        if written is None:
            put = prompting.by_knob("star.first", config)
            model = existing_models.before(questions, place)
        else:
            learner = star.learner(
                questions, models[-1], written, hinted, loop, place, config.star.start
            )
            model = plateau.unless_over(learner, judged)
        samples = plateau.unless_over(sample.stage(model, questions, splits, place, put), judged)
        labels = plateau.unless_over(label.stage(samples, questions, place), judged)
        written = samples, labels
        models.append(model)
        judged.append(labels)
        made += [questions, model, samples, labels]
        if config.star.rationalise and loop < config.star.loops:
            own = f"{place}/hint"
            failed = plateau.unless_over(hints.failures(questions, labels, own), judged)
            helped = hints.with_hints(model, failed, questions, put, own)
            helped = plateau.unless_over(helped, judged, failed)
            checked = plateau.unless_over(label.stage(helped, failed, own), judged, failed)
            hinted = helped, checked
            made += [failed, helped, checked]
    return [*made, self_taught_loops.stage(made[0], models, judged)]


def base(config: Config) -> list[Stage]:
    """finetune alone, on worked solutions: a base that knows how hints are put."""
    questions = problems.stage(config)
    return [questions, hinted_base.stage(questions)]
