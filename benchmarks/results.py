"""Figures with where they come from: machine, versions, revision, command, every single
measurement. Knows no job.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contenders import ROOT, kind, without_folders

_DATE = "%Y-%m-%d %H:%M UTC"
FOLDER = pathlib.Path(__file__).parent / "results"


def summary(values: Sequence[float]) -> dict[str, float]:
    """Least, middle and greatest of some measurements."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Ours over theirs: the ratio of the medians, and the range of the ratios of one and the same
    round.

    Rounds are interleaved, so that a machine that slows down for a while slows both of a round's
    measurements.
    """
    each = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "of_medians": statistics.median(ours) / statistics.median(theirs),
        "low": min(each),
        "high": max(each),
    }


def compared(
    found: Mapping[str, Mapping[str, Any]], figure: str, ours: str = "verifier"
) -> dict[str, Any]:
    """This project over every other contender that has gone through all rounds.

    Args:
        found: by contender, as `rounds.compare` gives it.
        figure: of a run, the more the better.
        ours: the kind of contender that stands for this project: the best of them is compared, and
            every other one is compared with, whatever its precision.

    Returns:
        "best": the name of that best one; "ratios": by the names of the others.
    """
    whole = {name: each["runs"] for name, each in found.items() if "error" not in each}
    figures = {name: [run[figure] for run in runs] for name, runs in whole.items()}
    own = [name for name in figures if kind(name) == ours]
    if not own:
        return {"best": "", "ratios": {}}
    best = max(own, key=lambda name: statistics.median(figures[name]))
    others = {name: each for name, each in figures.items() if name != best}
    return {
        "best": best,
        "ratios": {name: ratio(figures[best], each) for name, each in others.items()},
    }


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _first("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "cores_used": threads,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def revision() -> str:
    """The git revision of the project, marked where files differ from it."""
    if not (ROOT / ".git").exists():
        return "unknown"
    head = _output("git", "rev-parse", "--short=12", "HEAD")
    changed = _output(
        "git", "status", "--porcelain", "--untracked-files=no", "--", "verifier", "benchmarks/*.py"
    )
    return head + ("+changes" if changed else "")


def write(job: str, threads: int, found: Mapping[str, Any], folder: pathlib.Path) -> pathlib.Path:
    """Writes one result file and says where.

    Args:
        job: name of the script.
        threads: that every contender had.
        found: settings, measurements, ratios.
        folder: made where it is missing.
    """
    now = datetime.datetime.now(datetime.UTC)
    command = [
        "python",
        "-m",
        f"benchmarks.{job}",
        *(without_folders(word) for word in sys.argv[1:]),
    ]
    about = {
        "job": job,
        "date": now.strftime(_DATE),
        "machine": machine(threads),
        "revision": revision(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{job}-{now.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({**about, "command": " ".join(command), **found}, indent=1) + "\n")
    print(f"wrote {path.name}")
    return path


def read_all(folder: pathlib.Path) -> list[dict[str, Any]]:
    """All result files, oldest first, with their names as "file"."""
    found = [{**json.loads(path.read_text()), "file": path.stem} for path in folder.glob("*.json")]
    # the time to the second; "date" has minutes
    return sorted(found, key=lambda each: each["file"].partition("-")[2])


def when(found: Mapping[str, Any]) -> datetime.datetime:
    """The time of a result, to the minute."""
    return datetime.datetime.strptime(found["date"], _DATE)


def _first(path: str, name: str) -> str:
    file = pathlib.Path(path)
    rows = file.read_text().splitlines() if file.is_file() else []
    return next((row.partition(":")[2].strip() for row in rows if row.startswith(name)), "")


def _gpu() -> str | None:
    """Names of the GPUs that the driver's own tool lists; None without that tool or without a
    GPU.
    """
    try:
        listed = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    except FileNotFoundError:
        return None
    return ", ".join(listed.splitlines()) or None


def _output(*command: str) -> str:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
