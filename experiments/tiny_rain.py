"""RAIN with the verifier as its judge, on generated problems: the demo's models; minutes on a CPU.

Command:  python -m verifier.launch --exp=tiny_rain
Hardware: 2 CPU cores, 4 GiB; some ten minutes
Expect:   a higher verifier score than a plain sample, and a lower one than the best of four: see
          "RAIN with the verifier as its judge" in docs/results.md
"""

import dataclasses

from experiments import tiny_token_verifier
from verifier.config import Config, RainConfig, SearchConfig
from verifier.recipes import guided
from verifier.run.stage import Stage


def get_config() -> Config:
    """The demo's run, and RAIN beside plain samples on some of its test problems.

    A digit is a token here, so numbers are looked at to their end before they are judged.
    """
    return dataclasses.replace(
        tiny_token_verifier.get_config(),
        name="tiny_rain",
        search=SearchConfig(methods=("sample", "rain"), test_problems=64),
        rain=RainConfig(T=20, clause_ends="\n"),
    )


def get_stages(config: Config) -> list[Stage]:
    """finetune, sample, label, verify, score, search and report."""
    return guided.stages(config)
