"""The paper's ablations on GSM8K, one change at a time to its recipe without dropout; each theme is
one question.

Command:  python -m verifier.launch --exp=sweep:gsm8k_ablations:losses --seeds=0,1,2 --set
          data.dir=FOLDER model.weights=FOLDER_OR_HUB_ID
          python -m verifier.launch --exp=gsm8k_ablations --set data.dir=FOLDER  (the base alone)
          --set sample.test_samples=... and the like set the base that all variants change; see
          docs/guide.md for smaller runs, which set finetune.steps and verify.steps smaller by their
          examples
Data:     train.jsonl and test.jsonl of openai/grade-school-math in data.dir (or GSM8K_DIR)
Hardware: one GPU with 24 GiB or more. Variants of `losses` and `samples_per_problem` train and
apply a verifier alone; those of `dropout`
          (but for *_dropout of a verifier), `train_problems` and `epochs` sample anew, which takes
          most of a run; `test_samples` samples the test problems anew, four times as much
Steps:    every variant but those of `epochs` takes FINETUNE_STEPS and VERIFY_STEPS, however many
          problems or samples it has; what has
          fewer reads them again, shuffled anew. They are the base's 2 epochs and 1 by estimate, for
          what packs how is known only later
Weights:  `sizes` takes its two from the hub (pip install '.[hub]'), whatever model.weights says;
          for others, edit BIG and SMALL
Out:      runs/gsm8k_ablations/compare/THEME/comparison.json, and the table
Expect:   the directions of Cobbe et al. 2021 that experiments/tiny_ablations.py lists by theme,
          with section and figure. They were found
          with GPT-3 of 3 to 175 billion parameters; a small model has its crossover between
          fine-tuning and verification later. The paper's figure 8c takes 300 samples a problem in
          training and test and four times the tokens a batch
"""

import dataclasses
from collections.abc import Mapping

from experiments import gsm8k_token_verifier, tiny_ablations
from verifier.config import Config, PretrainConfig

# 7,217 problems of 187 tokens (those of SmolLM2) on rows of 32 x 1024 that are 95% full: 43.3 steps
# an epoch of the generator; and 200 times as many for the verifier, which reads 100 samples a
# problem, each beside a ground-truth solution.
FINETUNE_STEPS, VERIFY_STEPS = 87, 8700
BIG, SMALL = "HuggingFaceTB/SmolLM2-360M", "HuggingFaceTB/SmolLM2-135M"


def get_config() -> Config:
    """The paper's defaults (table 1): no dropout."""
    recipe = gsm8k_token_verifier.get_config()
    return dataclasses.replace(
        recipe,
        name="gsm8k_ablations",
        pretrain=PretrainConfig(batch_rows=32, row_tokens=1024, accumulate=4, learning_rate=1e-4),
        finetune=dataclasses.replace(recipe.finetune, dropout=0.0, steps=FINETUNE_STEPS),
        verify=dataclasses.replace(recipe.verify, dropout=0.0, steps=VERIFY_STEPS),
    )


def fewer_problems(parts: Mapping[str, tuple[int, int]]) -> dict[str, list[str]]:
    """Variants whose verifiers learn from the samples of fewer problems, in as many steps.

    Args:
        parts: by name, so many problems and how many times over their samples are read.
    """
    return {
        f"problems_{name}": [f"verify.problems={count}", f"verify.epochs={passes}"]
        for name, (count, passes) in parts.items()
    }


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """Assignments to the base, by theme and variant."""
    big, small = f"model.weights={BIG}", f"model.weights={SMALL}"
    from_base = "verify.init=base"
    return {
        "losses": tiny_ablations.get_sweep()["losses"]
        | {"verification_only": ["verify.lm_weight=0"]},
        "dropout": tiny_ablations.get_sweep()["dropout"],
        "sizes": {
            "big_big": [big, from_base],
            "big_small": [big, from_base, f"verify.weights={SMALL}"],
            "small_big": [small, from_base, f"verify.weights={BIG}"],
            "small_small": [small, from_base],
        },
        "train_problems": {
            f"problems_{count}": [f"data.train_problems={count}"]
            for count in (500, 1000, 2000, 4000)
        },
        "samples_per_problem": {
            f"samples_{count}": [f"verify.samples_per_problem={count}"] for count in (5, 25, 50)
        },
        "epochs": {
            f"epochs_{count}": ["finetune.steps=0", f"finetune.epochs={count}"]
            for count in (1, 5, 10, 20)
        },
        "test_samples": {"test_samples_400": ["sample.test_samples=400"]},
    }
