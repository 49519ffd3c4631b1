"""Residual dropout of 0.2 on a base model that was trained without it, on GSM8K: none, at once,
rising over the first half of the steps, and at once behind further pre-training with it.

Command:  python -m verifier.launch --exp=sweep:gsm8k_dropout --set data.dir=FOLDER
          model.weights=FOLDER_OR_HUB_ID
          python -m verifier.launch --exp=gsm8k_dropout --set data.dir=FOLDER  (the base alone)
          Scaled down to two CPU cores: --set data.train_problems=512 data.heldout_problems=64
          finetune.steps=30 finetune.batch_rows=2 finetune.accumulate=1 pretrain.batch_rows=2
          pretrain.accumulate=1 model.dtype=auto
Data:     train.jsonl and test.jsonl of openai/grade-school-math in data.dir (or GSM8K_DIR)
Hardware: one GPU with 24 GiB, or two CPU cores and 6 GiB for the scaled-down sweep
Out:      runs/gsm8k_dropout/compare/dropout/comparison.json, and a table of held-out losses; the
          rate and the loss of every step in SEED/VARIANT/logs/finetune.jsonl
Expect:   none loses least in so few steps: dropout costs a short fine-tuning something whatever is
          done. Of the others at_once loses most, for a model that never met dropout has a loss of
          11.8 on GSM8K solutions at its first step, 1.9 without (SmolLM2-135M)
Beware:   all take the same fine-tuning steps; `pretrained` takes its pre-training on top
"""

import dataclasses

from experiments import gsm8k_token_verifier
from verifier.config import Config, PretrainConfig
from verifier.run.stage import Stage
from verifier.stages import finetune, problems

DROPOUT = "finetune.dropout=0.2"


def get_config() -> Config:
    """The generator of the paper's recipe, without dropout."""
    recipe = gsm8k_token_verifier.get_config()
    return dataclasses.replace(
        recipe,
        name="gsm8k_dropout",
        pretrain=PretrainConfig(
            batch_rows=32, row_tokens=1024, accumulate=4, learning_rate=1e-4, dropout=0.2
        ),
        finetune=dataclasses.replace(recipe.finetune, dropout=0.0),
    )


def get_stages(config: Config) -> list[Stage]:
    """Problems and the generator: what is compared is its loss on held-out solutions."""
    questions = problems.stage(config)
    return [questions, finetune.stage(questions)]


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """Assignments to the base, by theme and variant."""
    return {
        "dropout": {
            "at_once": [DROPOUT],
            "ramped": [DROPOUT, "finetune.dropout_ramp=0.5"],
            "pretrained": [DROPOUT, "pretrain.epochs=1"],
        }
    }
