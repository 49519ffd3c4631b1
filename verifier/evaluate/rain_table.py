"""What RAIN came to beside the same model's own answers, and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from verifier.evaluate.intervals import Bootstrap
from verifier.evaluate.results_table import cell

SPENT = ("tokens_generated", "tokens_scored", "model_calls", "seconds")
COLUMNS = ("problem_id", "method", "score", *SPENT)


def by_method(
    rows: Sequence[Mapping[str, Any]], resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Figures by method.

    Args:
        rows: of the table rain; every method has the same prompts.
        resamples: of the bootstrap over prompts.
        seed: of the same.

    Returns:
        Of each method the mean of what the judge says (`score`, from 0 to 1, with an interval),
        the mean `tokens_generated`, `tokens_scored`, `model_calls` and `seconds` of an answer, and
        of RAIN `minus_greedy`, the paired difference of scores.
    """
    prompts = sorted({row["problem_id"] for row in rows})
    of_each = {(row["method"], row["problem_id"]): row for row in rows}
    methods = sorted({row["method"] for row in rows})
    bootstrap = Bootstrap.draw(len(prompts), resamples, seed)
    scores = {
        method: np.array([of_each[method, each]["score"] for each in prompts], np.float64)
        for method in methods
    }
    means = bootstrap.estimates(scores)
    others = {name: each - scores["greedy"] for name, each in scores.items() if name != "greedy"}
    differences = bootstrap.differences(others)
    return {
        method: {
            "score": means[method],
            "minus_greedy": differences.get(method),
            **{
                name: float(np.mean([of_each[method, each][name] for each in prompts]))
                for name in SPENT
            },
        }
        for method in methods
    }


def as_text(figures: Mapping[str, Mapping[str, Any]], judge: Mapping[str, int] | None) -> str:
    """A table for the terminal, what an answer took on average; and how good the judge is."""
    names = ("generated", "read", "calls", "seconds")
    head = "".join(f"{name:>12}" for name in names)
    lines = [f"{'method':<8}{head}{'liked by the judge':>24}{'minus greedy':>24}"]
    for method, each in figures.items():
        spent = f"{each['tokens_generated']:>12,.0f}{each['tokens_scored']:>12,.0f}"
        spent += f"{each['model_calls']:>12,.0f}{each['seconds']:>12.2f}"
        apart = cell(each["minus_greedy"], signed=True)
        lines.append(f"{method:<8}{spent}{cell(each['score']):>24}{apart:>24}")
    return "\n".join([*lines, _of_judge(judge)])


def _of_judge(judge: Mapping[str, int] | None) -> str:
    if judge is None:
        return "whether the judge is right is not known: rain.pairs names no labelled texts"
    decided = judge["texts"] - judge["undecided"]
    said = f"the judge decides on {decided} of {judge['texts']} labelled texts"
    if not decided:
        return f"{said}: it always takes the same letter, and RAIN learns nothing of it"
    low, high = binomtest(judge["right"], decided).proportion_ci()
    return (
        f"{said} and is right on {judge['right']} of these: {100 * judge['right'] / decided:.1f}% "
        f"[{100 * low:.1f}, {100 * high:.1f}], where chance is 50%"
    )
