"""Training verifiers (Cobbe et al. 2021, sections 4.1 and 4.2).

A generator is fine-tuned and draws many solutions of each problem; a verifier learns from those of
the training problems which are right, and ranks those of the test problems.
"""

from __future__ import annotations

from verifier.config import Config
from verifier.run.stage import Stage
from verifier.stages import finetune, label, problems, report, sample, score, verify


def stages(config: Config) -> list[Stage]:
    """finetune, sample, label, verify, score and report, on the problems of the configuration."""
    questions = problems.stage(config)
    generator = finetune.stage(questions)
    splits = sample.with_greedy(questions.splits)
    samples = sample.stage(generator, questions, splits)
    labels = label.stage(samples, questions)
    verifier = verify.stage(config, generator, labels, samples, questions)
    scores = score.stage(verifier, samples, questions)
    reported = {"generator": generator, "samples": samples, "labels": labels, "scores": scores}
    page = report.stage(reported)
    return [questions, generator, samples, labels, verifier, scores, page]
