"""What this machine's processor can do."""

from __future__ import annotations

import pathlib

_CPUINFO = pathlib.Path("/proc/cpuinfo")


def features(cpuinfo: pathlib.Path = _CPUINFO) -> frozenset[str]:
    """The instruction sets that the system names, such as "avx512_bf16"; none where it names none.

    cpuinfo: as Linux writes it; other systems have no such file.
    """
    if not cpuinfo.is_file():
        return frozenset()
    lines = (line.partition(":") for line in cpuinfo.read_text(errors="replace").splitlines())
    named = (words for name, _, words in lines if name.strip() in ("flags", "Features"))
    return frozenset(next(named, "").split())
