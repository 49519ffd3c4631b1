"""python -m verifier.compare: two or more finished runs side by side on the problems they share, without JAX. Knows flags and paths.

    python -m verifier.compare RUN1 RUN2 ... [--out=DIR] [--split=test] [--seed=0] [--resamples=2000]

A run is a workdir with `report/metrics.json` and its tables; the others are compared with the first. The page goes to ./comparison.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from verifier import atomic
from verifier.config import ReportConfig, UserError
from verifier.evaluate import comparison, comparison_page, report, tables
from verifier.evaluate.comparison import ComparisonError, Contestant


def compare(roots: Sequence[pathlib.Path], out: pathlib.Path, split: str, resamples: int, seed: int) -> str:
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
        raise ComparisonError(f"{len(roots)} runs to compare; expected 2 to {comparison_page.MOST} workdirs")
    names = _names(roots)
    runs = [_contestant(root, name, split) for root, name in zip(roots, names, strict=True)]
    found = comparison.compare(runs, resamples, seed)
    html = comparison_page.render(found, datetime.date.today().strftime("%d %B %Y").lstrip("0"), _settings(roots))
    for name, chart in comparison_page.charts(found).items():
        atomic.write_text(out / f"{name}.svg", chart.render(standalone=True))
    atomic.write_text(out / "index.html", html)
    atomic.write_json(out / "comparison.json", found)  # last: where it is, the rest is too
    return comparison_page.table(found)


def _names(roots: Sequence[pathlib.Path]) -> list[str]:
    """What tells the runs apart: their folders' names, with those above where these are the same."""
    parts = [root.resolve().parts for root in roots]
    depth = next((n for n in range(1, max(map(len, parts)) + 1) if len({one[-n:] for one in parts}) == len(parts)), 1)
    return ["/".join(one[-depth:]) for one in parts]


def _contestant(root: pathlib.Path, name: str, split: str) -> Contestant:
    path = root / "report" / "metrics.json"
    if not path.is_file():
        raise ComparisonError(
            f"{path} is not there; expected a finished run: run the stage report (--stages=report), or name another workdir"
        )
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ComparisonError(f"{path}: not JSON ({error}); run the stage report again") from error
    figures = metrics.get("splits", {}).get(split)
    if not figures:
        raise ComparisonError(
            f"{path} has no split {split!r}; it has {', '.join(metrics.get('splits', {})) or 'none'}: choose one with --split"
        )
    rows = tables.read_workdir(root, [split])[split]
    chosen = figures.get("top_k_vote_chosen")
    return Contestant(name, rows.candidates, chosen["k"] if chosen else None, rows.grader)


def _settings(roots: Sequence[pathlib.Path]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs."""
    known = [report.run_of_workdir(root).settings for root in roots]
    paths = sorted({path for one in known for path in one})
    values = {path: [one.get(path) for one in known] for path in paths}
    return {path: row for path, row in values.items() if any(one != row[0] for one in row)}


def main(words: Sequence[str] | None = None) -> None:
    """Runs; what a user can mend ends as one line on stderr and exit status 1, everything else with its traceback."""
    parser = argparse.ArgumentParser(prog="python -m verifier.compare", description="Holds finished runs against each other.")
    parser.add_argument("runs", nargs="*", type=pathlib.Path, help="workdirs; the others are compared with the first")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("comparison"), help="folder for index.html, comparison.json, charts"
    )
    parser.add_argument("--split", default="test", help="whose problems are compared")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap and of drawn subsets")
    parser.add_argument("--resamples", type=int, default=ReportConfig.resamples, help="of the bootstrap over problems")
    asked = parser.parse_args(words)
    try:
        for name, least in (("seed", 0), ("resamples", 1)):
            if getattr(asked, name) < least:
                raise ComparisonError(f"--{name}={getattr(asked, name)}: expected a whole number from {least}")
        table = compare(asked.runs, asked.out, asked.split, asked.resamples, asked.seed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(table)
    print(f"\npage:    {asked.out / 'index.html'}\nfigures: {asked.out / 'comparison.json'}")


if __name__ == "__main__":
    main()
