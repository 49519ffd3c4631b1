"""A small model specialised by the words of a larger one of another vocabulary (Fu et al. 2023), on
generated problems; minutes on a CPU.

Command:  python -m verifier.launch --exp=tiny_distill
Hardware: 2 CPU cores, 4 GiB
Expect:   see "Specialising a small model" in docs/results.md
"""

from experiments.tiny_student import SHOTS
from experiments.tiny_token_verifier import WEIGHTS
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

STUDENT = WEIGHTS.with_name("tiny_student_weights")  # made by experiments/tiny_student.py


def get_config() -> Config:
    """The teacher is the demo's base, as it is; the student has never seen the target.

    The target is two kinds of problems. A third one is of the same art and chooses the checkpoint;
    what the student could do before is not to be forgotten.
    """
    return Config(
        name="tiny_distill",
        data=DataConfig(
            name="generated",
            kinds=("chain", "price"),
            train_problems=800,
            heldout_problems=100,
            test_problems=200,
        ),
        ood=OodConfig(sets=("backwards", "share", "distance"), problems=200),
        model=ModelConfig(weights=str(STUDENT), context=640),
        finetune=FinetuneConfig(
            loss="match_distribution",
            steps=240,
            batch_rows=8,
            row_tokens=512,
            learning_rate=1e-3,
            warmup_share=0.1,
            eval_every=20,
        ),
        sample=SampleConfig(
            train_samples=4,
            heldout_samples=4,
            temperature=0.5,
            top_logprobs=5,
            max_new_tokens=128,
            rows=256,
        ),
        distill=DistillConfig(
            teacher=str(WEIGHTS),
            teacher_format="plain",
            shots=SHOTS,
            mix=(0, 1, 0, 1),
        ),
        select=SelectConfig(sets=("backwards",)),
    )


def get_stages(config: Config) -> list[Stage]:
    """teacher, sample, label, finetune; of every checkpoint sample and label; select and report."""
    return distill.stages(config)
