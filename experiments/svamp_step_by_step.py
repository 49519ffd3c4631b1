"""Distilling step by step on SVAMP (Hsieh et al. 2023): equations for labels, rationales of a
teacher.

Command:  python -m verifier.launch --exp=svamp_step_by_step --set data.dir=SVAMP
          model.weights=STUDENT distill.teacher=TEACHER
Data:     SVAMP.json in this folder. With step_by_step.unlabelled=asdiv and
          step_by_step.unlabelled_dir=ASDIV students learn from the problems of ASDiv.xml too, by
          the teacher's labels, as in the paper
Hardware: with students of 0.1 billion parameters 2 CPU cores and 8 GiB, some hours
Expect:   in the paper (T5, PaLM 540B as the teacher) the student of two tasks is above the one that
          learns labels alone, and reaches it with 80% of the data; a single task of rationale and
          label as one text is below that, and at times below labels alone. 60
          steps on a CPU: docs/results.md
"""

import pathlib

from verifier.config import (
    Config,
    DataConfig,
    DistillConfig,
    FinetuneConfig,
    LabelConfig,
    ModelConfig,
    SampleConfig,
    StepByStepConfig,
)
from verifier.recipes import step_by_step
from verifier.run.stage import Stage

_EXEMPLARS = pathlib.Path(__file__).with_name("svamp_exemplars.jsonl")


def get_config() -> Config:
    """The paper's splits, 720, 80 and 200 problems, and its learning rate for T5.

    Every student takes as many optimiser steps, whatever it learns from.
    """
    return Config(
        name="svamp_step_by_step",
        data=DataConfig(name="svamp_equations", heldout_problems=80),
        model=ModelConfig(context=1024),
        finetune=FinetuneConfig(
            steps=300, batch_rows=4, row_tokens=512, learning_rate=5e-5, warmup_share=0.05
        ),
        sample=SampleConfig(
            train_samples=1,
            heldout_samples=1,
            temperature=0,
            calculator=False,
            stop="\n\n",
            max_new_tokens=96,
        ),
        label=LabelConfig(grader="equation"),
        distill=DistillConfig(exemplars=str(_EXEMPLARS)),
        step_by_step=StepByStepConfig(train_shares=(0.125, 0.25, 0.5, 1.0)),
    )


def get_stages(config: Config) -> list[Stage]:
    """teacher, sample and label; for every method and share finetune, sample and label; report."""
    return step_by_step.stages(config)
