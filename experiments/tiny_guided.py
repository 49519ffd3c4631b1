"""Search guided by the verifier on generated problems: the demo's models; minutes on a CPU.

Command:  python -m verifier.launch --exp=tiny_guided
Hardware: 2 CPU cores, 4 GiB; some ten minutes, six of them for the search
Expect:   see "Search guided by the verifier" in docs/results.md: no method is above best-of-n
"""

import dataclasses

from experiments import tiny_token_verifier
from verifier.config import Config, SearchConfig
from verifier.recipes import guided
from verifier.run.stage import Stage


def get_config() -> Config:
    """The demo's run, and search on some of its test problems.

    So small a model writes the same steps again and again: beams of one text would be no search.
    """
    return dataclasses.replace(
        tiny_token_verifier.get_config(),
        name="tiny_guided",
        search=SearchConfig(distinct=True, test_problems=128),
    )


def get_stages(config: Config) -> list[Stage]:
    """finetune, sample, label, verify, score, search and report."""
    return guided.stages(config)
