"""Token-level verifier on generated problems, from scratch in minutes.

Command:  python -m verifier.launch --exp=tiny_token_verifier
Hardware: 2 CPU cores
"""

from verifier.config import (
    Config,
    DataConfig,
    FinetuneConfig,
    ModelConfig,
    ReportConfig,
    SampleConfig,
    ScoreConfig,
    TokenizerConfig,
    VerifyConfig,
)


def get_config() -> Config:
    """Half of the problems are easier to check than to find; the verifier learns to read the check."""
    return Config(
        name="tiny_token_verifier",
        data=DataConfig(
            name="generated",
            kinds=("guess", "chain", "rectangle", "price", "guess", "backwards", "distance", "share"),
            train_problems=6000,
            heldout_problems=100,
            test_problems=300,
        ),
        tokenizer=TokenizerConfig(kind="sentencepiece", vocab_size=1024),
        model=ModelConfig(layers=4, width=128, heads=4, kv_heads=4, mlp_width=384, context=512),
        finetune=FinetuneConfig(epochs=3, batch_rows=32, row_tokens=384, learning_rate=2e-3, warmup_share=0.1),
        sample=SampleConfig(
            train_problems=600, train_samples=16, heldout_samples=32, test_samples=64, temperature=0.7, max_new_tokens=200, rows=512
        ),
        verify=VerifyConfig(epochs=1, batch_rows=32, row_tokens=384, learning_rate=1e-3, warmup_share=0.1, loss_on_forced=True),
        score=ScoreConfig(rows=512),
        report=ReportConfig(ks=(1, 3, 5, 10, 20, 40)),
    )
