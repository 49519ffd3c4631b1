"""The share of right samples among those that pass through a prefix, as a label of its last token.

TVM (arXiv 2407.12863). With all samples of a problem in one tree the gradient of the value loss is
that of the outcome (`train.losses.value` has the identity); with smaller groups it varies less, for
what other groups say of a prefix counts in each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verifier.data import trees


def shares(
    tokens: Sequence[np.ndarray], problem_ids: Sequence[str], correct: np.ndarray
) -> list[np.ndarray]:
    """Of each sample float32 [its tokens]: right ones among the problem's samples that begin with
    these tokens.

    Args:
        tokens: of each sample, int32.
        problem_ids: of each.
        correct: of each, bool.
    """
    of_problem: dict[str, list[int]] = {}
    for index, problem_id in enumerate(problem_ids):
        of_problem.setdefault(problem_id, []).append(index)
    found: list[np.ndarray] = [np.zeros(0, np.float32)] * len(tokens)
    for rows in of_problem.values():
        forest = trees.forest([tokens[row] for row in rows])
        reached, right = np.zeros((2, len(forest.tokens)))
        for row, path in zip(rows, forest.paths, strict=True):
            reached[path] += 1
            right[path] += correct[row]
        for row, path in zip(rows, forest.paths, strict=True):
            found[row] = (right[path] / reached[path]).astype(np.float32)
    return found
