"""Samples of training problems in fold against out of fold, on generated problems: what a verifier
learns from a generator that knows its training problems by heart.

Command:  python -m verifier.launch --exp=sweep:tiny_folds:folds --seeds=0,1,2
          (leave out :folds for all themes)
          python -m verifier.launch --exp=tiny_folds  (the base alone: all in fold)
Hardware: 2 CPU cores, 4 GiB. Some 3 minutes a seed for the base, as many for a variant with folds
Out:      runs/tiny_folds/compare/THEME/comparison.json, and the table
Expect:   where many epochs make the samples of training problems right far more often than those of
          held-out ones (`label` says both), best-of-n is worse in fold than out of fold. Cobbe et
          al. 2021 (section 4.2) sample after 2 epochs for that reason
Equal:    problems, samples a problem, steps of the verifier; generator and samples of held-out and
          test problems, which a sweep makes once
Unequal:  with K folds a training problem is drawn from by a generator of a share (K - 1)/K of the
          training problems, and K + 1 generators are trained

folds   one generator for all (the base), or 2 or 4 folds, after EPOCHS epochs
epochs  the same after 2 epochs
"""

import dataclasses

from experiments import tiny_ablations
from verifier.config import Config

EPOCHS, VERIFY_STEPS = 20, 150


def get_config() -> Config:
    """Few problems, read often: enough for a small model to know them by heart."""
    tiny = tiny_ablations.get_config()
    return dataclasses.replace(
        tiny,
        name="tiny_folds",
        data=dataclasses.replace(tiny.data, train_problems=96),
        finetune=dataclasses.replace(tiny.finetune, epochs=EPOCHS, learning_rate=1e-3),
        sample=dataclasses.replace(
            tiny.sample, train_problems=0, train_samples=16, test_samples=16
        ),
        verify=dataclasses.replace(tiny.verify, steps=VERIFY_STEPS),
    )


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """Assignments to the base, by theme and variant."""
    few = ["finetune.epochs=2"]
    return {
        "folds": {f"folds_{count}": [f"sample.folds={count}"] for count in (2, 4)},
        "epochs": {"epochs_2": few, "epochs_2_folds_2": [*few, "sample.folds=2"]},
    }
