"""Knobs of what a small model learns from a large one's words, and of which checkpoint is taken."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from verifier.config.kinds import Mark, Range
from verifier.config.ranges import Amount, Count, Number, Problems

Format = Literal["in_context_cot", "in_context_answer", "zero_shot_cot", "zero_shot_answer"]


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """A teacher's solutions as a student learns them (Fu et al. 2023).

    The teacher draws `sample.train_samples` of each training problem as `sample` says.
    """

    # The model whose words are learned: Hugging Face folder or hub id.
    teacher: Annotated[str, Mark.WEIGHTS] = ""
    teacher_format: Format = "in_context_cot"  # how problems are put to it
    teacher_shots: Count = 8  # worked examples before a question, where its format has some
    shots: Count = 4  # the same, in what the student learns and is tested by
    # Shares of in_context_cot, in_context_answer, zero_shot_cot and zero_shot_answer among the
    # student's examples.
    mix: tuple[Amount, ...] = (1.0, 1.0, 1.0, 1.0)
    # How a teacher's tokens are found again in a student's: same, where both have one tokenizer;
    # dtw, by the paper's costs; bytes, by where they end | auto: same or bytes
    align: Literal["auto", "same", "dtw", "bytes"] = "auto"
    # Teacher's alternatives that the student's vocabulary has sum to 1; false: as published.
    renormalise: bool = False
    tau: Annotated[float, Range(0, 1_000_000, above=True)] = 100.0  # match_spans: its temperature
    samples_per_problem: Number = 0  # right ones of a problem that are learned from; 0: all


@dataclasses.dataclass(frozen=True)
class StepByStepConfig:
    """Label and rationale as two tasks of one model (Hsieh et al. 2023)."""

    # Students beside each other: multi_task, label and rationale | label_only, the same batches
    # with the rationales' loss left out | single_task, rationale and label as one text
    methods: tuple[Literal["multi_task", "label_only", "single_task"], ...] = (
        "multi_task",
        "label_only",
        "single_task",
    )
    # Parts of the training problems that are learned from, each by students of its own.
    train_shares: tuple[Annotated[float, Range(0, 1, above=True)], ...] = (1.0,)
    alpha: Annotated[float, Range(0, 1)] = 0.5  # multi_task: weight of the label; the rest explains
    predict: str = "predict: {question}\n"  # how a label is asked for
    explain: str = "explain: {question}\n"  # how a rationale is asked for
    # What a label is: answer, the number | equation, which comes to it (SVAMP's in the paper; here
    # out of a worked solution); with equation set label.grader=equation
    label: Literal["answer", "equation"] = "answer"
    # Whose labels are learned: gold | teacher, those that its text ends with
    labels: Literal["gold", "teacher"] = "gold"
    # Learn labels of problems whose rationale is missing; false: leave these problems out.
    keep_unexplained: bool = False


@dataclasses.dataclass(frozen=True)
class SelectConfig:
    """Which of a student's checkpoints is taken."""

    # ood: the best on average over other problems than it learns from | heldout: on those alone
    by: Literal["ood", "heldout"] = "ood"
    checkpoints: Count = 4  # evenly over the training's steps; each is tested
    # Further test sets that are problems of the same art; the others only show what is forgotten.
    sets: tuple[str, ...] = ()
    # Share of each of these sets' problems that chooses; the others are what is reported.
    share: Annotated[float, Range(0, 1, above=True, below=True)] = 0.5
    formats: tuple[Format, ...] = ("zero_shot_cot", "in_context_cot")  # how problems are put
    problems: Problems = 0  # of a split that are tested at each checkpoint; 0: all
