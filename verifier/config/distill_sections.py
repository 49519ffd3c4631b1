"""Knobs of what a student learns from a teacher's solutions, and of which checkpoint is taken."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from verifier.config.kinds import Mark, Range
from verifier.config.ranges import Amount, Count, Number

Format = Literal[
    "zero_shot_answer_only",
    "zero_shot_chain_of_thought",
    "in_context_answer_only",
    "in_context_chain_of_thought",
]
StudentMethod = Literal[
    "multi_task",
    "label_only",
    "single_task",
    "standard_finetuning",
    "standard_distillation",
]


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """A student that learns from a teacher's solutions (Fu et al. 2023, section 3).

    The teacher draws `sample.train_samples` of each training problem, as `sample` says.
    """

    # The model whose words are learned: Hugging Face folder or hub id. Empty: the problems' own
    # worked solutions are.
    teacher: Annotated[str, Mark.WEIGHTS] = ""
    # Instead of a teacher: a log of completions that somebody else has made (JSON lines as OpenAI,
    # vLLM and SGLang write them), or texts alone; a file or a folder of files
    log: Annotated[str, Mark.PATH, Mark.TEXTS] = ""
    # How problems are put to it; plain: by data.prompt_template
    teacher_format: Literal["plain", Format] = "in_context_chain_of_thought"
    teacher_shots: Count = 8  # exemplars before a question, where its format has some
    # JSON lines with a "question" and its "solution", the first ones of which the teacher is shown;
    # empty: training problems, other ones for each question
    exemplars: Annotated[str, Mark.PATH, Mark.TEXTS] = ""
    # Exemplars in what the student learns and is tested by, where a format has some.
    shots: Count = 4
    # Shares of the student's examples, in the order zero_shot_answer_only,
    # zero_shot_chain_of_thought, in_context_answer_only, in_context_chain_of_thought.
    mix: tuple[Amount, ...] = (1.0, 1.0, 1.0, 1.0)
    # How a question is put in each format, in the same order; with exemplars before it, which are
    # put likewise
    prompts: tuple[str, ...] = (
        "Q: {question} A:",
        "Q: {question}\nLet's think step by step\n",
        "Q: {question}\nA:",
        "Q: {question}\nLet's think step by step\n",
    )
    # What is written behind it: the worked {solution}, or the {answer} alone
    targets: tuple[str, ...] = (
        " The answer is {answer}",
        "{solution}",
        " The answer is {answer}",
        "{solution}",
    )
    between: str = "\n\n"  # what follows each exemplar
    annotations: bool = True  # exemplars show what the calculator reads (`<<3*6=18>>`)
    samples_per_problem: Number = 0  # right ones of a problem that are learned from; 0: all
    # How the teacher's tokens become the student's. same: they are equal | dtw: dynamic time
    # warping, as published | bytes: a walk along the bytes | auto: same where it can be, else bytes
    align: Literal["auto", "same", "dtw", "bytes"] = "auto"
    # match_distribution: the chances of a token's ids are made to sum to 1; false: as published
    renormalise: bool = False
    # match_spans: log-probabilities of spans are divided by it
    tau: Annotated[float, Range(0, 1_000_000, above=True)] = 100.0
    # match_spans: tokens: a span weighs as many as the student has in it | spans: each the same
    normalise: Literal["tokens", "spans"] = "spans"


@dataclasses.dataclass(frozen=True)
class StepByStepConfig:
    """Label and rationale as two tasks of one model (Hsieh et al. 2023)."""

    # Students beside each other: multi_task, label and rationale | label_only, the same batches
    # with the rationales' loss left out | single_task, rationale and label as one text |
    # standard_finetuning, the gold label alone behind data.prompt_template, of every problem |
    # standard_distillation, likewise the teacher's label
    methods: tuple[StudentMethod, ...] = ("multi_task", "label_only", "single_task")
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
    # How a teacher's text is taken apart, as the paper does for each of its data sets.
    style: Literal["svamp", "asdiv", "cqa", "esnli", "anli"] = "svamp"
    # Further problems, which are learned from with the teacher's labels and rationales, whatever
    # `labels` says of the others; their own answers are not read. Those that the run has in another
    # split, tests among them, are refused or left out, as `ood.shared` says. Empty: none.
    unlabelled: Literal["svamp", "asdiv", "multiarith", ""] = ""
    # Their folder; empty: the environment variable (ASDIV_DIR, ...)
    unlabelled_dir: Annotated[str, Mark.PATH, Mark.NO_EFFECT] = ""  # kept as a table
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
    # How problems are put; what is written in the first one chooses.
    formats: tuple[Format, ...] = ("zero_shot_chain_of_thought", "in_context_chain_of_thought")
