"""A contender's end of the line: jobs come in as JSON lines, figures go out.

Knows no model; imports neither JAX nor torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, TypedDict

Job = Callable[..., dict[str, Any]]


class Drawing(TypedDict):
    """How solutions are drawn, the same for all."""

    max_new_tokens: int
    temperature: float  # above 0; no top-k, no top-p
    end_id: int | None  # None: there is no end token, every solution has max_new_tokens
    # longest prompt and solution of all jobs of this run: what is sized once is sized for these
    room: tuple[int, int]


def serve(
    jobs: Mapping[str, Job], packages: tuple[str, ...], device_bytes: Callable[[], int | None]
) -> None:
    """Answers one line a job until the driver hangs up.

    A job that raises ends the process: the driver reads why on stderr.

    Args:
        jobs: by name; keyword arguments come from the line, the answer goes back with the memory of
            the process beside it, where it does not tell that of a process of its own.
        packages: whose versions the answer to "load" names.
        device_bytes: peak bytes in use on the accelerator since the process began; None on a CPU.
    """
    # Libraries print what they like to stdout; the line to the driver is moved out of their way.
    line = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for asked in sys.stdin:
        request = json.loads(asked)
        reset_peak()
        before = resident_bytes()
        answer = jobs[request["job"]](**request["arguments"])
        memory = {
            "resident_before": before,
            "peak": peak_bytes(),
            "device_peak_of_process": device_bytes(),
        }
        answer.setdefault("memory", memory)
        if request["job"] == "load":
            answer["versions"] = {"python": platform.python_version()} | {
                name: metadata.version(name) for name in packages
            }
        line.write(json.dumps(answer) + "\n")
        line.flush()


def resident_bytes() -> int:
    """Bytes of this process in memory now."""
    return _status("VmRSS")


def peak_bytes(process: str = "self") -> int:
    """The most of them since the last `reset_peak`; or those of another process, by its id."""
    return _status("VmHWM", process)


def reset_peak() -> None:
    """Lets the peak count from now on: a job's own; where the kernel refuses, it stays that of the
    whole process.
    """
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _status(name: str, process: str = "self") -> int:
    """A line of a process's status, in bytes."""
    with open(f"/proc/{process}/status") as file:
        return next(int(row.split()[1]) * 1024 for row in file if row.startswith(name + ":"))
