"""Charts of a model that thinks: gains by token and by difficulty, and numbers of its training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verifier.evaluate.results_table import counted
from verifier.report.svg import LINES, Chart

# Numbers by step: in the log of metrics, above the chart, on its axis.
_CURVES = {
    "reward": ("Reward over training", "nats"),
    "mixing": ("Mixing weight over training", "weight of a thought"),
    "entropy": ("Entropy of thoughts over training", "nats a token"),
}
_POINTS = 60  # of a curve; steps beyond that are averaged
_SIDES = {-1: "wrong", 0: "oracle", 1: "right"}
_SKIPPED = 0.5  # a bar of one token is seen above it
Curve = Mapping[str, Sequence[tuple[int, float]]]  # by number, its value by step


def charts(figures: Mapping[str, Any], curves: Mapping[str, Curve]) -> dict[str, Chart]:
    """All charts, by the names of their files.

    Args:
        figures: what `evaluate.thoughts.figures` returns.
        curves: by thinker, the numbers of its training.
    """
    made = {"gain_by_difficulty": _levels(figures["levels"])}
    for number, (name, counts) in enumerate(figures["histogram"]["counts"].items(), 1):
        made[f"gain_histogram_{number}"] = histogram(name, figures["histogram"]["edges"], counts)
    for what in _CURVES:
        lines = {name: own[what] for name, own in curves.items() if len(own.get(what, ())) > 1}
        if lines:
            made[f"training_{what}"] = _over_training(what, lines)
    return made


def possible(thinkers: int) -> list[str]:
    """Names of the files of all charts that so many thinkers may have."""
    histograms = [f"gain_histogram_{number}" for number in range(1, thinkers + 1)]
    return ["gain_by_difficulty", *histograms, *(f"training_{what}" for what in _CURVES)]


def histogram(name: str, edges: Sequence[float], counts: Sequence[int]) -> Chart:
    """Tokens by gain, on a logarithmic scale: nearly all of them are near 0."""
    most = max(counts)
    top = math.ceil(math.log10(max(most, 10)))
    y_range = (math.log10(_SKIPPED), top)
    chart = Chart(f"Tokens by gain: {name}", (edges[0], edges[-1]), y_range, right=24)
    # Five figures have no room beside the axis.
    y_ticks = {
        float(power): f"{10**power:,}" if power < 4 else f"{10 ** (power - 3):,}k"
        for power in range(top + 1)
    }
    chart.axes("gain in log-probability, nats", "tokens (log scale)", _signed(edges), y_ticks)
    last = len(counts) - 1
    for place, count in enumerate(counts):
        if not count:
            continue
        low, high = edges[place], edges[place + 1]
        side = 0 if place == last // 2 else (1 if place > last // 2 else -1)
        beyond = " or less" if place == 0 else " or more" if place == last else ""
        hint = f"{low:+.2f} to {high:+.2f}{beyond}: {counted(count, 'token')}"
        chart.bar((low, high), (y_range[0], math.log10(count)), _SIDES[side], hint)
    chart.line((0, y_range[0]), (0, top), "mark")
    below, above = sum(counts[: last // 2]), sum(counts[last // 2 + 1 :])
    chart.legend([("wrong", f"less likely ({below:,})"), ("right", f"more likely ({above:,})")])
    return chart


def _levels(levels: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart:
    """Gains from the easiest tokens to the hardest, a line a thinker."""
    every = [
        end
        for own in levels.values()
        for each in own
        for end in (each["gain"]["value"], *(each["gain"]["ci95"] or ()))
    ]
    count = max(map(len, levels.values()))
    y_range, y_ticks = _ticks(every)
    chart = Chart("Gain by difficulty", (1, max(count, 2)), y_range, right=24)
    words = {float(n): str(n) for n in range(1, count + 1)}
    chart.axes("tokens from the easiest fifth to the hardest", "gain, nats", words, y_ticks)
    chart.line((1, 0), (max(count, 2), 0), "mark")
    for kind, (name, own) in zip(LINES, levels.items(), strict=False):
        xs, gains = list(range(1, len(own) + 1)), [each["gain"] for each in own]
        hints = [
            f"{name}, losses {each['low']:.2f} to {each['high']:.2f}: {gain['value']:+.4f}"
            for each, gain in zip(own, gains, strict=True)
        ]
        if all(gain["ci95"] for gain in gains):
            chart.estimates(xs, gains, kind, hints)
        else:
            chart.curve(xs, [gain["value"] for gain in gains], kind, hints)
    chart.legend(list(zip(LINES, levels, strict=False)))
    return chart


def _over_training(what: str, lines: Mapping[str, Sequence[tuple[int, float]]]) -> Chart:
    title, unit = _CURVES[what]
    thinned = {name: _thinned(points) for name, points in lines.items()}
    steps = [step for points in thinned.values() for step, _ in points]
    y_range, y_ticks = _ticks([value for points in thinned.values() for _, value in points])
    last = max(steps)
    chart = Chart(title, (0, last), y_range, right=24)
    chart.axes(
        "step", unit, {float(at): f"{at:,.0f}" for at in sorted({0, last // 2, last})}, y_ticks
    )
    if y_range[0] <= 0 <= y_range[1]:
        chart.line((0, 0), (last, 0), "mark")
    for kind, (name, points) in zip(LINES, thinned.items(), strict=False):
        xs, ys = zip(*points, strict=True)
        chart.curve(xs, ys, kind)
        chart.dot(xs[-1], ys[-1], kind.split()[0], f"{name}, at the end: {ys[-1]:.4g}")
    chart.legend(list(zip(LINES, thinned, strict=False)))
    return chart


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Means of as many neighbours as leave few points."""
    parts = np.array_split(np.asarray(points, float), min(_POINTS, len(points)))
    return [(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in parts]


def _ticks(values: Sequence[float]) -> tuple[tuple[float, float], dict[float, str]]:
    """A round range around some values and 0, and its ticks."""
    low, high = min(0.0, *values), max(0.0, *values)
    rough = max((high - low) / 5, 1e-6)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(each for each in (1, 2, 5, 10) if each * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return (first * step, last * step), {
        n * step: f"{n * step:.6g}" for n in range(first, last + 1)
    }


def _signed(edges: Sequence[float]) -> dict[float, str]:
    reach = edges[-1]
    return {reach * n / 2: f"{reach * n / 2:+g}" if n else "0" for n in range(-2, 3)}
