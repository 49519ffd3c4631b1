"""Quiet-STaR (Zelikman et al. 2024): a model that thinks before every token of any text.

Texts become windows of tokens on disk; a decoder learns them plainly, where that is asked for; and
then with thoughts, which are kept where what follows becomes likelier. With a curriculum (Fast
Quiet-STaR) thoughts grow shorter from stage to stage, each a place of its own, and in the end the
decoder may learn to do without.
"""

from __future__ import annotations

from collections.abc import Sequence

from verifier.config import Config
from verifier.run.stage import Stage
from verifier.stages import (
    corpus,
    direct,
    label,
    no_thought,
    problems,
    quiet,
    sample,
    thinkers,
    thoughts,
)


def stages(config: Config) -> list[Stage]:
    """corpus; in `base` the decoder; finetune, in places where there is a curriculum; in
    `no_thought` teach and finetune, where a decoder is to do without; thoughts of all of these
    models; report. With `think.answers` direct, sample and label of some of them, too.
    """
    texts = corpus.stage(config)
    base = quiet.base(texts)
    models = [base, *quiet.thinkers(config, texts, base)]
    made, answering = list(models), [base, models[-1]]
    if config.quiet.no_thought_steps:
        start = base if config.quiet.no_thought_start == "base" else models[-1]
        taught = no_thought.teacher(texts, models[-1])
        models.append(no_thought.student(texts, taught, start))
        made += [taught, models[-1]]
        answering.append(models[-1])
    judged = [thoughts.stage(each, texts) for each in models]
    answers = _answers(config, answering) if config.think.answers else []
    return [texts, *made, *judged, *answers, thinkers.stage(models, judged)]


def _answers(config: Config, models: Sequence[Stage]) -> list[Stage]:
    """What models answer to test problems at once, and solutions of theirs, which vote
    (`verifier.rerank`).
    """
    questions, tests = problems.stage(config), problems.test_splits(config)
    made = [questions, *(direct.stage(each, questions, tests, each.place) for each in models)]
    for each in models:
        samples = sample.stage(each, questions, tests, each.place, thinks=True)
        made += [samples, label.stage(samples, questions, each.place)]
    return made
