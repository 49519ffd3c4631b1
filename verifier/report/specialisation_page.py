"""The page of a student's checkpoints: what it gains on its target and loses elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verifier.evaluate.results_table import EXACT, cell
from verifier.report import templates
from verifier.report.svg import LINES, Chart, percent_ticks

BETWEEN = "ood - heldout"  # the checkpoints that both criteria choose, held against each other
_MOST_KINDS = 6  # of a set that the terminal shows; the page shows all


def charts(metrics: Mapping[str, Any]) -> dict[str, Chart]:
    """For every format the accuracy on each set against the steps of training, by the format."""
    return {
        name: _curves(name, sets, metrics["steps"]) for name, sets in metrics["formats"].items()
    }


def _curves(format_name: str, sets: Mapping[str, Any], steps: Sequence[int]) -> Chart:
    points = {name: each["accuracy"] for name, each in sets.items()}
    every = [end for row in points.values() for point in row for end in point["ci95"]]
    y_range, y_ticks = percent_ticks(min(every), max(every))
    chart = Chart(words(format_name), (steps[0], steps[-1]), y_range, right=62)
    chart.axes("steps", "problems solved", {step: f"{step:,}" for step in steps}, y_ticks)
    for kind, (name, row) in zip(LINES, points.items(), strict=False):
        hints = [
            f"{name}, {step:,} steps: {cell(point)}%"
            for step, point in zip(steps, row, strict=True)
        ]
        chart.estimates(steps, row, kind, hints)
    chart.legend([(kind, name) for kind, name in zip(LINES, points, strict=False)])
    return chart


def words(format_name: str) -> str:
    """A format's name in words."""
    return format_name.replace("_", " ")


def table(metrics: Mapping[str, Any]) -> str:
    """The same as plain text, a row a set."""
    lines = []
    for format_name, sets in metrics["formats"].items():
        rows = [row for name, each in sets.items() for row in _rows(name, each)]
        width = max(12, *(len(name) for name, _ in rows)) + 2
        lines += [f"{words(format_name)} (%)"]
        head = f"{'':{width}}{'before':<21}" + "".join(
            f"{f'chosen by {name}':<21}{'- before':<21}" for name in metrics["selection"]
        )
        lines.append(head + BETWEEN * ("ood" in metrics["selection"]))
        lines += [f"{name:<{width}}{_cells(each, metrics['selection'])}" for name, each in rows]
        for name, each in sets.items():
            if len(each["kinds"]) > _MOST_KINDS:
                lines.append(f"the {len(each['kinds'])} kinds of {name} are on the page")
        lines.append("")
    for criterion, kept in metrics["selection"].items():
        at = metrics["steps"][kept["candidate"]]
        lines.append(f"chosen by {criterion}: checkpoint {kept['candidate']}, step {at:,}")
    problems = next(iter(metrics["formats"].values()))
    counts = ", ".join(f"{name} {each['problems']:,}" for name, each in problems.items())
    lines.append(f"problems that have chosen nothing: {counts}; 95% bootstrap, differences paired")
    lines += [EXACT] if any("*" in line for line in lines) else []
    lines += ["", *(f"note: {note}" for note in metrics["notes"])] if metrics["notes"] else []
    return "\n".join(line.rstrip() for line in lines)


def _rows(name: str, each: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The rows of a set: its figures, those by another grader, and those of its kinds."""
    rows = [(name, each)]
    rows += [(f"  by {grader}", other) for grader, other in each["beside"].items()]
    if len(each["kinds"]) <= _MOST_KINDS:
        rows += [(f"  {kind}", own) for kind, own in each["kinds"].items()]
    return rows


def _cells(each: Mapping[str, Any], selection: Mapping[str, Any]) -> str:
    """A row's figures as text."""
    row = f"{cell(each['accuracy'][0]):<21}"
    for criterion, kept in selection.items():
        taken = each["accuracy"][kept["candidate"]]
        row += f"{cell(taken):<21}{cell(each['minus_before'][criterion], signed=True):<21}"
    return row + cell(each["minus_heldout"], signed=True)


def render(metrics: Mapping[str, Any], name: str, date: str, settings: Mapping[str, Any]) -> str:
    """The page's HTML.

    Args:
        metrics: what metrics.json holds.
        name: of the run.
        date: in words.
        settings: by dotted path.
    """
    return templates.filled(
        "specialisation",
        name=name,
        date=date,
        metrics=metrics,
        formats={words(key): sets for key, sets in metrics["formats"].items()},
        kinds=LINES,
        between=BETWEEN if "ood" in metrics["selection"] else "",
        charts=templates.by_title(charts(metrics).values()),
        exact=EXACT if "*" in table(metrics) else "",
        settings=settings,
    )
