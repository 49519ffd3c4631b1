"""What is read from result files, and how figures are shown. Knows no job's meaning."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import needed, results
from benchmarks.contenders import kind
from benchmarks.flags import TESTS

MISSING = "not measured"
Result = Mapping[str, Any]


def device(found: Result) -> str:
    """The column that a result belongs to."""
    return "GPU" if found["machine"]["gpu"] else "CPU"


def newest(
    every: Sequence[Result], job: str, place: str, axis: str = "", test: str = TESTS[0]
) -> Result | None:
    """The last result of a job on a kind of device.

    Args:
        every: result, in order of time.
        job: name of the script.
        place: CPU or GPU.
        axis: of growth.
        test: whose test problems were asked.
    """
    fitting = [
        found
        for found in every
        if (found["job"], device(found)) == (job, place)
        and (found.get("axis", ""), found.get("test", TESTS[0])) == (axis, test)
    ]
    return fitting[-1] if fitting else None


def limits_of(every: Sequence[Result], found: Result, dtype: str) -> Result | None:
    """The limits that a result is held against: of the same machine, with as many cores, in a
    precision.

    Of several those nearest in time: a virtual machine's cores are faster on one day than on
    another.
    """
    alike, time = ("cpu", "gpu", "cores_used"), results.when(found)
    same = [
        each
        for each in every
        if each["job"] == "limits"
        and each["dtype"] == dtype
        and all(each["machine"][key] == found["machine"][key] for key in alike)
    ]
    return min(same, key=lambda each: abs(results.when(each) - time), default=None)


def shares(every: Sequence[Result], found: Result, name: str) -> list[float]:
    """Of each run of a contender, the least time that its work takes on the machine, in its own
    precision, over the time it took; none where no limit was measured.
    """
    contender = found["contenders"].get(name, {"runs": []})
    measured = limits_of(every, found, contender.get("dtype", found["dtype"]))
    if measured is None:
        return []
    limit = measured["limit"]
    return [
        needed.seconds_at_limit(
            needed.Needed(**run["needed"]), limit["flops_per_second"], limit["bytes_per_second"]
        )
        / run["seconds"]
        for run in contender["runs"]
        if "needed" in run
    ]


def peak(found: Result, name: str) -> float | None:
    """The most bytes that a contender had in memory, of the device where it counts them."""
    counted = "device_peak_of_process" if device(found) == "GPU" else "peak"
    runs = found["contenders"].get(name, {"runs": []})["runs"]
    peaks = [run["memory"][counted] for run in runs]
    return max(peaks) if peaks and None not in peaks else None


def over(found: Result, ours: str, theirs: str, figure: str) -> Mapping[str, float] | None:
    """One contender over another by a figure of their runs; None where one has not run."""
    runs = [found["contenders"].get(name, {"runs": []})["runs"] for name in (ours, theirs)]
    if not all(runs) or len(runs[0]) != len(runs[1]):
        return None
    return results.ratio(*([run[figure] for run in each] for each in runs))


def best(found: Result, kinds: Sequence[str], figure: str) -> str:
    """The contender of some kinds whose median figure is the greatest; "": there is none."""
    medians = {
        name: statistics.median([run[figure] for run in each["runs"]])
        for name, each in found["contenders"].items()
        if kind(name) in kinds and each["runs"]
    }
    return max(medians, key=lambda name: medians[name], default="")


def spread(summary: Mapping[str, float], unit: float = 1.0) -> str:
    """The median, and the range where there is one."""
    low, middle, high = (number(summary[key] / unit) for key in ("min", "median", "max"))
    return middle if low == high else f"{middle} ({low} to {high})"


def number(value: float) -> str:
    """Three digits that matter."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def times(compared: Mapping[str, float]) -> str:
    """A ratio with its range."""
    return f"{compared['of_medians']:.2f}x ({compared['low']:.2f} to {compared['high']:.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
