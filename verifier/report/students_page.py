"""The page of students of several methods beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.report import templates
from verifier.report.svg import LINES, Chart, percent_ticks

# The first three are told apart by colour and dashes alike.
_FIRST = ("verifier", "majority dashed", "oracle dotted")
_BESIDE = len(_FIRST)  # names that have room beside each other
_LINES = (*_FIRST, *(each for each in LINES if each not in _FIRST))


def charts(figures: Mapping[str, Any]) -> dict[str, Chart]:
    """Of every split with several shares, accuracy against the share, a line a method."""
    made = {}
    for split, each in figures.items():
        shares = sorted({one["share"] for one in each["students"]})
        if len(shares) > 1:
            made[split] = _chart(split, each["students"], shares)
    return made


def _chart(split: str, students: list[Mapping[str, Any]], shares: list[float]) -> Chart:
    every = [end for one in students for end in one["accuracy"]["ci95"]]
    y_range, y_ticks = percent_ticks(min(every), max(every))
    chart = Chart(f"Problems solved: {split}", (shares[0], shares[-1]), y_range, log=True, right=28)
    ticks = {share: f"{100 * share:g}%" for share in shares}
    chart.axes("share of the training problems", "problems solved", ticks, y_ticks)
    methods = list(dict.fromkeys(one["method"] for one in students))
    for kind, method in zip(_LINES, methods, strict=False):
        own = sorted((one for one in students if one["method"] == method), key=_share)
        xs = [one["share"] for one in own]
        estimates = [one["accuracy"] for one in own]
        hints = [
            f"{method}, {100 * x:g}%: {estimate['value']:.1%}"
            for x, estimate in zip(xs, estimates, strict=True)
        ]
        chart.estimates(xs, estimates, kind, hints)
    named = list(zip(_LINES, methods, strict=False))
    rows = [named[first : first + _BESIDE] for first in range(0, len(named), _BESIDE)]
    for entries, y in zip(rows, (24, 36) if rows[1:] else (30,), strict=True):
        chart.legend(entries, y)
    return chart


def _share(student: Mapping[str, Any]) -> float:
    share: float = student["share"]
    return share


def render(
    figures: Mapping[str, Any], against: str, name: str, date: str, settings: Mapping[str, Any]
) -> str:
    """The page's HTML.

    Args:
        figures: by split, what `students.figures` returns.
        against: the method that differences are to.
        name: of the run.
        date: in words.
        settings: by dotted path.
    """
    return templates.filled(
        "students",
        figures=figures,
        against=against,
        name=name,
        date=date,
        charts=templates.by_title(charts(figures).values()),
        settings=settings,
    )
