"""Time and memory against one axis of growth, as two SVG files that follow light and dark.

Knows no measurement.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from verifier.report.svg import Chart

_WORDS = {"samples": "samples a problem", "prompt": "tokens of the prompt", "problems": "problems"}
_FIGURES = {  # unit: what a figure is divided by
    "seconds": (("seconds", "verifier", "time"),),
    "gib": (
        ("peak", "verifier", "whole process"),
        ("beyond_model", "majority dashed", "beyond the loaded model"),
    ),
}


def write(rows: Sequence[Mapping[str, Any]], axis: str, result: pathlib.Path) -> list[pathlib.Path]:
    """Draws the points of a result file beside it: <its name>-seconds.svg and <its
    name>-gib.svg.
    """
    drawn = [row for row in rows if "seconds" in row]
    if len(drawn) < 2:
        return []
    files = []
    for unit in _FIGURES:
        path = result.with_name(f"{result.stem}-{unit}.svg")
        path.write_text(chart(drawn, axis, unit).render(standalone=True))
        files.append(path)
    return files


def chart(rows: Sequence[Mapping[str, Any]], axis: str, unit: str) -> Chart:
    """Medians as a line with a dot a point, the range of the rounds as a band; both axes begin at
    0, so that linear growth is a line.
    """
    scale = 2**30 if unit == "gib" else 1
    xs = [row["value"] for row in rows]
    ticks = round_ticks(
        max(row[figure]["max"] / scale for row in rows for figure, _, _ in _FIGURES[unit])
    )
    label = "GiB at the peak" if unit == "gib" else "seconds"
    made = Chart(f"{label} against {_WORDS[axis]}", (0, max(xs)), (0, max(ticks)))
    made.axes(_WORDS[axis], label, round_ticks(max(xs)), ticks)
    for figure, kind, name in _FIGURES[unit]:
        middle = [row[figure]["median"] / scale for row in rows]
        made.band(
            xs,
            [row[figure]["min"] / scale for row in rows],
            [row[figure]["max"] / scale for row in rows],
            kind.split()[0],
        )
        made.curve(
            xs, middle, kind, [f"{name}, {x:,}: {y:,.2f}" for x, y in zip(xs, middle, strict=True)]
        )
    made.legend([(kind, name) for _, kind, name in _FIGURES[unit]])
    return made


def round_ticks(most: float) -> dict[float, str]:
    """About five round values from 0 to `most` or just above it, and their words."""
    rough = max(most, 1e-9) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
    count = math.ceil(most / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    return {number * step: f"{number * step:,.{digits}f}" for number in range(count + 1)}
