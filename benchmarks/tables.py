"""The newest result of every job as Markdown, to be pasted into README.md:  python -m
benchmarks.tables [FOLDER]

What has not been measured is said to be so; nothing is filled in from elsewhere. Knows how figures
are shown, not how they are measured.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import needed, results

MISSING = "not measured"
Result = Mapping[str, Any]
_CONTENDER_JOBS = {  # job: title, the rate that counts, what is said of it
    "sampling": ("(a) Sampling with real stopping", "solutions_per_second", "solutions/s"),
    "fixed_length": ("(b) Sampling at a fixed length", "tokens_per_second", "tokens/s"),
    "scoring": ("(c) Scoring", "solutions_per_second", "solutions/s"),
    "training": ("(d) Training", "tokens_per_second", "real tokens/s"),
}


def device(found: Result) -> str:
    """The column that a result belongs to."""
    return "GPU" if found["machine"]["gpu"] else "CPU"


def newest(every: Sequence[Result], job: str, place: str, axis: str = "") -> Result | None:
    """The last result of a job on a kind of device; `every` is in order of time."""
    fitting = [
        found
        for found in every
        if found["job"] == job and device(found) == place and found.get("axis", "") == axis
    ]
    return fitting[-1] if fitting else None


def limit_of(every: Sequence[Result], found: Result) -> Mapping[str, float] | None:
    """The limit that was measured on the same machine, with as many cores, at the same
    precision.
    """
    same = [each for each in every if each["job"] == "limits" and each["dtype"] == found["dtype"]]
    same = [
        each
        for each in same
        if all(
            each["machine"][key] == found["machine"][key] for key in ("cpu", "gpu", "cores_used")
        )
    ]
    return same[-1]["limit"] if same else None


def share(run: Mapping[str, Any], limit: Mapping[str, float] | None) -> float | None:
    """The least time that the run's work takes on the machine, over the time it took."""
    if limit is None or "needed" not in run:
        return None
    return (
        needed.seconds_at_limit(
            needed.Needed(**run["needed"]), limit["flops_per_second"], limit["bytes_per_second"]
        )
        / run["seconds"]
    )


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


def about(found: Result) -> str:
    """Where figures come from, in two lines."""
    machine = found["machine"]
    place = f"{machine['cpu']}, {machine['cores_used']} cores, {machine['memory_gib']} GiB"
    place += f", {machine['gpu']}" if machine["gpu"] else ""
    versions: dict[str, str] = {}
    for each in found.get("contenders", {}).values():
        versions |= each.get("load", {}).get("versions", {})
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    revision = f"revision {found['revision']}" + (f"; {named}" if named else "")
    return (
        f"{found['date']}; {place}; {found['model']}, {found['dtype']}; {revision}\n\n    "
        f"{found['command']}"
    )


def contender_table(found: Result, every: Sequence[Result]) -> str:
    """One row a contender: its rate, its share of the limit, its memory, and this project over
    it.
    """
    _, figure, unit = _CONTENDER_JOBS[found["job"]]
    limit = limit_of(every, found)
    rows = []
    for name, each in found["contenders"].items():
        if not each["runs"]:
            rows.append([name, f"failed: {each.get('error', 'nothing came back')}", "", "", ""])
            continue
        shares = [value for run in each["runs"] if (value := share(run, limit)) is not None]
        compared = found["ratios"].get(name)
        peaks = [
            run["memory"]["device_peak_of_process" if device(found) == "GPU" else "peak"]
            for run in each["runs"]
        ]
        rows.append(
            [
                name + (f" (failed later: {each['error']})" if "error" in each else ""),
                spread(each[figure]),
                f"{statistics.median(shares):.0%}" if shares else "no limit measured",
                number(max(peaks) / 2**30) if None not in peaks else "not counted",
                times(compared) if compared else "",
            ]
        )
    return table(
        ["contender", unit, "share of the limit", "peak memory, GiB", "this project over it"], rows
    )


def limits_table(found: Result) -> str:
    """The rates for every shape."""
    names = [name for name, each in found["contenders"].items() if each["runs"]]
    rows = []
    for place, shape in enumerate(found["shapes"]):
        rates = [
            max(run["flops_per_second"][place] for run in found["contenders"][name]["runs"])
            for name in names
        ]
        rows.append(
            [
                " x ".join(f"{side:,}" for side in shape),
                *(f"{number(rate / 1e9)} GFLOP/s" for rate in rates),
            ]
        )
    reads = [
        max(run["bytes_per_second"] for run in found["contenders"][name]["runs"]) for name in names
    ]
    rows.append(
        [f"reading {found['read_mib']:,} MiB", *(f"{number(rate / 1e9)} GB/s" for rate in reads)]
    )
    return table(["", *names], rows)


def growth_table(found: Result) -> str:
    """One row a point, and the ratios below."""
    rows = []
    for point in found["points"]:
        if "seconds" not in point:
            rows.append([point["name"], "failed", "", ""])
            continue
        memory = [spread(point[figure], 2**30) for figure in ("peak", "beyond_model")]
        rows.append([point["name"], spread(point["seconds"]), *memory])
    units = () if found["axis"] == "copies" else ("seconds", "gib")
    images = "".join(f"\n\n![{unit}](results/{found['file']}-{unit}.svg)" for unit in units)
    text = table(
        [found["axis"], "seconds", "peak memory, GiB", "beyond the loaded model, GiB"], rows
    )
    return (
        text
        + "".join(f"\n\n{name}: {times(compared)}" for name, compared in found["ratios"].items())
        + images
    )


