"""Workdirs as they take part in comparisons: samples ranked as their own report ranks them."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from verifier.errors import ComparisonError
from verifier.evaluate.comparison import Contestant
from verifier.report import aggregation, writing
from verifier.tables import provenance, stored_splits
from verifier.text.split import Split


def read(
    root: pathlib.Path, name: str, splits: Sequence[Split] | None = None
) -> dict[Split, Contestant]:
    """The splits that a run was graded on.

    Args:
        root: of a workdir with `report/metrics.json`.
        name: that the comparison gives it.
        splits: which; None: all, held-out problems among them.

    Returns:
        By split, in the order of the report.

    Raises:
        UserError: the report is not there or damaged, a table is, or the run has not been graded on
            a split that is asked for.
    """
    metrics = metrics_of(root)
    if not isinstance(metrics.get("splits"), dict):
        raise ComparisonError(f"{root}: its report has no splits; run the stage report again")
    if anew := provenance.made_anew(root, metrics):
        raise ComparisonError(
            f"{root}: {', '.join(anew)} were made anew after its report was written: run the "
            "stage report again"
        )
    about = writing.about_workdir(root)
    named = {Split.named(name): figures for name, figures in metrics["splits"].items()}
    graded = {split: figures for split, figures in named.items() if not split.greedy}
    for split in splits or ():
        if split not in graded:
            raise ComparisonError(
                f"{root} has no split '{split}'; it has {', '.join(map(str, graded)) or 'none'}: "
                "choose one with --split"
            )
    wanted = [each for split in splits for each in (split, _greedy(split))] if splits else None
    stored = stored_splits.read_workdir(
        root, wanted, allow_missing=bool(about.settings.get("report.allow_missing"))
    )
    contestants = {}
    for split, figures in graded.items():
        if split not in stored:
            continue
        rows = aggregation.applied(
            stored[split], metrics.get("aggregation", "last"), about.tokenizer
        )
        k = (figures.get("top_k_vote_chosen") or {}).get("k")
        beside = stored.get(_greedy(split))
        greedy = beside.candidates if beside else None
        contestants[split] = Contestant(name, rows.candidates, k, rows.grader, greedy)
    if lost := [split for split in splits or () if split not in contestants]:
        raise ComparisonError(
            f"{root} has no samples of the split '{lost[0]}' any more: run it anew, or choose "
            "another one with --split"
        )
    return contestants


def _greedy(split: Split) -> Split:
    return dataclasses.replace(split, greedy=True)


def metrics_of(root: pathlib.Path) -> dict[str, Any]:
    """The figures of a run's report.

    Raises:
        ComparisonError: they are not there, or damaged.
    """
    path = root / "report" / "metrics.json"
    if not path.is_file():
        raise ComparisonError(
            f"{path} is not there; expected a finished run: run the stage report "
            "(--stages=report), or name another workdir"
        )
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ComparisonError(f"{path}: not JSON ({error}); run the stage report again") from error
    if not isinstance(metrics, dict):
        raise ComparisonError(f"{path} has no figures; run the stage report again")
    return metrics
