"""Pairs of a right and a wrong solution of a problem, and how solutions lie beside each other.

A prompt p q with the solutions `a b` and `c` is one tree, whose trunk is the prompt but for its
last token. Each branch begins with that one, so that every token has one next token to predict:

    token         p q a b q c        p - q - a - b
    position      0 1 2 3 1 2          \\
    end           6 4 4 4 6 6            q - c
    lm_target     . a b . c .
"""

from __future__ import annotations

import collections
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from verifier.data.examples import Example, LazyExamples
from verifier.data.order import shuffled
from verifier.errors import DataError


class Solution(NamedTuple):
    """One that was sampled.

    Attributes:
        problem_id: of its problem.
        tokens: as they were drawn.
        counted: of each, whether it is part of the solution's likelihood.
        correct: whether it is right.
        reference: its log-likelihood under the reference model, in nats.
        name: what messages call it.
    """

    problem_id: str
    tokens: np.ndarray  # int32 [T]
    counted: np.ndarray  # bool [T]
    correct: bool
    reference: float
    name: str = ""


class Drawn(NamedTuple):
    """Pairs, by problem and then as they were drawn.

    Attributes:
        pairs: indices of a right and of a wrong solution.
        counts: for a manifest: "problems", those of them that have "pairs", that have "no_right"
            and "no_wrong"; "pairs", of so many "possible".
    """

    pairs: list[tuple[int, int]]
    counts: dict[str, int]


class Layout(NamedTuple):
    """Solutions behind one prompt, as a tree of T tokens."""

    tokens: np.ndarray  # int32 [T]
    positions: np.ndarray  # int32 [T]
    ends: np.ndarray  # int32 [T]
    starts: list[int]  # of each solution: where the token lies that predicts its first one


def draw(solutions: Sequence[Solution], most: int, seed: int, deduplicate: bool) -> Drawn:
    """Pairs of a right and a wrong solution of the same problem, no two of which are the same.

    Args:
        solutions: of all problems, in any order of problems.
        most: pairs of a problem; its solutions are taken as evenly as that allows. 0: each right
            one with each wrong one.
        seed: of which they are.
        deduplicate: whether solutions of a problem that repeat another one's tokens are left out.
    """
    sides: dict[str, tuple[list[int], list[int]]] = {}
    seen: set[tuple[str, bool, bytes]] = set()
    for index, each in enumerate(solutions):
        side = sides.setdefault(each.problem_id, ([], []))
        key = (each.problem_id, each.correct, each.tokens.tobytes())
        if not (deduplicate and key in seen):
            side[0 if each.correct else 1].append(index)
        seen.add(key)
    pairs: list[tuple[int, int]] = []
    counts: collections.Counter[str] = collections.Counter(problems=len(sides))
    for problem_id, (right, wrong) in sides.items():
        counts["no_right"] += not right
        counts["no_wrong"] += not wrong
        counts["possible"] += len(right) * len(wrong)
        own = _of_problem(right, wrong, most, seed ^ zlib.crc32(problem_id.encode()))
        # A grader that gives up in time may judge the same text in two ways.
        own = [(r, w) for r, w in own if not _same(solutions[r], solutions[w])]
        counts["with_pairs"] += bool(own)
        pairs += own
    names = ("problems", "with_pairs", "no_right", "no_wrong", "possible")
    return Drawn(pairs, {name: counts[name] for name in names} | {"pairs": len(pairs)})


def _of_problem(
    right: Sequence[int], wrong: Sequence[int], most: int, seed: int
) -> list[tuple[int, int]]:
    """The first pairs along the diagonals of right by wrong, each in a seeded order: of any number
    of them, every solution is in as many as the others of its side, or one more or less.
    """
    if not (right and wrong):
        return []
    rights, wrongs = shuffled(len(right), seed, 0), shuffled(len(wrong), seed, 1)
    around, every = math.lcm(len(right), len(wrong)), len(right) * len(wrong)
    return [
        (right[rights[n % len(right)]], wrong[wrongs[(n + n // around) % len(wrong)]])
        for n in range(min(most or every, every))
    ]


def _same(one: Solution, other: Solution) -> bool:
    return np.array_equal(one.tokens, other.tokens)


def branched(prompt: Sequence[int], solutions: Sequence[np.ndarray]) -> Layout:
    """Solutions beside each other behind their prompt.

    Raises:
        DataError: an empty prompt, of which nothing predicts a solution's first token.
    """
    if not len(prompt):
        raise DataError(
            "an empty prompt: nothing predicts the first token of its solutions; give "
            "data.prompt_template some text"
        )
    trunk = len(prompt) - 1
    tokens = [np.asarray(prompt[:-1], np.int32)]
    positions, starts, size = [np.arange(trunk)], [], trunk
    ends = [np.full(trunk, trunk + sum(len(each) + 1 for each in solutions))]
    for each in solutions:
        starts.append(size)
        size += len(each) + 1
        tokens += [np.asarray(prompt[-1:], np.int32), np.asarray(each, np.int32)]
        positions.append(np.arange(trunk, trunk + len(each) + 1))
        ends.append(np.full(len(each) + 1, size))
    all_tokens, all_positions, all_ends = (
        np.concatenate(parts).astype(np.int32) for parts in (tokens, positions, ends)
    )
    return Layout(all_tokens, all_positions, all_ends, starts)


def pair_example(prompt: Sequence[int], right: Solution, wrong: Solution) -> Example:
    """A pair for the loss `train.losses.dpo`, whose targets it fills.

    "pair_sign" is 1 where a counted token of the right solution is predicted, and -1 of the wrong
    one. "pair_start" is 1 at the first token. The others stand at the last one, which predicts
    nothing: "pair_weight", 1, and the log-likelihoods under the reference model.
    """
    layout = branched(prompt, [right.tokens, wrong.tokens])
    target = np.zeros(len(layout.tokens), np.int32)
    names = ("pair_sign", "pair_weight", "right_reference", "wrong_reference")
    floats = {name: np.zeros(len(target), np.float32) for name in names}
    for start, each, sign in zip(layout.starts, (right, wrong), (1.0, -1.0), strict=True):
        here = slice(start, start + len(each.tokens))
        target[here] = each.tokens
        floats["pair_sign"][here] = np.where(each.counted, sign, 0.0)
    floats["pair_weight"][-1] = 1.0
    floats["right_reference"][-1] = right.reference
    floats["wrong_reference"][-1] = wrong.reference
    first = np.zeros(len(target), np.int32)
    first[0] = 1
    targets = {"lm_target": target, "pair_start": first, **floats}
    name = f"{right.name} over {wrong.name}"
    return Example(layout.tokens, targets, name, layout.positions, layout.ends)


class PairExamples(LazyExamples):
    """The examples of pairs, each made when it is asked for."""

    def __init__(
        self,
        solutions: Sequence[Solution],
        pairs: Sequence[tuple[int, int]],
        prompts: Mapping[str, Sequence[int]],
    ) -> None:
        """Keeps what they are made of.

        Args:
            solutions: that pairs are indices of.
            pairs: of `draw`.
            prompts: start ids and prompt, by problem.
        """
        self._solutions, self._pairs, self._prompts = solutions, pairs, prompts

    def __len__(self) -> int:
        return len(self._pairs)

    def _made(self, index: int) -> Example:
        right, wrong = (self._solutions[each] for each in self._pairs[index])
        return pair_example(self._prompts[right.problem_id], right, wrong)
