"""RAIN on prompts (Li et al. 2023): a model that judges itself, and nothing that is learned."""

from __future__ import annotations

from verifier.config import Config
from verifier.run.stage import Stage
from verifier.stages import rain


def stages(config: Config) -> list[Stage]:
    """rain alone: it ends with its table."""
    return [rain.stage()]
