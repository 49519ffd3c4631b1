"""Every knob of a run, with its range or choices: `Config` and its sections, and how they are set
and compared.
"""

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
    gives_logits,
    knobs,
    override,
    settings_of,
    with_defaults,
)

__all__ = [
    "Config",
    "DataConfig",
    "FinetuneConfig",
    "LabelConfig",
    "LogConfig",
    "MeshConfig",
    "ModelConfig",
    "OodConfig",
    "PretrainConfig",
    "ReportConfig",
    "SampleConfig",
    "ScoreConfig",
    "TokenizerConfig",
    "TrainConfig",
    "VerifyConfig",
    "choices",
    "differences",
    "flatten",
    "gives_logits",
    "knobs",
    "override",
    "settings_of",
    "with_defaults",
]
