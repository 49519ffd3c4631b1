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
    recipe: Recipe,
    devices: devices_lib.Devices,
    names: Sequence[str] | None,
) -> str:
    """The plan of some jobs as text.

    Args:
        config: checked.
        recipe: the stages whose jobs are planned.
        devices: they run on.
        names: of jobs; None: of all that the settings have.

    Raises:
        UserError: a name that is no job, or what cannot be planned.
    """
    from verifier.plan import advice, footprints, subject, table

    jobs = {
        f"{job.name} ({stage.place})" if stage.place else job.name: job
        for stage in recipe(config)
        for job in stage.jobs
    }
    known = list(dict.fromkeys(job.name for job in jobs.values()))
    if strange := [name for name in names or () if name not in known]:
        raise errors.ConfigError(
            f"--stages: nothing is planned for {strange[0]!r}; expected some of {', '.join(known)}"
        )
    config = dataclasses.replace(config, mesh=footprints.closed(config.mesh, devices))
    is_auto, config = config.model.dtype == "auto", _with_dtype(config, devices)
    planned_for = subject.read(config, list(jobs.values()))
    if is_auto:
        taken = f"{config.model.dtype} for model.dtype=auto"
        planned_for = planned_for._replace(notes=(*planned_for.notes, taken))
    planned: list[footprints.Footprint | str] = []
    ways: dict[str, str] = {}
    for title, job in jobs.items():
        idle = job.kind == "train" and not job.section(config).has_work
        if idle if names is None else job.name not in names:
            continue
        try:
            footprint = footprints.plan(planned_for, job, devices)._replace(name=title)
            planned.append(footprint)
            fits = footprint.total <= advice.limit(devices)
        except errors.ConfigError:
            raise
        except errors.UserError as error:  # sampling has sizes of its own to refuse
            planned.append(title)
            ways[title] = f"{error}\n  "
            fits = False
        if not fits:
            out = advice.ways_out(planned_for, job, devices)
            ways[title] = ways.get(title, "") + out
    return table.render(planned_for, devices, planned, ways)


def _with_dtype(config: config_lib.Config, devices: devices_lib.Devices) -> config_lib.Config:
    """The settings with a type in the place of model.dtype=auto: all kinds that have a name here
    are fast in bfloat16.
    """
    if config.model.dtype != "auto":
        return config
    return config_lib.override(config, [f"model.dtype={'bfloat16' if devices.kind else 'float32'}"])


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
