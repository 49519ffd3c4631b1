"""The figures of search: accuracy against tokens as a chart, and the rows of the page's table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from verifier.evaluate import budget
from verifier.report.svg import Chart, percent_ticks

TITLE = "Accuracy of searches against tokens generated and scored"
_PLAIN = "verifier"  # style of the curve of best-of-n
_STYLES = ("oracle dotted", "majority", "majority dashed", "oracle", "oracle dashed")
_TICKS = 6  # of the axis of tokens
_LINE, _WORD = 15, 70  # pixels that a label takes down and across


def spent(figures: Mapping[str, Any]) -> float:
    """Tokens generated and scored a problem."""
    return float(figures["tokens"] + figures["tokens_scored"])


def accuracy_over_tokens(split: Mapping[str, Any]) -> Chart | None:
    """Accuracy of each method against the tokens that it took, with 95% intervals, and the curve of
    best-of-n with its band; None where nothing was searched, or all took as much.

    Args:
        split: figures as metrics.json has them.
    """
    methods, plain = split.get("budget") or {}, split.get("budget_best_of_n") or []
    every = [each for sizes in (*methods.values(), plain) for each in sizes]
    at = sorted({spent(each) for each in every})
    if not methods or len(at) < 2:
        return None
    ends = [end for each in every for end in each["accuracy"]["ci95"]]
    y_range, y_ticks = percent_ticks(min(ends), max(ends))
    chart = Chart(TITLE, (at[0], at[-1]), y_range, log=True, right=92)
    chart.axes("tokens a problem", "problems solved", _ticks(at[0], at[-1]), y_ticks)
    labels = []
    if plain:
        xs, lows, highs = (
            [spent(each) for each in plain],
            *([each["accuracy"]["ci95"][end] for each in plain] for end in (0, 1)),
        )
        chart.band(xs, lows, highs, _PLAIN)
        labels.append(_curve(chart, _PLAIN, "best-of-n", plain))
    for style, (method, sizes) in zip(itertools.cycle(_STYLES), methods.items(), strict=False):
        kind = style.split()[0]
        for each in sizes:
            x, (low, high) = spent(each), each["accuracy"]["ci95"]
            chart.line((x, low), (x, high), f"whisker stroke {kind}")
        labels.append(_curve(chart, style, method, sizes))
    written: list[tuple[float, float]] = []
    for y, x, kind, words in sorted(labels):
        # below those that it would lie on
        y = max([y, *(other + _LINE for other, at in written if abs(at - x) < _WORD)])
        written.append((y, x))
        chart.text(x, y, words, kind=f"ink {kind}")
    styles = [("verifier", "best-of-n")] * bool(plain)
    chart.legend([*styles, *zip(_STYLES, methods, strict=False)])
    return chart


def _curve(
    chart: Chart, style: str, name: str, sizes: Sequence[Mapping[str, Any]]
) -> tuple[float, float, str, str]:
    """Draws a line; its label, and where that goes, y first."""
    xs, ys = [spent(each) for each in sizes], [each["accuracy"]["value"] for each in sizes]
    chart.curve(xs, ys, style, [_hint(name, each) for each in sizes])
    return chart.y(ys[-1]) + 4, chart.x(xs[-1]) + 8, style.split()[0], name


def _hint(name: str, each: Mapping[str, Any]) -> str:
    low, high = (100 * end for end in each["accuracy"]["ci95"])
    size = f"n = {each['n']}" if "n" in each else f"{each['candidates']} candidates"
    return (
        f"{name}, {size}, {spent(each):,.0f} tokens: {100 * each['accuracy']['value']:.1f}% "
        f"[{low:.1f}, {high:.1f}]"
    )


def _ticks(low: float, high: float) -> dict[float, str]:
    """Round numbers between two ends, as close as there is room for; without any, the ends."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        every = [step * 10**power for power in range(12) for step in steps]
        ticks = [tick for tick in every if low <= tick <= high]
        if len(ticks) <= _TICKS:
            break
    return {float(tick): f"{tick:,.0f}" for tick in ticks or (low, high)}


def section(split: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the page's table of methods has to say; None where nothing was searched.

    Args:
        split: figures as metrics.json has them.
    """
    methods = split.get("budget")
    if not methods:
        return None
    rows = [{"method": name, **each} for name, sizes in methods.items() for each in sizes]
    equal = bool(split.get("budget_best_of_n"))
    against = [row["minus_best_of_n_at_equal_tokens"] for row in rows]
    cut_off = any(each and each["cut_off"] for each in against)
    cells = [
        one
        for row in rows
        for one in (row["accuracy"], row["minus_best_of_n"], row["minus_best_of_n_at_equal_tokens"])
    ]
    return {
        "rows": rows,
        "equal": equal,
        "samples": budget.samples,
        "counted": budget.COUNTED if equal else (),
        "cut_off": budget.CUT_OFF if cut_off else "",
        "exact": any(one and one.get("interval") == "exact" for one in cells),
    }
