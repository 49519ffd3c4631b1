"""Figures as a page writes them: shares, points, intervals, durations and the date."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any


def duration(seconds: float) -> str:
    """Such as 12.3 s, 4 min 05 s or 2 h 30 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def today() -> str:
    """The date in words, such as 3 May 2024."""
    return datetime.date.today().strftime("%d %B %Y").lstrip("0")


def percent(value: float) -> str:
    """A share, such as 61.5%."""
    return f"{100 * value:.1f}%"


def interval(estimate: Mapping[str, Any]) -> str:
    """The interval of a share, with a star where it is exact."""
    low, high = estimate["ci95"]
    return f"{percent(low)} \u2013 {percent(high)}{star(estimate)}"


def apart(estimate: Mapping[str, Any]) -> str:
    """The interval of a difference in points, with a star where it is exact."""
    low, high = estimate["ci95"]
    return f"{points(low)} to {points(high)}{star(estimate)}"


def star(estimate: Mapping[str, Any]) -> str:
    """What marks an exact interval; its words are `metrics.EXACT`."""
    return "*" * (estimate.get("interval") == "exact")


def points(value: float) -> str:
    """A signed number of points with a true minus sign; no sign before a zero."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")
