"""The small student that tiny_distill and tiny_step_by_step start from: some kinds of generated
problems, with exemplars before the question and without, from scratch.

Command:  python -m verifier.launch --exp=tiny_student --stages=finetune
          python -m verifier.export --model=runs/tiny_student/generator
          --to=experiments/tiny_student_weights
Hardware: 2 CPU cores, 12 minutes
Expect:   some 95% of the problems of its own kinds solved, and some 90% behind an exemplar (76 and
          66% of backwards); 1% of those that it is to be taught

It has the vocabulary of tiny_small, half that of tiny_base, and knows nothing of either. It learns
from training problems alone, whatever the seed of a later run.
"""

from experiments.tiny_base import SEED
from experiments.tiny_token_verifier import WEIGHTS
from verifier.config import (
    Config,
    DataConfig,
    DistillConfig,
    FinetuneConfig,
    Kind,
    ModelConfig,
    SelectConfig,
    TokenizerConfig,
)
from verifier.recipes import distill
from verifier.run.stage import Stage

# What it can do before anybody teaches it.
KINDS: tuple[Kind, ...] = ("share", "distance", "backwards")
SHOTS = 1
WORDS = WEIGHTS.with_name("tiny_small_weights")
ROW_TOKENS = 384  # a question with its exemplar
CONTEXT = 640  # longer ones, of what it is taught later


def get_config() -> Config:
    """Worked solutions in two formats of the four, as often each."""
    return Config(
        name="tiny_student",
        seed=SEED,
        data=DataConfig(
            name="generated",
            kinds=KINDS,
            train_problems=20000,
            heldout_problems=100,
            test_problems=1,
        ),
        tokenizer=TokenizerConfig(path=str(WORDS)),
        model=ModelConfig(layers=2, width=96, heads=3, kv_heads=3, mlp_width=288, context=CONTEXT),
        finetune=FinetuneConfig(
            steps=2400,
            batch_rows=10,
            row_tokens=ROW_TOKENS,
            learning_rate=2e-3,
            warmup_share=0.05,
            eval_every=400,
        ),
        distill=DistillConfig(shots=SHOTS, mix=(0, 1, 0, 1)),
        select=SelectConfig(by="heldout", checkpoints=1),
    )


def get_stages(config: Config) -> list[Stage]:
    """finetune on the problems' own worked solutions."""
    return distill.base(config)
