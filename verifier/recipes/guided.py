"""Search guided by a verifier (OVM, Yu et al. 2023; DVTS, Beeching et al. 2024).

A verifier of whole solutions is trained as in `token_verifier`; it then says of unfinished ones
which are worth going on with.
"""

from __future__ import annotations

from verifier.config import Config
from verifier.recipes import token_verifier
from verifier.run.stage import Stage
from verifier.stages import report, search


def stages(config: Config) -> list[Stage]:
    """Those of `token_verifier`, and search before the report."""
    *before, _ = token_verifier.stages(config)
    made = {stage.name: stage for stage in before if not stage.place}
    generator, samples, labels = made["finetune"], made["sample"], made["label"]
    searched = search.stage(generator, made["verify"], made["problems"])
    reported = {"generator": generator, "samples": samples, "labels": labels}
    page = report.stage({**reported, "scores": made["score"], "search": searched})
    return [*before, searched, page]
