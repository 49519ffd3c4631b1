"""Which knobs would make a stage fit: the cheapest first, tried by planning the stage again."""

from __future__ import annotations

from collections.abc import Iterator

from verifier.config import Config, override
from verifier.decode.memory import USABLE
from verifier.errors import UserError
from verifier.plan import footprints
from verifier.plan.devices import Devices
from verifier.plan.subject import Subject
from verifier.run.stage import Job


def limit(devices: Devices) -> float:
    """Bytes of a device that a plan may fill; infinite where nothing is known of it."""
    return USABLE * devices.kind.gigabytes * 1e9 if devices.kind else float("inf")


def ways_out(subject: Subject, job: Job, devices: Devices) -> str:
    """A line to print: the cheapest setting that makes a job fit, or how far those tried lead."""
    tried: dict[str, int] = {}
    for assignments in _candidates(subject.config, job, devices):
        setting = " ".join(assignments)
        try:
            footprint = footprints.plan(
                subject._replace(config=override(subject.config, assignments)), job, devices
            )
        except UserError:
            continue  # this mesh divides the model no better, or holds no slot
        if footprint.total <= limit(devices):
            return f"--set {setting} makes it {footprint.total / 1e9:.1f} GB a device, which fits"
        tried[setting] = footprint.total
    if not tried:
        return (
            "no other setting can be had on these devices: take more of them, larger ones, or "
            "a smaller model"
        )
    best = min(tried, key=lambda setting: tried[setting])
    return (
        f"nothing tried fits; closest is --set {best} with {tried[best] / 1e9:.1f} GB a "
        "device: take more devices or larger ones"
    )


def _candidates(config: Config, job: Job, devices: Devices) -> Iterator[list[str]]:
    """Settings from the cheapest on; later ones gather up what helped before."""
    narrow = [] if config.model.dtype == "bfloat16" else ["model.dtype=bfloat16"]
    if job.kind == "train":
        yield from _for_training(config, job, devices, narrow)
        return
    rows = config.sample.rows if job.kind == "draw" else config.score.rows
    knob = "sample.rows" if job.kind == "draw" else "score.rows"
    fewer = [[f"{knob}={rows >> n}"] for n in range(1, 5) if rows >> n]
    if job.kind == "draw" and rows:
        yield ["sample.rows=0"]
    elif job.kind == "draw" and devices.kind:  # as many slots as memory holds: give them less of it
        whole = config.sample.memory_gib or limit(devices) / 2**30
        fewer = [[f"sample.memory_gib={share * whole:.1f}"] for share in (0.9, 0.75, 0.5, 0.25)]
    yield from fewer
    less = fewer[-1] if fewer else []
    if narrow:
        yield narrow
    for tensor in _rising(config.mesh.tensor, devices.a_host):
        mesh = _mesh(devices.count // tensor, tensor)
        yield mesh
        yield [*mesh, *narrow, *less]


def _for_training(
    config: Config, job: Job, devices: Devices, narrow: list[str]
) -> Iterator[list[str]]:
    section = job.section(config)
    again = [] if section.remat else [f"{job.name}.remat=true"]
    groups = devices.count // config.mesh.tensor
    most = section.batch_rows // groups  # micro-batches of one row a group
    divided = section.batch_rows % groups == 0 and most > section.accumulate
    parts = [f"{job.name}.accumulate={most}"] if divided else []
    for one in (again, parts, [*again, *parts]):
        if one:
            yield one
    if config.mesh.fsdp != groups:
        mesh = _mesh(groups, config.mesh.tensor)
        yield mesh
        yield [*mesh, *again]
        yield [*mesh, *again, *parts]
    if narrow:
        yield [*_mesh(groups, config.mesh.tensor), *again, *parts, *narrow]
    for tensor in _rising(config.mesh.tensor, devices.a_host):
        yield [*_mesh(devices.count // tensor, tensor), *again, *narrow]


def _mesh(fsdp: int, tensor: int) -> list[str]:
    return ["mesh.data=1", f"mesh.fsdp={fsdp}", f"mesh.tensor={tensor}"]


def _rising(tensor: int, most: int) -> Iterator[int]:
    """Twice as many devices a layer, and again, within a machine."""
    while tensor * 2 <= most:
        tensor *= 2
        yield tensor
