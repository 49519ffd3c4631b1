"""The page that holds runs against each other, and its table for a terminal.

Knows words and places, no statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import markupsafe

from verifier.evaluate.caveats import too_few
from verifier.evaluate.results_table import EXACT, ROWS, cell, counted
from verifier.report import page, plots
from verifier.report.svg import Chart

TITLES = {
    "verifier_at_k": "The verifier's best of n samples",
    "majority_at_k": "Majority of n samples",
    "pass_at_k": "Any of n samples is right",
}
_KINDS = tuple(
    f"{colour}{dash}"
    for dash in ("", " dashed", " dotted")
    for colour in ("verifier", "majority", "oracle")
)
MOST = len(_KINDS)  # runs that can be told apart in a chart


def render(found: Mapping[str, Any], date: str, settings: Mapping[str, Sequence[Any]]) -> str:
    """The page's HTML.

    Args:
        found: what `comparison.compare` returns, of at most MOST runs.
        date: in words.
        settings: by dotted path the value of each run, of those that differ; None where a run does
            not have it.
    """
    return (
        page.environment()
        .get_template("compare.html.jinja")
        .render(
            runs=found["runs"],
            shared=found["shared_problems"],
            date=date,
            few=too_few(found["shared_problems"]),
            exact=EXACT if "*" in table(found) else "",
            settings=settings,
            graders=sorted({run["grader"] for run in found["runs"]}),
            rows=_rows(found),
            kinds=_KINDS,
            charts={
                chart.title: markupsafe.Markup(chart.render()) for chart in charts(found).values()
            },
            policy=page.policy(),
            style=page.style(),
        )
    )


def charts(found: Mapping[str, Any]) -> dict[str, Chart]:
    """A chart for every kind of curve that some run has, with a line a run."""
    made = {}
    for family, title in TITLES.items():
        lines = [
            (kind, run["name"], run["curves"][family])
            for kind, run in zip(_KINDS, found["runs"], strict=False)
        ]
        chart = plots.curves(title, [line for line in lines if line[2]])
        if chart:
            made[family] = chart
    return made


def table(found: Mapping[str, Any]) -> str:
    """The same as plain text: a row a method, of each run its figure, and of all but the first the
    paired difference to it.
    """
    width = max(26, *(len(run["name"]) + 2 for run in found["runs"]))
    few = too_few(found["shared_problems"])
    lines = [f"warning: {few}", ""] if few else []
    lines.append(f"{'':20}" + "".join(f"{run['name']:<{width}}" for run in found["runs"]))
    for row in _rows(found):
        lines.append(
            f"{row['name']:<20}" + "".join(f"{cell(one):<{width}}" for one in row["estimates"])
        )
        if any(row["differences"]):  # the same on every problem: nothing apart
            lines.append(
                f"{'  - first':<20}"
                + "".join(f"{cell(one, signed=True):<{width}}" for one in row["differences"])
            )
    of = counted(found["shared_problems"], "problem")
    lines += [
        "",
        f"% of the {of} that all runs share; 95% bootstrap over problems, differences paired",
    ]
    lines += [EXACT] if any("*" in line for line in lines) else []
    return "\n".join(line.rstrip() for line in lines)


def _rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a method that some run has."""
    return [
        {
            "name": name,
            "words": words,
            "estimates": [run["methods"].get(key) for run in found["runs"]],
            "differences": [(run["differences"] or {}).get(key) for run in found["runs"]],
            "ks": [run["k"] if key == "top_k_vote_chosen" else None for run in found["runs"]],
        }
        for key, name, words in ROWS
        if any(key in run["methods"] for run in found["runs"])
    ]
