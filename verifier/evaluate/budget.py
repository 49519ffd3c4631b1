"""What methods of search find for what they spend, beside best-of-n with as many candidates."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verifier.evaluate.intervals import Bootstrap
from verifier.evaluate.results_table import cell

BASELINE = "sample"  # best of n plain samples
SPENT = ("tokens_generated", "prefixes_generated", "tokens_scored", "seconds")


def by_method(
    rows: Sequence[Mapping[str, Any]], resamples: int, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Figures by method, by rising budget.

    Args:
        rows: of the search table; every method and budget has the same problems.
        resamples: of the bootstrap over problems.
        seed: of the same.

    Returns:
        Of each method and budget: candidates a step, what was spent a problem (`tokens` are those
        generated), `accuracy`, and `minus_best_of_n`: the paired difference to as many plain
        samples; None for these.

    Raises:
        ValueError: a method lacks problems that another has.
    """
    correct: dict[tuple[str, int], dict[str, bool]] = collections.defaultdict(dict)
    spent: dict[tuple[str, int], list[list[float]]] = collections.defaultdict(list)
    for row in rows:
        key = row["method"], row["budget"]
        correct[key][row["problem_id"]] = row["correct"]
        spent[key].append([row[name] for name in SPENT])
    problems = sorted({problem for each in correct.values() for problem in each})
    for (method, size), each in correct.items():
        if len(each) < len(problems):
            raise ValueError(
                f"{method} with {size} candidates has {len(each)} of {len(problems)} problems"
            )
    columns = {
        key: np.array([each[problem] for problem in problems], np.float64)
        for key, each in correct.items()
    }
    bootstrap = Bootstrap.draw(len(problems), resamples, seed)
    accuracy = bootstrap.estimates({f"{m} {n}": column for (m, n), column in columns.items()})
    against = {
        f"{method} {size}": column - columns[BASELINE, size]
        for (method, size), column in columns.items()
        if method != BASELINE and (BASELINE, size) in columns
    }
    differences = bootstrap.differences(against)
    found: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for method, size in sorted(columns, key=lambda key: (key[0] != BASELINE, *key)):
        mean = np.mean(spent[method, size], axis=0).tolist()
        figures = dict(zip(SPENT, mean, strict=True))
        found[method].append(
            {
                "candidates": size,
                "tokens": figures.pop("tokens_generated"),
                **figures,
                "accuracy": accuracy[f"{method} {size}"],
                "minus_best_of_n": differences.get(f"{method} {size}"),
            }
        )
    return dict(found)


def as_text(found: Mapping[str, Sequence[Mapping[str, Any]]], split: str) -> str:
    """A table for the terminal: a line a method and budget, what was spent on a problem."""
    spent = ("candidates", "tokens", "distinct", "scored", "seconds")
    head = "".join(f"{name:>11}" for name in spent) + f"{split:>22}{'minus best-of-n':>24}"
    lines = [f"{'method':<8}{head}"]
    for method, sizes in found.items():
        for each in sizes:
            difference = each["minus_best_of_n"]
            lines.append(
                f"{method:<8}{each['candidates']:>11}{each['tokens']:>11,.0f}"
                f"{each['prefixes_generated']:>11,.0f}{each['tokens_scored']:>11,.0f}"
                f"{each['seconds']:>11.2f}{cell(each['accuracy']):>22}"
                f"{cell(difference, signed=True) if difference else '':>24}"
            )
    return "\n".join(lines)
