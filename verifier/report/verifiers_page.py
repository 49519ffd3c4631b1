"""The page of several verifiers that rank the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.evaluate import verifiers
from verifier.report import templates
from verifier.report.svg import LINES, Chart, percent_ticks, size_ticks


def charts(figures: Mapping[str, Any]) -> dict[str, Chart]:
    """Of every split with more than one sample a problem, accuracy against their number."""
    return {split: _chart(split, own) for split, own in figures.items() if len(own["ks"]) > 1}


def _chart(split: str, found: Mapping[str, Any]) -> Chart:
    sizes = found["ks"]
    lines = {name: [line[str(k)] for k in sizes] for name, line in verifiers.methods(found).items()}
    every = [end for line in lines.values() for each in line for end in each["ci95"]]
    y_range, y_ticks = percent_ticks(min(every), max(every))
    chart = Chart(f"Problems solved: {split}", (sizes[0], sizes[-1]), y_range, log=True)
    chart.axes("samples to choose from", "problems solved", size_ticks(sizes), y_ticks)
    for kind, (name, line) in zip(LINES, lines.items(), strict=False):
        hints = [f"{name}, {k}: {each['value']:.1%}" for k, each in zip(sizes, line, strict=True)]
        chart.estimates(sizes, line, kind, hints)
    chart.legend(list(zip(LINES, lines, strict=False)))
    return chart


def render(
    figures: Mapping[str, Any],
    learned: Mapping[str, Mapping[str, int]],
    name: str,
    date: str,
    settings: Mapping[str, Any],
) -> str:
    """The page's HTML.

    Args:
        figures: by split, what `evaluate.verifiers.figures` returns.
        learned: by split, the counts of the pairs (`data.preferences.Drawn`).
        name: of the run.
        date: in words.
        settings: by dotted path.
    """
    return templates.filled(
        "verifiers",
        figures=figures,
        methods={split: verifiers.methods(own) for split, own in figures.items()},
        shown={split: verifiers.shown(own) for split, own in figures.items()},
        learned=learned,
        name=name,
        date=date,
        charts=templates.by_title(charts(figures).values()),
        settings=settings,
    )
