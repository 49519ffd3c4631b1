"""Label and rationale as two tasks of one small model (Hsieh et al. 2023), on generated problems;
minutes on a CPU.

Command:  python -m verifier.launch --exp=tiny_step_by_step
Hardware: 2 CPU cores, 4 GiB
Expect:   see "Label and rationale as two tasks" in docs/results.md
"""

from experiments.tiny_distill import STUDENT
from verifier.config import (
    Config,
    DataConfig,
    FinetuneConfig,
    LabelConfig,
    ModelConfig,
    SampleConfig,
    StepByStepConfig,
)
from verifier.recipes import step_by_step
from verifier.run.stage import Stage


def get_config() -> Config:
    """Labels are equations, as in the paper's SVAMP: no model of this size computes several steps
    at once. Its base knows neither kind of problem. All students take as many optimiser steps.
    """
    return Config(
        name="tiny_step_by_step",
        data=DataConfig(
            name="generated",
            kinds=("chain", "price"),
            train_problems=2000,
            heldout_problems=100,
            test_problems=300,
        ),
        model=ModelConfig(weights=str(STUDENT)),
        finetune=FinetuneConfig(
            steps=200, batch_rows=8, row_tokens=384, learning_rate=1e-3, warmup_share=0.1
        ),
        sample=SampleConfig(max_new_tokens=256, rows=256),
        label=LabelConfig(grader="equation"),
        step_by_step=StepByStepConfig(label="equation", train_shares=(0.125, 0.5, 1.0)),
    )


def get_stages(config: Config) -> list[Stage]:
    """For every method and share finetune, sample and label; and report."""
    return step_by_step.stages(config)
