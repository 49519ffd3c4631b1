"""The folder of a report: its figures, its page and its charts, each file whole or not there."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from verifier.report.svg import Drawing
from verifier.system import atomic, paths

METRICS = "metrics.json"
_PAGE = "index.html"


def write(
    folder: pathlib.Path,
    figures: Mapping[str, Any],
    html: str,
    charts: Mapping[str, Drawing],
    possible: Iterable[str],
    name: str = METRICS,
) -> None:
    """Writes a report.

    Args:
        folder: made if need be.
        figures: for JSON.
        html: of the page.
        charts: by the names of their files.
        possible: names of all charts that there may be; those of an earlier report that are not
            among `charts` are removed.
        name: of the file of figures.
    """
    # The figures last: where they are, the rest is too.
    files = {name: atomic.as_json(figures), _PAGE: html.encode()}
    files |= {f"{own}.svg": each.render(standalone=True).encode() for own, each in charts.items()}
    atomic.write_all(paths.to_path(folder), files, stale=[f"{own}.svg" for own in possible])


def told(folder: pathlib.Path, as_text: Callable[[Mapping[str, Any]], str]) -> str:
    """What the terminal says of a report: its figures as text, and where they and the page lie."""
    table = as_text(json.loads((folder / METRICS).read_text()))
    return f"{table}\n\npage     {folder / _PAGE}\nmetrics  {folder / METRICS}"
