"""Specialising a smaller model for GSM8K (Fu et al. 2023): another vocabulary, four formats.

Command:  python -m verifier.launch --exp=gsm8k_distill --set data.dir=GSM8K
          model.weights=STUDENT distill.teacher=TEACHER
          "ood.dirs=[SVAMP,ASDIV,MULTIARITH,BBH]" ood.bbh_prompts=BBH_PROMPTS
Hardware: accelerators for the paper's sizes (FlanT5 of 0.25 to 11 billion parameters)
Expect:   in the paper a gain of some 10 points on average over four sets of word problems, and
          BIG-Bench Hard with a chain of thought lost; 40 solutions a problem of a teacher that
          solves 64% of the training problems. Scaled down to a CPU: docs/results.md
"""

from verifier.config import (
    Config,
    DataConfig,
    DistillConfig,
    FinetuneConfig,
    ModelConfig,
    OodConfig,
    SampleConfig,
    SelectConfig,
)
from verifier.recipes import distill
from verifier.run.stage import Stage


def get_config() -> Config:
    """The paper's samples, shots and learning rate; formats as often as each other."""
    return Config(
        name="gsm8k_distill",
        data=DataConfig(name="gsm8k", heldout_problems=200),
        ood=OodConfig(sets=("svamp", "asdiv", "multiarith", "bbh")),
        model=ModelConfig(context=2048),
        finetune=FinetuneConfig(
            loss="match_distribution",
            epochs=3,
            batch_rows=32,
            row_tokens=2048,
            learning_rate=5e-4,
        ),
        sample=SampleConfig(
            train_samples=40,
            heldout_samples=4,
            temperature=0.5,
            top_logprobs=5,
            stop="\n\n",
            max_new_tokens=256,
        ),
        distill=DistillConfig(annotations=False),
        select=SelectConfig(sets=("svamp", "asdiv", "multiarith")),
    )


def get_stages(config: Config) -> list[Stage]:
    """teacher, sample, label, finetune; of every checkpoint sample and label; select and report."""
    return distill.stages(config)
