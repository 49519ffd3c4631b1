"""A small decoder that learns to think before every token, of texts in which that helps and texts
in which it does not (Quiet-STaR, Zelikman et al. 2024); minutes on a CPU.

Command:  python -m verifier.launch --exp=tiny_quiet_star
Hardware: 2 CPU cores, 2 GiB
Expect:   see "Quiet-STaR" in docs/results.md
"""

from verifier.config import (
    Config,
    FinetuneConfig,
    ModelConfig,
    PretrainConfig,
    QuietConfig,
    TokenizerConfig,
)
from verifier.recipes import quiet_star
from verifier.run.stage import Stage

WINDOW = 32


def get_config() -> Config:
    """Thoughts as long as the working that some of the texts show, and as its marks begin."""
    return Config(
        name="tiny_quiet_star",
        tokenizer=TokenizerConfig(kind="bytes"),
        model=ModelConfig(layers=2, width=64, heads=4, kv_heads=4, mlp_width=128, context=512),
        pretrain=PretrainConfig(
            steps=3000,
            batch_rows=24,
            row_tokens=WINDOW,
            learning_rate=4e-3,
            warmup_share=0.05,
            eval_every=500,
        ),
        finetune=FinetuneConfig(
            steps=1000,
            batch_rows=8,
            row_tokens=WINDOW,
            learning_rate=1e-3,
            warmup_share=0.05,
            eval_every=250,
        ),
        quiet=QuietConfig(
            corpus="generated",
            generated_documents=40_000,
            tokens=WINDOW,
            watched_windows=32,
            thought_tokens=5,
            ahead=2,
            marks_like=":",
            embedding_scale=1.0,
            reinforce_temperature=1.0,
            policy_weight=1.0,
        ),
    )


def get_stages(config: Config) -> list[Stage]:
    """corpus; in `base` the decoder, trained plainly; finetune, with thoughts."""
    return quiet_star.stages(config)
