"""The small base that tiny_sums_star starts from: sums of one to five digits with a scratchpad,
from scratch, and not for long.

Command:  python -m verifier.launch --exp=tiny_sums_base --stages=finetune
          python -m verifier.export --model=runs/tiny_sums_base/generator
          --to=experiments/tiny_sums_weights
Hardware: 2 CPU cores, 4 minutes
Expect:   of sums of two and three digits most right, of four a quarter, of five few. What teaches
          sums of one to three digits alone (1,500 steps) leaves none of four or five right, for
          loops to begin with
"""

from experiments.tiny_base import SEED
from verifier.config import (
    Config,
    DataConfig,
    FinetuneConfig,
    ModelConfig,
    TokenizerConfig,
)
from verifier.recipes import star
from verifier.run.stage import Stage


def get_config() -> Config:
    """Each sum plainly, and with its answer as a hint."""
    return Config(
        name="tiny_sums_base",
        seed=SEED,
        data=DataConfig(
            name="sums",
            lengths=(1, 2, 3, 4, 5),
            train_problems=4000,
            heldout_problems=100,
            test_problems=1,
        ),
        tokenizer=TokenizerConfig(kind="bytes"),
        model=ModelConfig(layers=2, width=64, heads=4, kv_heads=4, mlp_width=192, context=512),
        finetune=FinetuneConfig(
            steps=900,
            batch_rows=8,
            row_tokens=256,
            learning_rate=3e-3,
            warmup_share=0.05,
            eval_every=300,
        ),
    )


def get_stages(config: Config) -> list[Stage]:
    """finetune on worked sums."""
    return star.base(config)
