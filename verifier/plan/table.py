"""A plan as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from verifier.config import MeshConfig
from verifier.plan import costs
from verifier.plan.advice import limit
from verifier.plan.devices import Devices
from verifier.plan.footprints import Footprint
from verifier.plan.subject import Subject

_HELD = ("parameters", "optimiser", "batch", "caches", "temporaries")


def render(
    subject: Subject,
    devices: Devices,
    planned: Sequence[Footprint | str],
    advice: Mapping[str, str],
) -> str:
    """The whole answer.

    Args:
        subject: what was planned for.
        devices: on what.
        planned: stages; the name alone of one that cannot be planned.
        advice: a line by stage that does not fit.
    """
    stages = [stage for stage in planned if isinstance(stage, Footprint)]
    lines = [
        *_heading(subject, devices),
        "",
        *(_columns(subject, devices, stages) if stages else []),
    ]
    lines += [f"\n{stage} does not fit: {way}" for stage, way in advice.items()]
    return "\n".join([*lines, "", *_assumptions(subject, devices)])


def _heading(subject: Subject, devices: Devices) -> list[str]:
    arch, mesh = subject.arch, subject.config.mesh
    kv = "" if arch.kv_heads == arch.heads else f" ({arch.kv_heads} of keys and values)"
    return [
        f"{subject.config.name} on {devices}; mesh {_mesh(mesh)} (data, fsdp, tensor)",
        f"{costs.parameters(arch) / 1e9:,.3f} billion parameters: {arch.layers} layers of "
        f"width {arch.width}, {arch.heads} heads{kv}, MLP {arch.mlp_width}, "
        f"{arch.vocab_size:,} rows of vocabulary; {subject.config.model.dtype}",
    ]


def _mesh(mesh: MeshConfig) -> str:
    return f"{mesh.data},{mesh.fsdp},{mesh.tensor}"


def _columns(subject: Subject, devices: Devices, stages: Sequence[Footprint]) -> list[str]:
    """One line a figure, one column a stage."""
    rows: list[tuple[str, list[str]]] = [("a device, GB", [stage.name for stage in stages])]
    rows += [(f"  {part}", [_gb(stage.held.get(part)) for stage in stages]) for part in _HELD]
    if any(stage.loading for stage in stages):
        rows.append(("  while it is read", [_gb(stage.loading or None) for stage in stages]))
    rows.append(("  at most", [_gb(stage.total) for stage in stages]))
    most = limit(devices)
    if devices.kind:
        verdicts = ["yes" if stage.total <= most else "NO" for stage in stages]
        rows.append((f"  fits {most / 1e9:.1f} of {devices.kind.gigabytes:.0f}", verdicts))
    rows.append(("a step", [stage.rows for stage in stages]))
    rows.append(("  TFLOP a device", [f"{stage.cost.operations / 1e12:.3g}" for stage in stages]))
    rows.append(("  GB moved a device", [f"{stage.cost.bytes / 1e9:.3g}" for stage in stages]))
    rows.append(("  tokens, all", [f"{stage.tokens:,.0f}" for stage in stages]))
    rows.append(("steps", [f"{stage.wanted / max(stage.tokens, 1):,.0f}" for stage in stages]))
    if (kind := devices.kind) is not None:
        narrow = subject.config.model.dtype == "bfloat16"
        seconds = [stage.cost.seconds(kind, narrow) for stage in stages]
        rows.append(("bound by", [stage.cost.bound(kind, narrow) for stage in stages]))
        rows.append(("seconds a step", [f"{each:.3g}" for each in seconds]))
        timed = list(zip(stages, seconds, strict=True))
        rows.append(("tokens/s, all", [f"{stage.tokens / each:,.0f}" for stage, each in timed]))
        hours = [stage.wanted / stage.tokens * each / 3600 for stage, each in timed]
        rows.append(("hours", [f"{each:.2g}" for each in hours]))
    width = max(15, *(len(stage.name) + 2 for stage in stages))
    return [f"{name:20}" + "".join(f"{cell:>{width}}" for cell in cells) for name, cells in rows]


def _assumptions(subject: Subject, devices: Devices) -> list[str]:
    lines = [
        "Parameters, optimiser state, batches and caches are counted from the shapes of a "
        "device's parts. Temporaries are those of the",
        "stage's own programs, compiled for virtual CPU devices at two depths and carried on "
        "to all layers: a CPU multiplies bfloat16 in",
        "float32 and has no fused attention, so a TPU or GPU needs less. Bytes moved are the "
        "least there can be; nothing is counted for",
        "communication between devices.",
    ]
    if devices.kind:
        kind = devices.kind
        lines.append(
            f"Time: {costs.COMPUTE_SHARE:.0%} of {kind.teraflops:g} TFLOP/s (half of that for "
            f"float32) or {costs.MEMORY_SHARE:.0%} of {kind.bandwidth:,g} GB/s, whichever "
            f"takes longer, as published for a {kind.name}."
        )
    return lines + [f"Taken: {note}." for note in subject.notes]


def _gb(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e9:,.3g}" if size < 1e9 else f"{size / 1e9:,.2f}"
