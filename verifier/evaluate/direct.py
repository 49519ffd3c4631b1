"""Answers that were asked for at once (Quiet-STaR, Zelikman et al. 2024, section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verifier.evaluate.intervals import Bootstrap, Estimate


def soft_accuracy(logprobs: Sequence[float] | np.ndarray) -> float:
    """The chance of a right answer: the product over its tokens.

    Args:
        logprobs: of each, with a distribution over the answers' alphabet and the end of a line
            (as the released evaluation has it: what an answer has beside these is passed over).
    """
    return float(np.exp(np.sum(logprobs, dtype=np.float64)))


def figures(
    problem_ids: Sequence[str],
    soft: Sequence[float],
    exact: Sequence[bool],
    resamples: int,
    seed: int,
) -> dict[str, Estimate]:
    """Both accuracies with 95% intervals over problems, the mean over a problem's samples first.

    Args:
        problem_ids: of each sample.
        soft: `soft_accuracy` of the right answer.
        exact: whether what was written freely is the right answer.
        resamples: of the bootstrap.
        seed: of the resamples.
    """
    _, problem_C = np.unique(np.asarray(problem_ids), return_inverse=True)
    count_P = np.bincount(problem_C)
    means = {
        name: np.bincount(problem_C, np.asarray(value_C, np.float64)) / count_P
        for name, value_C in (("soft_accuracy", soft), ("exact_match", exact))
    }
    return Bootstrap.draw(len(count_P), resamples, seed).estimates(means)


def line(figure: Estimate) -> str:
    """A figure as it is printed: `12.3% (10.1 to 14.6)`."""
    low, high = figure["ci95"]
    return f"{figure['value']:.1%} ({100 * low:.1f} to {100 * high:.1f})"
