"""The page of a model that learns from itself, loop by loop."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from typing import Any

from verifier.report import templates
from verifier.report.svg import LINES, Chart, percent_ticks

CHARTS = ("accuracy", "kinds", "used")


def charts(figures: Mapping[str, Any]) -> dict[str, Chart]:
    """Accuracy of every set, of the last one by kind where it has several, and the share of
    training problems learned from, against the loop; none where no loop was done.
    """
    loops = figures["loops"]
    if len(loops) < 2:
        return {}
    sets = list(figures["problems"])
    own = {name: [each["sets"][name]["accuracy"] for each in loops] for name in sets}
    made = {"accuracy": _accuracy("Problems solved", own, loops)}
    if kinds := loops[0]["by_kind"].get(sets[-1]):
        own = {
            kind: [each["by_kind"][sets[-1]][kind]["accuracy"] for each in loops] for kind in kinds
        }
        made["kinds"] = _accuracy(f"Problems of {sets[-1]} solved, by kind", own, loops)
    return {**made, "used": _used(loops[1:])}


def _accuracy(
    title: str, own: Mapping[str, Sequence[Mapping[str, Any]]], loops: Sequence[Mapping[str, Any]]
) -> Chart:
    """Estimates of each name, a line a name, against the loop."""
    every = [end for estimates in own.values() for each in estimates for end in each["ci95"]]
    xs = [each["loop"] for each in loops]
    chart = against_loop(title, xs, every)
    for kind, (name, estimates) in zip(LINES, own.items(), strict=False):
        hints = [
            f"{name}, loop {x}: {each['value']:.1%}" for x, each in zip(xs, estimates, strict=True)
        ]
        chart.estimates(xs, estimates, kind, hints)
    shared = os.path.commonprefix(list(own)).rpartition("/")[0] if len(own) > 1 else ""
    words = [name.removeprefix(f"{shared}/") for name in own]
    chart.legend(list(zip(LINES, words, strict=False)))
    return chart


def _used(loops: Sequence[Mapping[str, Any]]) -> Chart:
    names = {"used": "with hints", "used_without_hints": "without"}
    xs = [each["loop"] for each in loops]
    every = [each["learned"][name] for each in loops for name in names]
    chart = against_loop("Training problems learned from", xs, every)
    for kind, (name, words) in zip(LINES, names.items(), strict=False):
        ys = [each["learned"][name] for each in loops]
        hints = [f"{words}, loop {x}: {y:.1%}" for x, y in zip(xs, ys, strict=True)]
        chart.curve(xs, ys, kind, hints)
    chart.legend(list(zip(LINES, names.values(), strict=False)))
    return chart


def against_loop(title: str, xs: Sequence[int], values: Sequence[float]) -> Chart:
    """A chart with loops along x, and room for some shares along y."""
    y_range, y_ticks = percent_ticks(min(values), max(values))
    chart = Chart(title, (xs[0], xs[-1]), y_range)
    apart = -(-len(xs) // 10)
    chart.axes("loop", title.lower(), {x: str(x) for x in xs[::apart]}, y_ticks)
    return chart


def render(
    figures: Mapping[str, Any],
    solved: Sequence[tuple[str, str, int]],
    name: str,
    date: str,
    settings: Mapping[str, Any],
) -> str:
    """The page's HTML.

    Args:
        figures: what `evaluate.loops.figures` returns.
        solved: training problems as question, source and first loop that solves it.
        name: of the run.
        date: in words.
        settings: by dotted path.
    """
    return templates.filled(
        "loops",
        figures=figures,
        solved=solved,
        name=name,
        date=date,
        charts=templates.by_title(charts(figures).values()),
        settings=settings,
    )
