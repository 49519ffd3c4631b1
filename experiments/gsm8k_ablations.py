"""The paper's ablations on GSM8K, one change at a time to its recipe without dropout; each theme is one question.

Command:  python -m verifier.launch --exp=sweep:gsm8k_ablations:losses --seeds=0,1,2 --set data.dir=FOLDER model.weights=FOLDER_OR_HUB_ID
          python -m verifier.launch --exp=gsm8k_ablations --set data.dir=FOLDER                              (the base alone)
          --set sample.test_samples=... and the like set the base that all variants change; see README.md for smaller runs
Data:     train.jsonl and test.jsonl of openai/grade-school-math in data.dir (or GSM8K_DIR)
Hardware: one GPU with 24 GiB or more. Variants of `losses` and `samples_per_problem` train and apply a verifier alone; those of `dropout`
          (but for *_dropout of a verifier), `train_problems` and `epochs` sample anew, which takes most of a run; `test_samples` samples
          the test problems anew, four times as much
Weights:  `sizes` takes its two from the hub (pip install '.[hub]'), whatever model.weights says; for others, edit BIG and SMALL
Out:      runs/gsm8k_ablations/compare/THEME/comparison.json, and the table
Expect:   the directions of Cobbe et al. 2021 that experiments/tiny_ablations.py lists by theme, with section and figure. They were found
          with GPT-3 of 3 to 175 billion parameters; a small model has its crossover between fine-tuning and verification later.
          The paper's figure 8c takes 300 samples a problem in training and test and four times the tokens a batch
"""

import dataclasses

from experiments import gsm8k_token_verifier, tiny_ablations
from verifier.config import Config, PretrainConfig

BIG, SMALL = "HuggingFaceTB/SmolLM2-360M", "HuggingFaceTB/SmolLM2-135M"


def get_config() -> Config:
    """The paper's defaults (table 1): no dropout."""
    recipe = gsm8k_token_verifier.get_config()
    return dataclasses.replace(
        recipe,
        name="gsm8k_ablations",
        pretrain=PretrainConfig(batch_rows=32, row_tokens=1024, accumulate=4, learning_rate=1e-4),
        finetune=dataclasses.replace(recipe.finetune, dropout=0.0),
        verify=dataclasses.replace(recipe.verify, dropout=0.0),
    )


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """Assignments to the base, by theme and variant."""
    big, small = f"model.weights={BIG}", f"model.weights={SMALL}"
    from_base = "verify.init=base"
    return {
        **{theme: tiny_ablations.get_sweep()[theme] for theme in ("losses", "dropout")},
        "sizes": {
            "big_big": [big, from_base],
            "big_small": [big, from_base, f"verify.weights={SMALL}"],
            "small_big": [small, from_base, f"verify.weights={BIG}"],
            "small_small": [small, from_base],
        },
        "train_problems": {f"problems_{count}": [f"data.train_problems={count}"] for count in (500, 1000, 2000, 4000)},
        "samples_per_problem": {f"samples_{count}": [f"verify.samples_per_problem={count}"] for count in (5, 25, 50)},
        "epochs": {f"epochs_{count}": [f"finetune.epochs={count}"] for count in (1, 5, 10, 20)},
        "test_samples": {"test_samples_400": ["sample.test_samples=400"]},
    }
