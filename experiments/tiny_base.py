"""The small base model that tiny_token_verifier starts from: all kinds of generated problems, from
scratch.

Command:  python -m verifier.launch --exp=tiny_base --stages=finetune
          python -m verifier.export --model=runs/tiny_base/generator
          --to=experiments/tiny_base_weights
Smaller:  the same with --workdir=runs/tiny_small --set seed=1001 tokenizer.vocab_size=512
          model.layers=2 model.width=96 model.heads=3
          model.kv_heads=3 model.mlp_width=288, to experiments/tiny_small_weights (9 minutes), which
          experiments/tiny_ablations.py needs
Hardware: 2 CPU cores, 12 minutes
Expect:   held-out loss 0.052 nats a solution token, the smaller one 0.057 (one run each)

It learns from training problems alone, whatever the seed of a later run: test problems share
neither templates nor numbers with them. Held-out problems of a later run come from that same pool,
so a few of the base's problems may be among them.
"""

from verifier.config import Config, DataConfig, FinetuneConfig, ModelConfig, TokenizerConfig

# far from the seeds a user will try, though train and test problems are disjoint whatever the seed
SEED = 1000


def get_config() -> Config:
    """Many problems once, in small batches: copying numbers is learnt late and suddenly, and it
    takes steps more than tokens.
    """
    return Config(
        name="tiny_base",
        seed=SEED,
        data=DataConfig(
            name="generated",
            kinds=(
                "guess",
                "chain",
                "rectangle",
                "price",
                "guess",
                "backwards",
                "distance",
                "share",
            ),
            train_problems=30000,
            heldout_problems=200,
            test_problems=1,
        ),
        tokenizer=TokenizerConfig(kind="sentencepiece", vocab_size=1024),
        model=ModelConfig(layers=3, width=128, heads=4, kv_heads=4, mlp_width=384, context=512),
        finetune=FinetuneConfig(
            epochs=1,
            batch_rows=10,
            row_tokens=256,
            learning_rate=2e-3,
            warmup_share=0.05,
            eval_every=500,
        ),
    )
