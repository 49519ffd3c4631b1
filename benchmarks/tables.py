"""The newest result of every job as Markdown, to be pasted into README.md:

    python -m benchmarks.tables [FOLDER]

What has not been measured is said to be so; nothing is filled in from elsewhere. Knows how figures
are shown, not how they are measured.
"""

from __future__ import annotations

import pathlib
import statistics
import sys
from collections.abc import Callable, Sequence

from benchmarks import results
from benchmarks.contenders import DTYPES
from benchmarks.figures import Result, limits_of, newest, number, peak, shares, spread, table, times
from benchmarks.flags import BEFORE, TESTS
from benchmarks.goals import RATES, goals

_CONTENDER_JOBS = {  # job: title, the unit of the rate that counts
    "sampling": ("(a) Sampling with real stopping", "solutions/s"),
    "fixed_length": ("(b) Sampling at a fixed length", "tokens/s"),
    "scoring": ("(c) Scoring", "solutions/s"),
    "training": ("(d) Training", "real tokens/s"),
    "verifier_training": ("(h) Training the verifier", "samples/s"),
}


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
    """One row a contender: its rate, how much its solutions share, its share of the limit, its
    memory, and this project over it.
    """
    unit = _CONTENDER_JOBS[found["job"]][1]
    rows = []
    for name, each in found["contenders"].items():
        if not each["runs"]:
            rows.append([name, f"failed: {each.get('error', 'nothing came back')}", *[""] * 4])
            continue
        reached, most = shares(every, found, name), peak(found, name)
        compared = found["ratios"].get(name)
        rows.append(
            [
                name + (f" (failed later: {each['error']})" if "error" in each else ""),
                spread(each[RATES[found["job"]]]),
                _distinct(each["runs"]),
                f"{statistics.median(reached):.0%}" if reached else "no limit measured",
                number(most / 2**30) if most else "not counted",
                times(compared) if compared else "",
            ]
        )
    head = ["contender", unit, "distinct prefixes", "share of the limit", "peak memory, GiB"]
    return table([*head, "this project over it"], rows)


def _distinct(runs: Sequence[Result]) -> str:
    """Distinct prefixes over tokens, where they were counted."""
    counted = [run for run in runs if "distinct_prefixes" in run]
    each = [run["distinct_prefixes"] / run["tokens"] for run in counted]
    return f"{statistics.median(each):.0%} of {counted[-1]['tokens']:,} tokens" if each else ""


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


def demo_table(found: Result) -> str:
    """One row a state of the project."""
    rows = []
    for name, each in found["contenders"].items():
        seconds = [spread(each[key]) if key in each else "" for key in _TURNS]
        rows.append([name, *seconds, number((peak(found, name) or 0) / 2**30)])
    return table(
        ["", "seconds, nothing compiled", "seconds, compiled before", "peak memory, GiB"], rows
    )


_TURNS = ("cold_seconds", "warm_seconds")


def sharing_table(found: Result) -> str:
    """One row a kind of drawing."""
    rows = []
    for point in found["points"]:
        contenders = {name: each for name, each in point["contenders"].items() if each["runs"]}
        rates = [
            spread(contenders[name]["tokens_per_second"]) if name in contenders else ""
            for name in ("verifier", BEFORE)
        ]
        shared = point["tokens_over_distinct_prefixes"]
        compared = point["ratios"].get(BEFORE)
        rows.append(
            [
                f"{point['problems']} x {point['samples']} at T = {point['temperature']:g}",
                spread(shared) if shared else "",
                *rates,
                times(compared) if compared else "",
            ]
        )
    head = ["problems x samples", "tokens a distinct prefix", "tokens/s", "before", "over before"]
    return table(head, rows)


def flips_table(found: Result) -> str:
    """One row a cause."""
    rows = []
    for each in found["causes"]:
        if "error" in each:
            rows.append([each["cause"], f"failed: {each['error']}", "", "", ""])
            continue
        counts = [f"{each[name]:,}" for name in ("flips", "near_ties", "tokens")]
        rate, low, high = (number(each[name]) for name in ("per_million", "low", "high"))
        rows.append([each["cause"], *counts, f"{rate} ({low} to {high})"])
    return table(["what differs", "flips", "near ties", "tokens", "flips per million tokens"], rows)


def aligning_table(found: Result) -> str:
    """One row a way to align."""
    rows = [
        [each["way"], f"{each['student_tokens']:.0f}", spread(each["rate"])]
        for each in found["points"]
    ]
    tokens = f"{found['teacher_tokens']:.0f} tokens of the teacher"
    size = f"{found['solutions']:,} solutions of {tokens} on average"
    return f"{size}\n\n{table(['way', 'tokens of the student', 'solutions/s'], rows)}"


_OTHER_JOBS: dict[str, tuple[str, Callable[[Result], str]]] = {
    "reranking": ("(g) Reranking", reranking_table),
    "sharing": ("(i) Sampling where little is shared", sharing_table),
    "demo": ("(j) The demo", demo_table),
    "flips": ("(k) Samples that are drawn otherwise", flips_table),
    "aligning": ("(l) A teacher's tokens aligned with a student's", aligning_table),
}


def page(every: Sequence[Result]) -> str:
    """All tables."""
    parts = [goals(every)]
    for place in ("CPU", "GPU"):
        held = []
        for job, (title, _) in _CONTENDER_JOBS.items():
            for test in TESTS:
                if found := newest(every, job, place, test=test):
                    held.append(found)
                    named = title if test == TESTS[0] else f"{title}, {test}"
                    parts += [f"### {named}, {place}", about(found), contender_table(found, every)]
        for axis in ("samples", "prompt", "problems", "copies"):
            if found := newest(every, "growth", place, axis):
                parts += [f"### (e) Growth with {axis}, {place}", about(found), growth_table(found)]
        for dtype in DTYPES:
            for found in _limits(every, held, dtype):
                title = f"(f) The machine's limit in {dtype}, {place}, {found['date'][:10]}"
                parts += [f"### {title}", about(found), limits_table(found)]
        for job, (title, shown) in _OTHER_JOBS.items():
            if found := newest(every, job, place):
                parts += [f"### {title}, {place}", about(found), shown(found)]
    return "\n\n".join(parts)


def _limits(every: Sequence[Result], held: Sequence[Result], dtype: str) -> list[Result]:
    """All that some shown result is held against, in order of time."""
    used = [limits_of(every, found, dtype) for found in held]
    return [each for each in every if each in used]


if __name__ == "__main__":
    print(
        page(results.read_all(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else results.FOLDER))
    )
