"""Quiet-STaR (Zelikman et al. 2024): a model that thinks before every token of any text.

Texts become windows of tokens on disk; a decoder learns them plainly, where that is asked for; and
then with thoughts, which are kept where what follows becomes likelier. With a curriculum (Fast
Quiet-STaR) thoughts grow shorter from stage to stage, each a place of its own, and in the end the
decoder may learn to do without.
"""

from __future__ import annotations

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
    """corpus; in `base` the decoder; finetune, in places where there is a curriculum, and in
    `no_thought` where one is to do without; thoughts, of the decoder and of all of these; report.
    """
    texts = corpus.stage(config)
    base = quiet.base(texts)
    trained = quiet.thinkers(config, texts, base)
    made = list(trained)
    if config.quiet.no_thought_steps:
        taught = no_thought.teacher(texts, trained[-1])
        start = base if config.quiet.no_thought_start == "base" else trained[-1]
        trained.append(no_thought.student(texts, taught, start))
        made += [taught, trained[-1]]
    models = [base, *trained]
    judged = [thoughts.stage(each, texts) for each in models]
    answers = _answers(config, base, trained[-1]) if config.think.answers else []
    return [texts, base, *made, *judged, thinkers.stage(models, judged), *answers]


def _answers(config: Config, base: Stage, thinker: Stage) -> list[Stage]:
    """What both models answer to test problems at once, and the thinker's solutions, which vote
    (`verifier.rerank`).
    """
    questions = problems.stage(config)
    tests = problems.test_splits(config)
    at_once = [direct.stage(each, questions, tests, each.place) for each in (base, thinker)]
    made = [questions, *at_once]
    for each in (base, thinker):
        samples = sample.stage(each, questions, tests, each.place, thinks=True)
        made += [samples, label.stage(samples, questions, each.place)]
    return made
