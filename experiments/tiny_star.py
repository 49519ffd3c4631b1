"""A small model that teaches itself problems that it rarely solves (STaR, Zelikman et al.
2022); minutes on a CPU.

Command:  python -m verifier.launch --exp=tiny_star
          without rationalisation: --set star.rationalise=false, in a workdir of its own; both
          beside each other: python -m verifier.compare RUN1 RUN2
Hardware: 2 CPU cores, 4 GiB
Expect:   in 3 minutes a gain of 5 to 11 points on the test, most of it in chains of two: see
          "STaR" in docs/results.md
"""

from experiments.tiny_distill import STUDENT
from verifier.config import (
    Config,
    DataConfig,
    DistillConfig,
    FinetuneConfig,
    ModelConfig,
    SampleConfig,
    StarConfig,
)
from verifier.recipes import star
from verifier.run.stage import Stage

BASE = STUDENT.with_name("tiny_star_weights")  # made by experiments/tiny_star_base.py


def get_config() -> Config:
    """The base was taught chains of one and two changes. Two to five are asked, in test problems in
    an order of sentences that no training problem has; nobody shows it a solution of any of them.
    """
    return Config(
        name="tiny_star",
        data=DataConfig(
            name="generated",
            kinds=("chain",),
            lengths=(2, 3, 4, 5),
            train_problems=600,
            heldout_problems=1,
            test_problems=300,
            prompt_template=DistillConfig().prompts[1],
        ),
        model=ModelConfig(weights=str(BASE), context=640),
        finetune=FinetuneConfig(
            steps=60, batch_rows=8, row_tokens=256, learning_rate=1e-3, warmup_share=0.1
        ),
        sample=SampleConfig(
            train_samples=1,
            heldout_samples=1,
            test_samples=1,
            temperature=0.0,
            max_new_tokens=112,
            rows=256,
        ),
        star=StarConfig(plateau=0),
    )


def get_stages(config: Config) -> list[Stage]:
    """In loop=0 the base, in each further loop finetune; of each sample and label, and in its hint
    failures, sample and label; report.
    """
    return star.stages(config)
