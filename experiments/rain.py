"""RAIN on a chat model that judges its own answers (Li et al. 2023): 20 prompts, one table.

Command:  python -m verifier.launch --exp=rain --set model.weights=FOLDER [rain.prompts=FILE]
Hardware: a CPU for 0.1 billion parameters; the paper's models (7 to 70 billion) need accelerators
Expect:   in the paper four times the seconds of plain answers; its model of 30 billion judges right
          81% of the time and gains 15 points, one of 7 billion judges at chance (52%). So a small
          model gains little or nothing: the table says how good the judge is on `rain.pairs`. One
          of 0.1 billion decides on none of them (docs/results.md)
"""

import pathlib

from verifier.config import Config, ModelConfig, RainConfig, SampleConfig
from verifier.recipes import rain
from verifier.run.stage import Stage

_HERE = pathlib.Path(__file__).parent


def get_config() -> Config:
    """The paper's constants for conversations; answers of at most 64 tokens."""
    return Config(
        name="rain",
        model=ModelConfig(context=2048),
        sample=SampleConfig(max_new_tokens=64, calculator=False),
        rain=RainConfig(
            judge="harmless",
            prompts=str(_HERE / "rain_prompts.jsonl"),
            pairs=str(_HERE / "rain_pairs.jsonl"),
        ),
    )


def get_stages(config: Config) -> list[Stage]:
    """rain."""
    return rain.stages(config)
