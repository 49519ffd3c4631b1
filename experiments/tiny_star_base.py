"""The small base that tiny_star starts from: tiny_student's weights, and chains of one or two
changes.

Command:  python -m verifier.launch --exp=tiny_star_base --stages=finetune
          python -m verifier.export --model=runs/tiny_star_base/generator
          --to=experiments/tiny_star_weights
Hardware: 2 CPU cores, 4 minutes
Expect:   most chains of one or two changes solved, fewer the longer they are
"""

from experiments.tiny_base import SEED
from experiments.tiny_distill import STUDENT
from verifier.config import Config, DataConfig, DistillConfig, FinetuneConfig, ModelConfig
from verifier.recipes import star
from verifier.run.stage import Stage


def get_config() -> Config:
    """Each problem plainly, and with its answer as a hint."""
    return Config(
        name="tiny_star_base",
        seed=SEED,
        data=DataConfig(
            name="generated",
            kinds=("chain",),
            lengths=(1, 2),
            train_problems=3000,
            heldout_problems=100,
            test_problems=1,
            prompt_template=DistillConfig().prompts[1],
        ),
        model=ModelConfig(weights=str(STUDENT), context=640),
        finetune=FinetuneConfig(
            steps=300,
            batch_rows=8,
            row_tokens=192,
            learning_rate=1e-3,
            warmup_share=0.05,
            eval_every=100,
        ),
    )


def get_stages(config: Config) -> list[Stage]:
    """finetune on worked chains."""
    return star.base(config)
