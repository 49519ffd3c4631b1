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
    asked = problems.stage(config)
    generator = finetune.stage(asked)
    samples = sample.stage(generator, asked, sample.with_greedy(config, asked.splits))
    labels = label.stage(samples, asked)
    verifier = verify.stage(config, generator, labels, samples, asked)
    scores = score.stage(verifier, samples, asked)
    page = report.stage({"samples": samples, "labels": labels, "scores": scores})
    return [asked, generator, samples, labels, verifier, scores, page]
