"""The page that holds runs against each other, and its table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verifier.evaluate.caveats import too_few
from verifier.evaluate.results_table import EXACT, ROWS, cell, counted
from verifier.report import plots, templates
from verifier.report.svg import LINES, Chart

TITLES = {
    "verifier_at_k": "The verifier's best of n samples",
    "majority_at_k": "Majority of n samples",
    "pass_at_k": "Any of n samples is right",
}
MOST = len(LINES)  # runs that can be told apart in a chart


def render(compared: Mapping[str, Any], date: str, settings: Mapping[str, Sequence[Any]]) -> str:
    """The page's HTML.

    Args:
        compared: what `comparison.compare` returns, of at most MOST runs.
        date: in words.
        settings: by dotted path the value of each run, of those that differ; None where a run does
            not have it.
    """
    return templates.filled(
        "compare",
        runs=compared["runs"],
        shared=compared["shared_problems"],
        date=date,
        few=too_few(compared["shared_problems"]),
        exact=EXACT if "*" in table(compared) else "",
        settings=settings,
        graders=sorted({run["grader"] for run in compared["runs"]}),
        rows=_rows(compared),
        kinds=LINES,
        charts=templates.by_title(charts(compared).values()),
    )


def charts(compared: Mapping[str, Any]) -> dict[str, Chart]:
    """A chart for every kind of curve that some run has, with a line a run."""
    made = {}
    for family, title in TITLES.items():
        lines = [
            (kind, run["name"], run["curves"][family])
            for kind, run in zip(LINES, compared["runs"], strict=False)
        ]
        chart = plots.curves(title, [line for line in lines if line[2]])
        if chart:
            made[family] = chart
    return made


def table(compared: Mapping[str, Any]) -> str:
    """The same as plain text, a row a method.

    Of each run its figure, and of all but the first the paired difference to the first.
    """
    width = max(26, *(len(run["name"]) + 2 for run in compared["runs"]))
    few = too_few(compared["shared_problems"])
    lines = [f"warning: {few}", ""] if few else []
    lines.append(f"{'':20}" + "".join(f"{run['name']:<{width}}" for run in compared["runs"]))
    for row in _rows(compared):
        lines.append(
            f"{row['name']:<20}" + "".join(f"{cell(one):<{width}}" for one in row["estimates"])
        )
        if any(row["differences"]):  # the same on every problem: nothing apart
            lines.append(
                f"{'  - first':<20}"
                + "".join(f"{cell(one, signed=True):<{width}}" for one in row["differences"])
            )
    of = counted(compared["shared_problems"], "problem")
    lines += [
        "",
        f"% of the {of} that all runs share; 95% bootstrap over problems, differences paired",
    ]
    lines += [EXACT] if any("*" in line for line in lines) else []
    return "\n".join(line.rstrip() for line in lines)


def _rows(compared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a method that some run has."""
    return [
        {
            "name": name,
            "words": words,
            "estimates": [run["methods"].get(key) for run in compared["runs"]],
            "differences": [(run["differences"] or {}).get(key) for run in compared["runs"]],
            "ks": [run["k"] if key == "top_k_vote_chosen" else None for run in compared["runs"]],
        }
        for key, name, words in ROWS
        if any(key in run["methods"] for run in compared["runs"])
    ]
