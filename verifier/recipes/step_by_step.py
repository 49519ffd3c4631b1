"""Distilling step by step (Hsieh et al. 2023): what a rationale adds to a label.

Students that learn from the same problems beside each other: label and rationale as two tasks of
one model, the label alone, and both as one text; each on some shares of the training problems, and
where that is asked for on further problems that a teacher alone has labelled.
"""

from __future__ import annotations

from verifier.config import Config
from verifier.recipes import teaching
from verifier.run.stage import Stage
from verifier.stages import label, problems, sample, step_by_step, students
from verifier.text.split import TEST


def stages(config: Config) -> list[Stage]:
    """teacher, sample and label where one is named; for every method and share finetune, sample and
    label in a place of their own; report.
    """
    questions = problems.stage(config, unlabelled=config.step_by_step.unlabelled)
    tests = [split for split in questions.splits if split.of == TEST.of]
    splits = [split for split in sample.with_greedy(tests) if split.greedy]
    teacher = teaching.by_teacher(config, questions)
    made = [questions, *teacher.stages]
    learners, judged = dict[tuple[str, float], Stage](), dict[tuple[str, float], Stage]()
    for share in config.step_by_step.train_shares:
        for method in config.step_by_step.methods:
            place = f"{method},share={share:g}"
            student = step_by_step.stage(questions, teacher.samples, method, share, place)
            if step_by_step.UNLABELLED in student.reads:
                learners[method, share] = student
            asked = step_by_step.asking(method)
            samples = sample.stage(student, questions, splits, place, asked)
            labels = judged[method, share] = label.stage(samples, questions, place)
            made += [student, samples, labels]
    return [*made, students.stage(judged, learners)]
