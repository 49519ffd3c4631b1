"""The stages of a teacher, which the recipes of students begin with."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from verifier.config import Config
from verifier.run.stage import Stage
from verifier.stages import label, logged, prompting, sample, taken
from verifier.text.split import HELDOUT, TRAIN

PLACE = "teacher"


class Taught(NamedTuple):
    """A teacher's stages, its solutions of training and held-out problems and their labels."""

    stages: list[Stage]
    samples: Stage | None
    labels: Stage | None


def taught(config: Config, problems: Stage) -> Taught:
    """teacher, sample and label in a place of their own; sample and label where the solutions come
    out of a log; none where neither is named.
    """
    if config.distill.log:
        logged_samples = logged.stage(problems, PLACE)
        judged = label.stage(logged_samples, problems, PLACE)
        return Taught([logged_samples, judged], logged_samples, judged)
    if not config.distill.teacher:
        return Taught([], None, None)
    teacher = taken.teacher(PLACE)
    named, put = config.distill.teacher_format, prompting.PLAIN
    if named != "plain":
        put = prompting.in_format(named, "distill.teacher_shots", "distill.exemplars")
    put = dataclasses.replace(put, knobs=("distill.teacher_format", *put.knobs))
    samples = sample.stage(teacher, problems, [TRAIN, HELDOUT], PLACE, put)
    labels = label.stage(samples, problems, PLACE)
    return Taught([teacher, samples, labels], samples, labels)
