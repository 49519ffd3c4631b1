"""A language model that learns to think before every token of any text (Quiet-STaR, Zelikman et al.
2024): 16, 12 and 8 tokens of thought, as Fast Quiet-STaR has them.

Command:  python -m verifier.launch --exp=quiet_star --set model.weights=HuggingFaceTB/SmolLM2-135M
          quiet.corpus=FOLDER_OR_FILE
Smaller:  on 2 cores, an hour: quiet.curriculum=[6] quiet.curriculum_ahead=[2]
          quiet.curriculum_rates=[1e-5] quiet.tokens=64 finetune.steps=60 finetune.batch_rows=2
          finetune.accumulate=1 quiet.watched_windows=4 quiet.policy_weight=1 (with the published
          weight, of 1,000,000, so few steps leave it worse than its base)
Hardware: one GPU or TPU with 80 GB; or 2 CPU cores and 8 GiB for the smaller one
Expect:   published for Mistral-7B on OpenWebMath: GSM8K, answered directly, 5.9 to 10.9

A corpus is a text file with a document a line, a .jsonl with a field "text", or a folder of them.
"""

from verifier.config import Config, FinetuneConfig, ModelConfig, QuietConfig
from verifier.recipes import quiet_star
from verifier.run.stage import Stage


def get_config() -> Config:
    """Constants of the released scripts: batches of 8 windows of 256 tokens, 150 steps a stage."""
    return Config(
        name="quiet_star",
        model=ModelConfig(context=2048),
        finetune=FinetuneConfig(
            steps=150,
            batch_rows=8,
            row_tokens=256,
            accumulate=4,
            learning_rate=1e-6,
            warmup_share=0.13,
            weight_decay=0.001,
            beta2=0.999,
            eval_every=50,
            remat=True,
        ),
        quiet=QuietConfig(
            tokens=256,
            curriculum=(16, 12, 8),
            curriculum_ahead=(8, 4, 4),
            curriculum_rates=(2e-6, 1e-6, 1e-6),
        ),
    )


def get_stages(config: Config) -> list[Stage]:
    """corpus; in `base` the decoder as it is; finetune, in a place for each length of thought."""
    return quiet_star.stages(config)
