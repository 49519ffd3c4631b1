"""Finished workdirs as they take part in comparisons: samples ranked as their own report ranks them. Knows paths; computes nothing."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from verifier.evaluate import aggregation, report, tables
from verifier.evaluate.comparison import ComparisonError, Contestant
from verifier.evaluate.metrics import GREEDY


def read(root: pathlib.Path, name: str) -> dict[str, Contestant]:
    """The splits that a run was judged on, held-out problems among them.

    Args:
        root: of a workdir with `report/metrics.json`.
        name: that the comparison gives it.

    Returns:
        By split, in the order of the report.

    Raises:
        UserError: the report is not there or damaged, or a table is.
    """
    metrics = _metrics(root)
    about = report.run_of_workdir(root)
    stored = tables.read_workdir(root, allow_missing=bool(about.settings.get("report.allow_missing")))
    found = {}
    for split, figures in metrics["splits"].items():
        if split.endswith(GREEDY) or split not in stored:
            continue
        rows = aggregation.applied(stored[split], metrics.get("aggregation", "last"), about.tokenizer)
        k = (figures.get("top_k_vote_chosen") or {}).get("k")
        greedy = stored[split + GREEDY].candidates if split + GREEDY in stored else None
        found[split] = Contestant(name, rows.candidates, k, rows.grader, greedy)
    return found


def _metrics(root: pathlib.Path) -> dict[str, Any]:
    path = root / "report" / "metrics.json"
    if not path.is_file():
        raise ComparisonError(
            f"{path} is not there; expected a finished run: run the stage report (--stages=report), or name another workdir"
        )
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ComparisonError(f"{path}: not JSON ({error}); run the stage report again") from error
    if not isinstance(metrics, dict) or not isinstance(metrics.get("splits"), dict):
        raise ComparisonError(f"{path} has no splits; run the stage report again")
    return metrics
