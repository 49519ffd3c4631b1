"""Workdirs side by side: read, compared, and written as a page with its figures and charts."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from verifier.errors import ComparisonError
from verifier.evaluate import comparison
from verifier.report import (
    comparison_page,
    contestants,
    formatting,
    loops_side_by_side,
    page_folder,
    writing,
)
from verifier.text.split import Split


def compare(
    roots: Sequence[pathlib.Path], out: pathlib.Path, split: Split, resamples: int, seed: int
) -> str:
    """Reads the runs, writes the page and returns the table for the terminal.

    Args:
        roots: workdirs.
        out: folder of the page.
        split: whose problems are compared.
        resamples: of the bootstrap.
        seed: of everything that is drawn.

    Raises:
        UserError: a run lacks its figures or tables, or they cannot be compared.
    """
    if not 2 <= len(roots) <= comparison_page.MOST:
        raise ComparisonError(
            f"{len(roots)} runs to compare; expected 2 to {comparison_page.MOST} workdirs"
        )
    names = _names(roots)
    metrics = [contestants.metrics_of(root) for root in roots]
    if all("loops" in each for each in metrics):
        told = dict(zip(names, zip(roots, metrics, strict=True), strict=True))
        found = loops_side_by_side.compared(told, split, resamples, seed)
        html = loops_side_by_side.render(found, formatting.today(), _settings(roots))
        charts = loops_side_by_side.charts(found)
        page_folder.write(
            out, found, html, charts, loops_side_by_side.CHARTS, name="comparison.json"
        )
        return loops_side_by_side.table(found)
    runs = [
        contestants.read(root, name, [split])[split]
        for root, name in zip(roots, names, strict=True)
    ]
    compared = comparison.compare(runs, resamples, seed)
    html = comparison_page.render(compared, formatting.today(), _settings(roots))
    charts = comparison_page.charts(compared)
    page_folder.write(out, compared, html, charts, comparison_page.TITLES, name="comparison.json")
    return comparison_page.table(compared)


def _names(roots: Sequence[pathlib.Path]) -> list[str]:
    """What tells the runs apart: their folders' names, with those above where they are the same."""
    parts = [root.resolve().parts for root in roots]
    depth = next(
        (
            n
            for n in range(1, max(map(len, parts)) + 1)
            if len({one[-n:] for one in parts}) == len(parts)
        ),
        1,
    )
    return ["/".join(one[-depth:]) for one in parts]


def _settings(roots: Sequence[pathlib.Path]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs."""
    known = [writing.about_workdir(root).settings for root in roots]
    paths = sorted({path for one in known for path in one})
    values = {path: [one.get(path) for one in known] for path in paths}
    return {path: row for path, row in values.items() if any(one != row[0] for one in row)}
