"""Token-level verifier on generated problems, from a small base model that ships with it; minutes
on a CPU. `make demo` runs it.

Command:  python -m verifier.launch --exp=tiny_token_verifier
Hardware: 2 CPU cores, 4 GiB
Expect:   see the table in README.md
"""

import pathlib

from verifier.config import (
    Config,
    DataConfig,
    FinetuneConfig,
    ModelConfig,
    ReportConfig,
    SampleConfig,
    ScoreConfig,
    VerifyConfig,
)

WEIGHTS = pathlib.Path(__file__).with_name("tiny_base_weights")  # made by experiments/tiny_base.py


def get_config() -> Config:
    """Most problems are easier to check than to find: their solutions end in a line that shows how
    far they are off.

    Unlike the paper's generator, this one learns from solution tokens alone, as its base did: a
    question is a template with random numbers, from which there is nothing to learn that solutions
    need.
    """
    return Config(
        name="tiny_token_verifier",
        data=DataConfig(
            name="generated",
            kinds=(
                "guess",
                "rectangle",
                "guess",
                "backwards",
                "guess",
                "distance",
                "guess",
                "share",
            ),
            train_problems=480,
            heldout_problems=64,
            test_problems=304,
        ),
        model=ModelConfig(weights=str(WEIGHTS)),
        finetune=FinetuneConfig(
            epochs=1, batch_rows=10, row_tokens=256, learning_rate=3e-4, warmup_share=0.1
        ),
        sample=SampleConfig(
            train_problems=176,
            train_samples=100,
            heldout_samples=16,
            test_samples=100,
            temperature=0.7,
            max_new_tokens=96,
            rows=256,
        ),
        verify=VerifyConfig(
            epochs=1,
            batch_rows=14,
            row_tokens=256,
            learning_rate=1e-3,
            warmup_share=0.1,
            group=8,
        ),
        score=ScoreConfig(rows=32),
        report=ReportConfig(ks=(1, 3, 5, 10, 20, 40)),
    )
