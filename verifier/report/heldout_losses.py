"""Held-out losses of the training jobs of several variants, of sweeps that test nothing."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from verifier.tables.manifests import read_manifest
from verifier.tables.results import GENERATOR, VERIFIER


def compare(roots: Mapping[str, Mapping[int, pathlib.Path]]) -> dict[str, Any]:
    """What the held-out batches gave at the end of every training job.

    Args:
        roots: workdirs by variant and seed.

    Returns:
        `heldout`: by variant, seed and job the steps taken (`steps`), the one whose parameters are
        kept (`kept_step`) and the held-out means of these (`heldout`: `loss` and the terms by name,
        nats a token where they are cross-entropies); jobs without held-out batches are left out.
    """
    told = {
        name: {str(seed): _jobs(root) for seed, root in sorted(of_seed.items())}
        for name, of_seed in roots.items()
    }
    return {"base": next(iter(roots)), "heldout": told}


def table(compared: Mapping[str, Any]) -> str:
    """The losses as plain text for a terminal: a column a job, the seeds one behind the other.

    Args:
        compared: what `compare` gave.
    """
    told = compared["heldout"]
    jobs = list(
        dict.fromkeys(job for seeds in told.values() for of in seeds.values() for job in of)
    )
    width = max(map(len, told)) + 2
    lines = ["held-out loss at the end of each job, by seed; its optimiser steps in brackets"]
    lines.append(" " * width + "".join(f"{job:<32}" for job in jobs))
    for name, seeds in told.items():
        cells = [" / ".join(_cell(of.get(job)) for of in seeds.values()) for job in jobs]
        lines.append(f"{name:<{width}}" + "".join(f"{each:<32}" for each in cells))
    return "\n".join(line.rstrip() for line in lines)


def _jobs(root: pathlib.Path) -> dict[str, Any]:
    """What the manifests of a workdir's models say of their jobs."""
    manifests = [read_manifest(model.folder(root)) or {} for model in (GENERATOR, VERIFIER)]
    return {
        job: {key: facts[key] for key in ("steps", "kept_step", "heldout")}
        for manifest in manifests
        for job, facts in manifest.items()
        if isinstance(facts, dict) and facts.get("heldout")
    }


def _cell(job: Mapping[str, Any] | None) -> str:
    return f"{job['heldout']['loss']:.4f} [{job['steps']}]" if job else "-"
