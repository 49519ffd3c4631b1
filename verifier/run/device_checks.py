"""What a run asks of the devices, looked at before its first stage: what does not go is not said
after hours. Computes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax

from verifier import config as config_lib
from verifier import errors
from verifier.decode import memory
from verifier.model import sharding
from verifier.model.arch import parameters, scratch_arch
from verifier.run.stage import Stage
from verifier.tables.results import Model


def check(config: config_lib.Config, stages: Sequence[Stage]) -> None:
    """Refuses what some of the stages could not do on these devices.

    Args:
        config: of the run.
        stages: that have work left: what was trained on other devices is used on these, whatever
            they could not have done.

    Raises:
        ConfigError: a mesh that does not make up the devices or does not divide the rows of a
            training job.
        UserError: a model of random weights that the devices cannot hold.
    """
    for stage in stages:
        for job in stage.jobs:
            if job.kind != "train":
                sharding.own_mesh(config.mesh)
                continue
            section, mesh = job.section(config), sharding.make_mesh(config.mesh)
            if section.has_work:
                check_rows(job.name, section, mesh)
        if _makes_the_base(stage) and not config.model.weights:
            _check_size(config, sharding.make_mesh(config.mesh))


def _makes_the_base(stage: Stage) -> bool:
    """Whether a stage makes a model out of none."""
    made_from = (each.stage.makes for _, each in stage.inputs())
    return isinstance(stage.makes, Model) and not any(isinstance(each, Model) for each in made_from)


def _check_size(config: config_lib.Config, mesh: jax.sharding.Mesh) -> None:
    """Refuses sizes that no device here can train: parameters, gradient and two moments are
    float32.
    """
    arch = scratch_arch(config.model, config.tokenizer.vocab_size)
    needed, there = (
        16 * parameters(arch) / (mesh.shape["fsdp"] * mesh.shape["tensor"]),
        memory.usable(),
    )
    if needed > there:
        raise errors.UserError(
            f"model.layers={arch.layers} model.width={arch.width} "
            f"model.mlp_width={arch.mlp_width} tokenizer.vocab_size="
            f"{config.tokenizer.vocab_size}: {parameters(arch):,} parameters, whose training "
            f"takes {needed / 2**30:,.1f} GiB a device; it has {there / 2**30:,.1f} GiB: "
            "choose smaller sizes, or more devices (mesh.fsdp)"
        )


def check_rows(name: str, config: config_lib.TrainConfig, mesh: jax.sharding.Mesh) -> None:
    """Refuses a mesh that does not divide a job's rows.

    Raises:
        ConfigError: it does not divide the rows of a micro-batch.
    """
    sharding.spec(
        f"a micro-batch of {name} (batch_rows / accumulate)",
        ("rows",),
        (config.batch_rows // config.accumulate,),
        mesh,
    )
