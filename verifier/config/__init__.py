"""Every knob of a run, with its range or choices, and how knobs are set and compared.

Experiments import from here; the errors that a knob can raise are at hand too.
"""

from verifier.config.distill_sections import DistillConfig, Format, SelectConfig, StepByStepConfig
from verifier.config.kinds import Mark
from verifier.config.quiet_sections import QuietConfig
from verifier.config.ranges import BbhTask, ForTesting, Grader, Kind, Source
from verifier.config.search_sections import RainConfig, RolloutsConfig, SearchConfig
from verifier.config.sections import (
    Config,
    DataConfig,
    FinetuneConfig,
    LabelConfig,
    LogConfig,
    MeshConfig,
    ModelConfig,
    OodConfig,
    PretrainConfig,
    ReportConfig,
    SampleConfig,
    ScoreConfig,
    TokenizerConfig,
    TrainConfig,
    VerifyConfig,
)
from verifier.config.settings import (
    choices,
    differences,
    flatten,
    from_settings,
    gives_logits,
    knobs,
    marked,
    override,
    settings_of,
    with_defaults,
)
from verifier.config.star_sections import StarConfig
from verifier.config.think_sections import DirectConfig, ThinkConfig
from verifier.errors import ConfigError, UserError

__all__ = [
    "Config",
    "ConfigError",
    "DataConfig",
    "DirectConfig",
    "DistillConfig",
    "FinetuneConfig",
    "BbhTask",
    "ForTesting",
    "Format",
    "Grader",
    "Kind",
    "LabelConfig",
    "LogConfig",
    "Mark",
    "MeshConfig",
    "ModelConfig",
    "OodConfig",
    "PretrainConfig",
    "QuietConfig",
    "RainConfig",
    "ReportConfig",
    "RolloutsConfig",
    "SampleConfig",
    "ScoreConfig",
    "SearchConfig",
    "SelectConfig",
    "Source",
    "StarConfig",
    "StepByStepConfig",
    "ThinkConfig",
    "TokenizerConfig",
    "TrainConfig",
    "UserError",
    "VerifyConfig",
    "choices",
    "differences",
    "flatten",
    "from_settings",
    "gives_logits",
    "knobs",
    "marked",
    "override",
    "settings_of",
    "with_defaults",
]
