"""RAIN on a chat model that judges its own answers (Li et al. 2023): 20 prompts, one table.

Command:  python -m verifier.launch --exp=rain --set model.weights=FOLDER [rain.prompts=FILE]
Hardware: a CPU for 0.1 billion parameters; the paper's models (7 to 70 billion) need accelerators
Expect:   four times the seconds of plain answers in the paper. Its models of 30 and 65 billion judge
          right 81% and 84% of the time and gain 13 to 15 points; 7 billion judge at chance (52%), so
          a small model gains little or nothing. The table says how good the judge is on
          `rain.pairs`. See "RAIN" in docs/results.md.
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
