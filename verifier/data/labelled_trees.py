"""Samples of a problem as trees, its worked solution a branch among them.

What they have in common stands in a tree once, and is read once. A prefix that m samples reach, c
of them right, is a node of weight m and target c / m: the value loss learns from it as from the m
samples (`train.losses.value`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from verifier.data import trees
from verifier.data.examples import Example, LabelledSamples, LazyExamples


class Members(NamedTuple):
    """What stands in a tree."""

    samples: np.ndarray  # int32, their indices
    solution: int  # index of the worked solution; -1: none
    readings: float  # what the language-model loss of that weighs


class SolutionTrees(LazyExamples):
    """Trees of labelled samples and worked solutions, each made when it is asked for."""

    def __init__(
        self, samples: Sequence[Example], ground_truth: Sequence[Example], members: list[Members]
    ) -> None:
        self._samples, self._ground_truth, self._members = samples, ground_truth, members

    def __len__(self) -> int:
        return len(self._members)

    def _made(self, index: int) -> Example:
        rows, solution, readings = self._members[index]
        worked = None if solution < 0 else self._ground_truth[solution]
        return tree([self._samples[row] for row in rows.tolist()], worked, readings)


def grown(
    samples: LabelledSamples,
    ground_truth: Sequence[Example],
    readings: Sequence[int] | np.ndarray,
    group: int,
    row_tokens: int,
    passes: int = 1,
) -> SolutionTrees:
    """All samples in trees of `group`, and worked solutions as often as they are to be read.

    A problem's readings are shared out among its groups by their samples. A worked solution without
    samples has trees of its own, none of which weighs more than `group` readings.

    Args:
        samples: of a table.
        ground_truth: examples of the language model, named by their problems.
        readings: of each of these, in all passes together.
        group: most samples of a tree, all of one problem; 0: all of a problem.
        row_tokens: most tokens of a tree; a group that has more is several trees. What is longer
            than that by itself stays by itself, and is no row's.
        passes: how often the samples are read.
    """
    of_problem: dict[str, list[int]] = {}
    for index, problem_id in enumerate(samples.problem_ids):
        of_problem.setdefault(problem_id, []).append(index)
    solution_of = {each.name: n for n, each in enumerate(ground_truth) if readings[n]}
    members: list[Members] = []
    for problem_id, rows in of_problem.items():
        solution = solution_of.pop(problem_id, -1)
        of_one = readings[solution] / (passes * len(rows)) if solution >= 0 else 0.0
        for some in np.array_split(rows, -(-len(rows) // (group or len(rows)))):
            texts = [samples[row].tokens for row in some.tolist()]
            if solution >= 0:
                texts.append(ground_truth[solution].tokens)
            for part in _parts(texts, row_tokens):
                own = np.asarray([some[n] for n in part if n < len(some)], np.int32)
                here = solution if len(own) < len(part) else -1
                members.append(Members(own, here, float(of_one * len(some))))
    members *= passes
    for solution in solution_of.values():
        count = -(-int(readings[solution]) // group) if group else 1
        alone = Members(np.zeros(0, np.int32), solution, float(readings[solution] / count))
        members += [alone] * count
    return SolutionTrees(samples, ground_truth, members)


def tree(samples: Sequence[Example], solution: Example | None, readings: float) -> Example:
    """Labelled samples, and a worked solution read so many times, as one tree.

    Where samples are the same their value weights add up, and the target is the mean of theirs by
    these weights. There is one worked solution, so a node has one next token to predict.
    """
    examples = [*samples] if solution is None else [*samples, solution]
    forest = trees.forest([each.tokens for each in examples])
    targets: dict[str, np.ndarray] = {}
    if samples:
        weight, right = np.zeros((2, len(forest.tokens)))
        for each, path in zip(samples, forest.paths, strict=False):
            weight[path] += each.targets["value_weight"]
            right[path] += each.targets["value_weight"] * each.targets["value_target"]
        mean = np.divide(right, weight, out=np.zeros_like(right), where=weight > 0)
        targets["value_weight"] = weight.astype(np.float32)
        targets["value_target"] = mean.astype(np.float32)
    if solution is not None:
        for key, of_text in solution.targets.items():
            targets[key] = np.zeros(len(forest.tokens), of_text.dtype)
            targets[key][forest.paths[-1]] = of_text
        targets["lm_weight"] *= np.float32(readings)
    return Example(forest.tokens, targets, examples[0].name, forest.positions, forest.ends)


def _parts(texts: Sequence[np.ndarray], row_tokens: int) -> list[list[int]]:
    """Texts by their indices in as few trees as they need; one that is too long is by itself."""
    fits = [n for n, text in enumerate(texts) if len(text) <= row_tokens]
    parts = trees.packed([texts[n] for n in fits], row_tokens)
    too_long = [[n] for n, text in enumerate(texts) if len(text) > row_tokens]
    return [[fits[n] for n in part] for part in parts] + too_long
