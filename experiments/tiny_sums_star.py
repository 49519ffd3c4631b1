"""A small model that teaches itself sums that it rarely gets right (STaR, Zelikman et al. 2022,
section 4.3); minutes on a CPU.

Command:  python -m verifier.launch --exp=tiny_sums_star
          without rationalisation: --set star.rationalise=false, in a workdir of its own; both
          beside each other: python -m verifier.compare RUN1 RUN2
Hardware: 2 CPU cores, 4 GiB
Expect:   see "STaR, sums" in docs/results.md
"""

from experiments.tiny_distill import STUDENT
from verifier.config import (
    Config,
    DataConfig,
    FinetuneConfig,
    ModelConfig,
    SampleConfig,
    StarConfig,
)
from verifier.recipes import star
from verifier.run.stage import Stage

BASE = STUDENT.with_name("tiny_sums_weights")  # made by experiments/tiny_sums_base.py


def get_config() -> Config:
    """The base has been taught all five lengths, and rarely gets the longest ones right."""
    return Config(
        name="tiny_sums_star",
        data=DataConfig(
            name="sums",
            lengths=(1, 2, 3, 4, 5),
            train_problems=1000,
            heldout_problems=1,
            test_problems=400,
        ),
        model=ModelConfig(weights=str(BASE), context=512),
        finetune=FinetuneConfig(
            steps=100, batch_rows=16, row_tokens=192, learning_rate=1e-3, warmup_share=0.1
        ),
        sample=SampleConfig(
            train_samples=1,
            heldout_samples=1,
            test_samples=1,
            temperature=0.0,
            max_new_tokens=160,
            rows=256,
        ),
        star=StarConfig(plateau=0),
    )


def get_stages(config: Config) -> list[Stage]:
    """In loop=0 the base, in each further loop finetune; of each sample and label, and in its hint
    failures, sample and label; report.
    """
    return star.stages(config)