def reranking_table(found: Result) -> str:
    """One row a size and kind of table."""
    rows = [
        [
            point["kind"],
            f"{point['samples']:,}",
            f"{point['rows']:,}",
            *(spread(point[figure]) for figure in ("seconds", "gib", "page_mb")),
        ]
        for point in found["points"]
    ]
    return table(
        ["stored as", "samples a problem", "rows", "seconds", "peak memory, GiB", "page, MB"], rows
    )


def _best_peer(found: Result, peers: str = "") -> str:
    """This project over the peer that is hardest to beat, among those whose name begins with
    `peers`.
    """
    compared = [
        (each["of_medians"], name)
        for name, each in found["ratios"].items()
        if name.startswith(peers)
    ]
    if not compared:
        return MISSING
    least = min(compared)
    return f"{times(found['ratios'][least[1]])} {least[1]}"


def _own_share(found: Result, every: Sequence[Result], name: str) -> str:
    runs = found["contenders"].get(name, {"runs": []})["runs"]
    shares = [value for run in runs if (value := share(run, limit_of(every, found))) is not None]
    return f"{statistics.median(shares):.0%}" if shares else MISSING


def _ratio(found: Result, name: str) -> str:
    return times(found["ratios"][name]) if name in found["ratios"] else MISSING


def goals(every: Sequence[Result]) -> str:
    """What was to be reached and what was."""
    no_calculator = "verifier-no-calculator"
    lines = [  # job, axis, words, goal on a CPU, goal on a GPU, what is read from the result
        (
            "sampling",
            "",
            "(a) solutions/s over the best peer",
            ">= 3x",
            "",
            lambda f: _best_peer(f),
        ),
        (
            "sampling",
            "",
            "(a) solutions/s over `generate`",
            "",
            ">= 3x",
            lambda f: _ratio(f, "transformers"),
        ),
        (
            "sampling",
            "",
            "(a) solutions/s over its continuous batching",
            "",
            ">= 1.5x",
            lambda f: _best_peer(f, "transformers-continuous"),
        ),
        (
            "fixed_length",
            "",
            "(b) tokens/s over `generate`",
            ">= 2x",
            ">= 2x",
            lambda f: _ratio(f, "transformers"),
        ),
        (
            "fixed_length",
            "",
            "(b) share of the limit",
            ">= 60%",
            ">= 50%",
            lambda f: _own_share(f, every, no_calculator),
        ),
        (
            "scoring",
            "",
            "(c) solutions/s over a padded torch forward",
            ">= 2x",
            ">= 3x",
            lambda f: _ratio(f, "torch"),
        ),
        (
            "training",
            "",
            "(d) tokens/s over the padded torch loop",
            ">= 1.5x",
            ">= 1.5x",
            lambda f: _ratio(f, "torch-padded"),
        ),
        (
            "training",
            "",
            "(d) tokens/s over the packed torch loop",
            ">= 1.0x",
            ">= 1.1x",
            lambda f: _ratio(f, "torch-packed"),
        ),
        (
            "training",
            "",
            "(d) share of the limit",
            "",
            ">= 40% at 0.5B",
            lambda f: _own_share(f, every, "verifier"),
        ),
        (
            "growth",
            "copies",
            "peak memory, shared prompt over copies",
            "<= 1/3",
            "<= 1/3",
            lambda f: _ratio(f, _COPIES.format("peak")),
        ),
        (
            "growth",
            "copies",
            "the same beyond the model",
            "",
            "",
            lambda f: _ratio(f, _COPIES.format("beyond_model")),
        ),
        (
            "growth",
            "problems",
            "64 problems over 8",
            "<= 8.4x",
            "<= 8.4x",
            lambda f: _ratio(f, "seconds: 64 over 8"),
        ),
    ]
    rows = []
    for job, axis, words, cpu, gpu, read in lines:
        reached = {place: newest(every, job, place, axis) for place in ("CPU", "GPU")}
        cells = {place: read(found) if found else MISSING for place, found in reached.items()}
        rows.append([words, cpu, cells["CPU"], gpu, cells["GPU"]])
    return table(["job", "goal, CPU", "CPU", "goal, GPU", "GPU"], rows)


_COPIES = "{}: shared prompt over copies of the prompt"


def page(every: Sequence[Result]) -> str:
    """All tables."""
    parts = [goals(every)]
    for place in ("CPU", "GPU"):
        for job, (title, _, _) in _CONTENDER_JOBS.items():
            if found := newest(every, job, place):
                parts += [f"### {title}, {place}", about(found), contender_table(found, every)]
        for axis in ("samples", "prompt", "problems", "copies"):
            if found := newest(every, "growth", place, axis):
                parts += [f"### (e) Growth with {axis}, {place}", about(found), growth_table(found)]
        if found := newest(every, "limits", place):
            parts += [f"### (f) The machine's limit, {place}", about(found), limits_table(found)]
        if found := newest(every, "reranking", place):
            parts += [f"### (g) Reranking, {place}", about(found), reranking_table(found)]
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(
        page(results.read_all(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else results.FOLDER))
    )
