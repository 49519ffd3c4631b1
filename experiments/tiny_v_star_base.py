"""The small generator that tiny_v_star starts from: the demo's, of problems of a seed of its own.

Command:  python -m verifier.launch --exp=tiny_v_star_base --stages=finetune
          python -m verifier.export --model=runs/tiny_v_star_base/generator
          --to=experiments/tiny_v_star_weights
Hardware: 2 CPU cores, half a minute
Expect:   four of ten samples right
"""

import dataclasses

from experiments import tiny_token_verifier
from experiments.tiny_base import SEED
from verifier.config import Config


def get_config() -> Config:
    """The demo's fine-tuning alone."""
    return dataclasses.replace(tiny_token_verifier.get_config(), name="tiny_v_star_base", seed=SEED)
