"""Verifiers for a small model that teaches itself: one that values tokens, one that prefers right
solutions to wrong ones (V-STaR, Hosseini et al. 2024); minutes on a CPU.

Command:  python -m verifier.launch --exp=tiny_v_star
Hardware: 2 CPU cores, 4 GiB, 5 minutes
Expect:   see "V-STaR" in docs/results.md; in the paper the verifier by preferences chooses best

As in the paper, the base has been fine-tuned on worked solutions (of other problems); from there on
whatever is learned was written by the models themselves.
"""

import dataclasses

from experiments import tiny_token_verifier
from verifier.config import Config, DpoConfig, ModelConfig, ReportConfig, StarConfig
from verifier.recipes import v_star
from verifier.run.stage import Stage

# Made by experiments/tiny_v_star_base.py.
BASE = tiny_token_verifier.WEIGHTS.with_name("tiny_v_star_weights")


def get_config() -> Config:
    """The demo's problems, most of which have a line that checks them. Where there is none (sums,
    chains of changes), verifiers of this size chose worse than a majority.
    """
    demo = tiny_token_verifier.get_config()
    return dataclasses.replace(
        demo,
        name="tiny_v_star",
        data=dataclasses.replace(
            demo.data, train_problems=300, heldout_problems=60, test_problems=200
        ),
        model=ModelConfig(weights=str(BASE)),
        finetune=dataclasses.replace(demo.finetune, steps=24),
        sample=dataclasses.replace(
            demo.sample, train_problems=0, train_samples=8, heldout_samples=8, test_samples=16
        ),
        verify=dataclasses.replace(demo.verify, steps=250),
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
