"""Verifiers for a small model that teaches itself: one that values tokens, one that prefers right
solutions to wrong ones (V-STaR, Hosseini et al. 2024); minutes on a CPU.

Command:  python -m verifier.launch --exp=tiny_v_star
Hardware: 2 CPU cores, 4 GiB
Expect:   in the paper the verifier by preferences chooses best. Not measured here
"""

from experiments.tiny_distill import STUDENT
from verifier.config import (
    Config,
    DataConfig,
    DistillConfig,
    DpoConfig,
    FinetuneConfig,
    ModelConfig,
    ReportConfig,
    SampleConfig,
    StarConfig,
    VerifyConfig,
)
from verifier.recipes import v_star
from verifier.run.stage import Stage


def get_config() -> Config:
    """Two kinds of problems that the base solves often but not always. No worked solution is read:
    whatever is learned was written by the models themselves.
    """
    return Config(
        name="tiny_v_star",
        data=DataConfig(
            name="generated",
            kinds=("backwards", "distance"),
            train_problems=300,
            heldout_problems=60,
            test_problems=200,
            prompt_template=DistillConfig().prompts[1],
        ),
        model=ModelConfig(weights=str(STUDENT), context=640),
        finetune=FinetuneConfig(
            steps=40, batch_rows=8, row_tokens=384, learning_rate=5e-4, warmup_share=0.1
        ),
        sample=SampleConfig(
            train_samples=8,
            heldout_samples=8,
            test_samples=16,
            temperature=1.0,
            max_new_tokens=96,
            rows=256,
        ),
        verify=VerifyConfig(
            epochs=2,
            batch_rows=8,
            row_tokens=384,
            learning_rate=5e-4,
            warmup_share=0.1,
            lm_weight=0.0,
            group=0,
        ),
        dpo=DpoConfig(
            epochs=1,
            batch_rows=8,
            row_tokens=384,
            learning_rate=1e-4,
            warmup_share=0.1,
            pairs=16,
        ),
        star=StarConfig(loops=3, plateau=0, rationalise=False),
        report=ReportConfig(ks=(1, 2, 4, 8, 16)),
    )


def get_stages(config: Config) -> list[Stage]:
    """In loop=0 the base, in each further loop finetune; of each sample and label; report of these,
    pool, label and likelihood in loops; sample, label, likelihood, verify and score; in dpo the
    other verifier, pool, label and score; report.
    """
    return v_star.stages(config)
