"""Specialising a smaller model (Fu et al. 2023).

A teacher writes solutions of the training problems, with what it thought of every token; a student
of another vocabulary learns from the right ones, in several formats at once. It is tested on the
way, on its target, on other problems of the same art and on what it is not to forget, and the
checkpoint that is best on the other problems is taken.
"""

from __future__ import annotations

import dataclasses

from verifier.config import Config
from verifier.recipes import teaching
from verifier.run.stage import Stage
from verifier.stages import (
    distill,
    existing_models,
    label,
    problems,
    prompting,
    sample,
    select,
    specialisation,
)
from verifier.text.split import HELDOUT, TEST

STUDENT = "student"  # the place that it is trained in


def stages(config: Config) -> list[Stage]:
    """teacher, sample and label in its place; finetune in the student's; of every checkpoint and
    format sample and label; select, student and report.
    """
    questions = problems.stage(config)
    teacher = teaching.by_teacher(config, questions)
    student = distill.stage(questions, teacher.samples, teacher.labels, STUDENT)
    numbers = range(1, config.select.checkpoints + 1)
    candidates = [existing_models.before(questions, "checkpoint=0")]
    candidates += [existing_models.milestone(student, n, f"checkpoint={n}") for n in numbers]
    tests = [split for split in questions.splits if split.of in (HELDOUT.of, TEST.of)]
    splits = [dataclasses.replace(split, greedy=True) for split in tests]
    tested: dict[str, list[Stage]] = {name: [] for name in config.select.formats}
    made = [questions, *teacher.stages, student]
    for number, candidate in enumerate(candidates):
        made.append(candidate)
        for name in config.select.formats:
            place = f"checkpoint={number}/{name}"
            put = prompting.in_format(name, "distill.shots")
            written = sample.stage(candidate, questions, splits, place, put)
            judged = label.stage(written, questions, place)
            tested[name].append(judged)
            made += [written, judged]
    choice = select.stage(tested[config.select.formats[0]][1:])
    chosen = select.chosen(choice, candidates[1:])
    return [*made, choice, chosen, specialisation.stage(config, questions, choice, student, tested)]


def base(config: Config) -> list[Stage]:
    """finetune alone, on the problems' own worked solutions: what a student may start from."""
    questions = problems.stage(config)
    return [questions, distill.stage(questions, None, None, "")]
