"""Runs of loops beside each other, such as one with rationalisation and one without."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from verifier.errors import ComparisonError
from verifier.evaluate import loops
from verifier.evaluate.results_table import EXACT, cell, counted
from verifier.report import templates
from verifier.report.loops_page import against_loop
from verifier.report.svg import LINES, Chart
from verifier.tables import verdicts
from verifier.tables.results import LABELS
from verifier.text.split import Split

CHARTS = ("accuracy", "used")


def compared(
    runs: Mapping[str, tuple[pathlib.Path, Mapping[str, Any]]],
    split: Split,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Figures of runs whose reports are of loops.

    Args:
        runs: by name, workdirs and their metrics.json.
        split: whose problems are compared; the likeliest solutions of test problems.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        As `evaluate.loops.beside`, with what each loop "learned".

    Raises:
        UserError: labels are missing, or the runs share no problem.
    """
    drawn = Split(split.of, split.set, greedy=split.of == "test")
    right = {}
    for name, (root, metrics) in runs.items():
        folders = [LABELS.folder(root / f"loop={each['loop']}", drawn) for each in metrics["loops"]]
        for folder in folders:
            if not folder.is_dir():
                raise ComparisonError(
                    f"{folder} is not there; expected the labels of every loop that the report of "
                    f"{root} tells of: run it again, or choose another split with --split"
                )
        right[name] = [verdicts.solved(folder) for folder in folders]
    found = loops.beside(right, resamples, seed)
    for run, (_, metrics) in zip(found["runs"], runs.values(), strict=True):
        for own, told in zip(run["loops"], metrics["loops"], strict=True):
            own["learned"] = told["learned"]
    return {"split": str(split), **found}


def table(found: Mapping[str, Any]) -> str:
    """The figures as plain text, a row a loop: of each run its accuracy, the share of training
    problems that it learned from, and of all but the first the paired difference to the first.
    """
    width = max(32, *(len(run["name"]) + 2 for run in found["runs"]))
    lines = [f"{'loop (%)':<10}" + "".join(f"{run['name']:<{width}}" for run in found["runs"])]
    for loop in range(_most(found)):
        each = [run["loops"][loop] if loop < len(run["loops"]) else {} for run in found["runs"]]
        texts = [_accuracy(own) for own in each]
        lines.append(f"{loop or 'base':<10}" + "".join(f"{text:<{width}}" for text in texts))
        apart = [cell(own.get("minus_first"), signed=True) for own in each]
        if any(apart):
            lines.append(f"{'  - first':<10}" + "".join(f"{text:<{width}}" for text in apart))
    problems = counted(found["shared_problems"], "problem")
    lines += ["", f"{problems} of {found['split']} that all loops were asked; 95% bootstrap, "]
    lines[-1] += "differences paired; behind a comma the share of training problems learned from"
    lines += [EXACT] if any("*" in line for line in lines) else []
    return "\n".join(line.rstrip() for line in lines)


def _accuracy(own: Mapping[str, Any]) -> str:
    used = f", {100 * own['learned']['used']:.1f}" if own.get("learned") else ""
    return cell(own.get("accuracy")) + used


def _most(found: Mapping[str, Any]) -> int:
    return max(len(run["loops"]) for run in found["runs"])


def charts(found: Mapping[str, Any]) -> dict[str, Chart]:
    """Accuracy, and the share of training problems learned from, against the loop: a line a run."""
    title = f"Problems of {found['split']} solved"
    accuracy = {
        run["name"]: {loop: own["accuracy"]["value"] for loop, own in enumerate(run["loops"])}
        for run in found["runs"]
    }
    used = {
        run["name"]: {
            loop: own["learned"]["used"] for loop, own in enumerate(run["loops"]) if own["learned"]
        }
        for run in found["runs"]
    }
    made = {"accuracy": _chart(title, accuracy)}
    if any(used.values()):
        made["used"] = _chart("Training problems learned from", used)
    return made


def _chart(title: str, lines: Mapping[str, Mapping[int, float]]) -> Chart:
    every = [value for points in lines.values() for value in points.values()]
    loops_told = sorted({loop for points in lines.values() for loop in points})
    chart = against_loop(title, loops_told, every)
    for kind, (name, points) in zip(LINES, lines.items(), strict=False):
        hints = [f"{name}, loop {loop}: {value:.1%}" for loop, value in points.items()]
        chart.curve(list(points), list(points.values()), kind, hints)
    chart.legend(list(zip(LINES, lines, strict=False)))
    return chart


def render(found: Mapping[str, Any], date: str, settings: Mapping[str, Sequence[Any]]) -> str:
    """The page's HTML.

    Args:
        found: what `compared` returns.
        date: in words.
        settings: by dotted path the value of each run, of those that differ.
    """
    return templates.filled(
        "compare_loops",
        runs=found["runs"],
        split=found["split"],
        shared=found["shared_problems"],
        most=_most(found),
        date=date,
        exact=EXACT if "*" in table(found) else "",
        settings=settings,
        kinds=LINES,
        charts=templates.by_title(charts(found).values()),
    )
