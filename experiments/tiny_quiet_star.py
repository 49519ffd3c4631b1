"""A small decoder that learns to think before every token, of texts in which that helps and texts
in which it does not (Quiet-STaR, Zelikman et al. 2024); minutes on a CPU.

Command:  python -m verifier.launch --exp=tiny_quiet_star
Controls: python -m verifier.launch --exp=sweep:tiny_quiet_star --seeds=0,1,2
          --stages=corpus,pretrain,finetune,thoughts
Hardware: 2 CPU cores, 2 GiB
Expect:   see "Quiet-STaR" in docs/results.md

The texts are sums and look-ups of three steps (`verifier/tasks/generated_texts.py`). Some show
their working between colons, and the base has learned all of it: it knows each step, and cannot
take three at once where nothing is written down. A thought begins and ends as what is set off by
colons does, as the paper's begin and end as what is set off by dashes; that what stands there can
be trusted is to be learned. Where a thought begins as the mean of all tokens (the variant `mean`),
400 steps taught nothing.
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
# At 1,500 one base in three did not know the steps yet (.5 to 1.7 nats on shown workings), and then
# there is nothing for thoughts to use.
PRETRAIN_STEPS = 4000


def get_config() -> Config:
    """Thoughts of three drawn tokens, as many as the working has."""
    return Config(
        name="tiny_quiet_star",
        tokenizer=TokenizerConfig(kind="bytes"),
        model=ModelConfig(layers=2, width=64, heads=4, kv_heads=4, mlp_width=128, context=512),
        pretrain=PretrainConfig(
            steps=PRETRAIN_STEPS,
            batch_rows=24,
            row_tokens=WINDOW,
            learning_rate=4e-3,
            warmup_share=0.05,
            eval_every=500,
        ),
        finetune=FinetuneConfig(
            steps=800,
            batch_rows=8,
            row_tokens=WINDOW,
            learning_rate=3e-3,
            warmup_share=0.05,
            eval_every=200,
        ),
        quiet=QuietConfig(
            corpus="generated",
            generated_documents=40_000,
            generated_worked=0.4,
            heldout_share=0.1,
            tokens=WINDOW,
            watched_windows=32,
            report_windows=256,
            thought_tokens=5,
            ahead=2,
            marks_like=":",
            embedding_scale=1.0,
            reinforce_temperature=1.0,
            policy_weight=1.0,
        ),
    )


def get_stages(config: Config) -> list[Stage]:
    """corpus; in `base` the decoder, trained plainly; finetune, with thoughts; thoughts; report."""
    return quiet_star.stages(config)


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """Controls with the same base and steps, and thoughts of other lengths."""
    return {
        "controls": {
            "pause": ["quiet.thought_source=pause"],
            "no_policy": ["quiet.policy_weight=0"],
            "no_thoughts": ["quiet.thought_tokens=0"],
        },
        "lengths": {f"tokens={each}": [f"quiet.thought_tokens={each}"] for each in (3, 4, 6)},
        "marks": {"mean": ["quiet.marks_like=none"]},
    }
