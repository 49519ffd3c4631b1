"""What search has found for what it spent, as the report tells it."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from verifier.evaluate import budget
from verifier.report.plots import curves
from verifier.report.svg import Chart
from verifier.tables import store
from verifier.tables.results import SEARCH

_COLUMNS = ["problem_id", "method", "budget", "correct"]
_STYLES = ("majority dotted", "verifier", "oracle dashed", "right", "wrong dashed")


def by_split(root: pathlib.Path, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """`budget.by_method` of every split that was searched to the end, by its name."""
    found = {}
    for split in SEARCH.splits(root):
        folder = SEARCH.folder(root, split)
        if store.read_manifest(folder):
            rows = store.read_table(folder, "search", [*_COLUMNS, *budget.SPENT]).to_pylist()
            found[str(split)] = budget.by_method(rows, resamples, seed)
    return found


def accuracy_over_tokens(budgets: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart | None:
    """Accuracy of each method against the tokens that it generated; None where nothing was searched
    with two budgets.
    """
    lines = [
        (style, method, {str(round(each["tokens"])): each["accuracy"] for each in sizes})
        for style, (method, sizes) in zip(itertools.cycle(_STYLES), budgets.items(), strict=False)
    ]
    labelled = [int(tokens) for tokens in lines[0][2]] if lines else None
    title = "Accuracy of searches against tokens generated"
    return curves(title, lines, "tokens a problem", labelled)
