"""Labels of a solution's steps out of rollouts, derived when they are read.

A step's rollouts are solutions that go on from its end; `hits` of them are right. The last step has
none: its label is whether the solution is right.

    hard          1 where any rollout is right (Math-Shepherd, Wang et al. 2023, arXiv 2312.08935)
    soft          the share that is right (the same)
    first_error   of a wrong solution the first step that nothing right goes on from is 0, what is
                  behind it has no label, what is before it is 1, but for the two steps right before
                  it, which are min(1, share / a), a the share of right ones among the problem's
                  samples; of a right solution all are 1 (SCAN, arXiv 2509.16548)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

KINDS = ("hard", "soft", "first_error")
_DOUBTED = 2  # steps before the first error


def of_steps(
    kind: str,
    rollouts: Sequence[int],
    hits: Sequence[int],
    correct: bool,
    accuracy: float,
) -> np.ndarray:
    """Float32 labels of a solution's steps; NaN: none.

    Args:
        kind: one of KINDS.
        rollouts: of each step but the last.
        hits: of these, likewise.
        correct: whether the solution is right.
        accuracy: share of right ones among the problem's samples.

    Raises:
        ValueError: an unknown kind, or a step without rollouts.
    """
    if kind not in KINDS:
        raise ValueError(f"step labels of kind {kind!r}; expected one of {', '.join(KINDS)}")
    if not all(rollouts):
        raise ValueError(f"rollouts are {list(rollouts)}; expected at least 1 of every step")
    share = np.append(np.divide(hits, rollouts), float(correct)).astype(np.float32)
    if kind == "soft":
        return share
    if kind == "hard":
        return (share > 0).astype(np.float32)
    labels = np.ones_like(share)
    if correct:
        return labels
    error = int(np.argmax(share == 0))  # the last step is one
    doubted = slice(max(error - _DOUBTED, 0), error)
    if accuracy > 0:
        labels[doubted] = np.minimum(share[doubted] / accuracy, 1)
    labels[error], labels[error + 1 :] = 0, np.nan
    return labels


def of_tokens(
    labels: np.ndarray, ends: Sequence[int], at_ends_alone: bool, tokens: int
) -> np.ndarray:
    """The label of each token's step, float32 [tokens]; NaN: none.

    Args:
        labels: of the steps.
        ends: index of each step's last token, rising; that of the last step is the solution's.
        at_ends_alone: whether only these tokens have one.
        tokens: of the solution.
    """
    if at_ends_alone:
        found = np.full(tokens, np.nan, np.float32)
        found[list(ends)] = labels
        return found
    return np.repeat(labels, np.diff([-1, *ends])).astype(np.float32)
