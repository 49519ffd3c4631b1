"""Training verifiers (Cobbe et al. 2021, sections 4.1 and 4.2).

A generator is fine-tuned and draws many solutions of each problem; a verifier learns from those of
the training problems which are right, and ranks those of the test problems.
"""

from __future__ import annotations

from verifier.config import Config
from verifier.data import step_labels
from verifier.run.stage import Stage
from verifier.stages import (
    finetune,
    folds,
    label,
    problems,
    report,
    rollouts,
    sample,
    score,
    verify,
)


def stages(config: Config) -> list[Stage]:
    """finetune, sample, label, verify, score and report, on the problems of the configuration; and
    rollouts before verify where their labels are learned from. With `sample.folds` there is
    finetune and sample in the place of each fold, too.
    """
    questions = problems.stage(config)
    parted = folds.of_run(config, questions)
    generator = finetune.stage(questions)
    splits = sample.with_greedy(questions.splits)
    if parted:
        samples = folds.samples(generator, questions, splits, parted)
    else:
        samples = sample.stage(generator, questions, splits)
    labels = label.stage(samples, questions)
    rolled_out: list[Stage] = []
    if config.verify.labels in step_labels.KINDS:
        one = [rollouts.stage(generator, samples, questions)]
        rolled_out = folds.steps(samples, questions, parted) if parted else one
    steps = rolled_out[-1] if rolled_out else None
    verifier = verify.stage(config, generator, labels, samples, questions, steps)
    scores = score.stage(verifier, samples, questions)
    reported = {"generator": generator, "samples": samples, "labels": labels, "scores": scores}
    page = report.stage(reported)
    made = [stage for fold in parted for stage in fold]
    return [questions, *made, generator, samples, labels, *rolled_out, verifier, scores, page]
