"""Distributions against samples (Fu et al. 2023): how soon each loss is where sample matching ends,
with a teacher that is not certain.

Command:  as in experiments/tiny_wordings.py for the teacher in FOLDER, then
          python -m verifier.launch --exp=sweep:tiny_losses:losses --seeds=0,1,2
          --set distill.teacher=FOLDER/teacher
          (python -m verifier.launch --exp=tiny_losses with the same --set: the base alone)
Hardware: 2 CPU cores, 4 GiB; some 3 minutes a seed for the teacher's solutions and the base, 1 for
          each further loss
Out:      runs/tiny_losses/compare/losses/heldout.json, and the table
Expect:   in the paper distributions are learned faster, to a lower loss
Equal:    the teacher and its solutions, which are drawn at the temperature that its distributions
          are of; steps, order of the examples, learning rate. The held-out loss is for all of them
          the cross-entropy of the teacher's own held-out words, every 10 steps
Unequal:  right solutions alone are learned, but distributions are those of all that the teacher
          might have written

losses  sample matching is the base
"""

import dataclasses

from experiments import tiny_distill
from verifier.config import Config
from verifier.recipes import distill
from verifier.run.stage import Stage

EVERY = 10  # steps


def get_config() -> Config:
    """tiny_distill by samples, drawn at temperature 1, in one format; few of them, so that they are
    seen often enough to be known by heart.
    """
    tiny = tiny_distill.get_config()
    return dataclasses.replace(
        tiny,
        name="tiny_losses",
        data=dataclasses.replace(
            tiny.data, train_problems=200, heldout_problems=200, test_problems=100
        ),
        ood=dataclasses.replace(tiny.ood, sets=()),
        finetune=dataclasses.replace(
            tiny.finetune, loss="match_sample", row_tokens=384, eval_every=EVERY
        ),
        sample=dataclasses.replace(
            tiny.sample, train_samples=2, heldout_samples=2, temperature=1.0
        ),
        distill=dataclasses.replace(tiny.distill, mix=(0, 1, 0, 0)),
        select=dataclasses.replace(
            tiny.select,
            by="heldout",
            sets=(),
            checkpoints=1,
            formats=("zero_shot_chain_of_thought",),
        ),
    )


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """Assignments to the base, by theme and variant."""
    losses = ("match_distribution", "match_spans")
    return {"losses": {name: [f"finetune.loss={name}"] for name in losses}}


def get_stages(config: Config) -> list[Stage]:
    """As tiny_distill."""
    return distill.stages(config)
