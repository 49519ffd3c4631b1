"""What a plan is asked for and what it answers, as text: from settings and devices to the table.

Knows words, no flags and no figures.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from verifier import config as config_lib
from verifier import errors
from verifier.plan import devices as devices_lib
from verifier.run.experiment import Recipe


def answer(
    config: config_lib.Config,
    recipe: Recipe | None,
    devices: devices_lib.Devices,
    names: Sequence[str] | None,
) -> str:
    """The plan of some jobs as text.

    Args:
        config: checked.
        recipe: the stages whose jobs are planned; None: the paper's own.
        devices: they run on.
        names: of jobs; None: of all that the settings have.

    Raises:
        UserError: a name that is no job, or what cannot be planned.
    """
    from verifier.plan import advice, footprints, subject, table
    from verifier.recipes import token_verifier

    stages = (recipe or token_verifier.stages)(config)
    jobs = {job.name: job for stage in stages for job in stage.jobs}
    if strange := [name for name in names or () if name not in jobs]:
        raise errors.ConfigError(
            f"--stages: nothing is planned for {strange[0]!r}; expected some of {', '.join(jobs)}"
        )
    asked = [
        job
        for name, job in jobs.items()
        if (job.kind != "train" or job.section(config).has_work if names is None else name in names)
    ]
    config = dataclasses.replace(config, mesh=footprints.closed(config.mesh, devices))
    planned_for = subject.read(config, list(jobs.values()))
    planned: list[footprints.Footprint | str] = []
    ways: dict[str, str] = {}
    for job in asked:
        try:
            stage = footprints.plan(planned_for, job, devices)
            planned.append(stage)
            fits = stage.total <= advice.limit(devices)
        except errors.ConfigError:
            raise
        except errors.UserError as error:  # sampling has sizes of its own to refuse
            planned.append(job.name)
            ways[job.name] = f"{error}\n  "
            fits = False
        if not fits:
            out = advice.ways_out(planned_for, job, devices)
            ways[job.name] = ways.get(job.name, "") + out
    return table.render(planned_for, devices, planned, ways)


def mesh(text: str | None) -> list[str]:
    """The assignments that --mesh stands for."""
    if text is None:
        return []
    sizes = text.replace("x", ",").split(",")
    if len(sizes) != 3 or not all(re.fullmatch(r"-1|[1-9]\d*", size.strip()) for size in sizes):
        raise errors.ConfigError(
            f"--mesh={text}: expected three numbers of devices, data,fsdp,tensor, such as "
            "1,16,4 (one may be -1)"
        )
    return [
        f"mesh.{axis}={size.strip()}"
        for axis, size in zip(("data", "fsdp", "tensor"), sizes, strict=True)
    ]


def devices_of(mesh: config_lib.MeshConfig) -> str:
    """How many devices a mesh has that leaves none open."""
    if -1 in (mesh.data, mesh.fsdp, mesh.tensor):
        raise errors.ConfigError(
            f"--devices is missing, and mesh.data={mesh.data} mesh.fsdp={mesh.fsdp} "
            f"mesh.tensor={mesh.tensor} leaves their number open: give --devices=KIND-N such "
            "as h100-8, or --mesh without -1"
        )
    return str(mesh.data * mesh.fsdp * mesh.tensor)
