"""Search guided by a verifier (OVM, Yu et al. 2023; DVTS, Beeching et al. 2024).

A verifier of whole solutions is trained as in `token_verifier`; it then says of unfinished ones
which are worth going on with.
"""

from __future__ import annotations

from verifier.config import Config
from verifier.recipes import token_verifier
from verifier.run.stage import Stage
from verifier.stages import search


def stages(config: Config) -> list[Stage]:
    """Those of `token_verifier`, and search before the report."""
    *before, page = token_verifier.stages(config)
    made = {stage.name: stage for stage in before}
    searched = search.stage(made["finetune"], made["verify"], made["problems"])
    return [*before, page, searched]
