"""The stages of a teacher, which the recipes of students begin with."""

from __future__ import annotations

from typing import NamedTuple

from verifier.config import Config
from verifier.run.stage import Stage
from verifier.stages import existing_models, label, logged, prompting, sample
from verifier.text.split import HELDOUT, TRAIN

PLACE = "teacher"


class Teaching(NamedTuple):
    """A teacher's stages: all, and those of its solutions of training, held-out and unlabelled
    problems and of their labels, which are None where no teacher is named.
    """

    stages: list[Stage]
    samples: Stage | None
    labels: Stage | None


def by_teacher(config: Config, problems: Stage) -> Teaching:
    """teacher, sample and label in a place of their own; sample and label where the solutions come
    out of a log; none where neither is named.
    """
    if config.distill.log:
        logged_samples = logged.stage(problems, PLACE)
        judged = label.stage(logged_samples, problems, PLACE)
        return Teaching([logged_samples, judged], logged_samples, judged)
    if not config.distill.teacher:
        return Teaching([], None, None)
    teacher = existing_models.teacher(PLACE)
    put = prompting.by_knob("distill.teacher_format", config)
    unlabelled = [split for split in problems.splits if split.unlabelled]
    samples = sample.stage(teacher, problems, [TRAIN, HELDOUT, *unlabelled], PLACE, put)
    labels = label.stage(samples, problems, PLACE)
    return Teaching([teacher, samples, labels], samples, labels)
