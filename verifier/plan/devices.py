"""Devices by name, with their published peaks."""

from __future__ import annotations

import dataclasses
import difflib
import re

from verifier.config import kinds
from verifier.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Kind:
    """One device (a TPU chip, a GPU) as its maker publishes it."""

    name: str
    platform: str  # "tpu" | "cuda"
    teraflops: float  # dense bfloat16 products, in 1e12 operations a second
    gigabytes: float  # of memory, in 1e9 bytes
    bandwidth: float  # of that memory, in 1e9 bytes a second
    a_host: int  # devices of a machine, where a run has several


# TPU: Google Cloud's page of each version ("System architecture"). GPU: NVIDIA's data sheets of the
# SXM modules, without sparsity.
KINDS: dict[str, Kind] = {
    "v4": Kind("TPU v4", "tpu", 275, 32, 1200, 4),
    "v5e": Kind("TPU v5e", "tpu", 197, 16, 819, 4),
    "v5p": Kind("TPU v5p", "tpu", 459, 95, 2770, 4),
    "v6e": Kind("TPU v6e", "tpu", 918, 32, 1640, 4),
    "a100": Kind("A100 SXM", "cuda", 312, 80, 2000, 8),
    "h100": Kind("H100 SXM", "cuda", 989, 80, 3350, 8),
    "h200": Kind("H200 SXM", "cuda", 989, 141, 4800, 8),
}
# Devices of a plan: the compiler for CPUs takes the virtual devices beyond for those of another
# process.
MOST = 2048
_ONE_HOST = {"v5e": 8, "v6e": 8}  # up to so many chips can be had in one machine


@dataclasses.dataclass(frozen=True)
class Devices:
    """What a plan is for."""

    count: int
    a_host: int
    kind: Kind | None = None  # None: any; nothing is said about memory and time

    @property
    def hosts(self) -> int:
        return self.count // self.a_host

    def __str__(self) -> str:
        name = self.kind.name if self.kind else "devices of no named kind"
        where = f", {self.hosts} machines of {self.a_host}" if self.hosts > 1 else ""
        return f"{self.count} {name}{where}"


def parse(text: str) -> Devices:
    """The devices that `--devices` names.

    Args:
        text: "KIND-N" such as v5e-64 or h100-8, or a number N. N counts chips, one JAX device each;
            the names that Google gives to slices of v4 and v5p count two cores a chip.

    Raises:
        ConfigError: no such kind (the nearest is named), or N is no number of devices or fills no
            whole number of machines.
    """
    match = re.fullmatch(r"(?:([a-z0-9]+)-)?(\d+)", text.strip().lower())
    known = ", ".join(KINDS)
    if match is None or not match[2].strip("0"):
        raise ConfigError(
            f"--devices={text}: expected KIND-N such as v5e-64 or h100-8, or a number of "
            f"devices; kinds: {known}"
        )
    if len(match[2]) > 9 or int(match[2]) > MOST:
        raise ConfigError(
            f"--devices={kinds.shortened(text)}: expected at most {MOST:,} devices; plan for "
            "fewer, and a part of the work"
        )
    kind, count = match[1], int(match[2])
    if kind is None:
        return Devices(count, count)
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"; did you mean {near[0]}-{count}?" if near else ""
        raise ConfigError(
            f"--devices={text}: there is no kind {kind!r}{hint} Kinds: {known}; a number alone "
            "stands for any"
        )
    a_host = count if count <= _ONE_HOST.get(kind, KINDS[kind].a_host) else KINDS[kind].a_host
    if count % a_host:
        raise ConfigError(
            f"--devices={text}: {count} devices do not fill machines of {a_host}; choose a "
            f"multiple of {a_host}"
        )
    return Devices(count, a_host, KINDS[kind])
