"""How solutions lie in the rows that the verifier reads: which together, and in which calls."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from verifier.data import trees
from verifier.data.packing import doubled_room, pack_lengths, rooms
from verifier.model.view import BLOCK

SHORTEST = 32  # tokens that a row is padded to at least
TOGETHER = 32  # problems, whose trees share rows
MANY_CALLS = 32  # that a group fills, whatever its rows' length
# A long row gathers keys for each of its blocks, the more the longer its texts: at most so many, 1
# GB with 8 key heads of 128 in bfloat16.
MOST_KEYS = 2**18


@dataclasses.dataclass(frozen=True)
class Solutions:
    """What is scored of one problem."""

    problem_id: str
    prompt: Sequence[int]  # start tokens included
    sample_ids: Sequence[int]
    tokens: Sequence[Sequence[int]]  # of each sample; the end token included, where it came

    def depth(self) -> int:
        """Tokens of the longest solution with its prompt."""
        return len(self.prompt) + max(map(len, self.tokens))


class Tree(NamedTuple):
    """A prompt and what goes on from it, in one row: all solutions of a problem, or some."""

    problem: int  # index in its group
    samples: list[int]  # indices in the problem's solutions


Row = list[Tree]  # from left to right


class Layout(NamedTuple):
    """How a group of problems is read."""

    row_tokens: int  # that each row is padded to
    at_once: int  # rows of a call
    depth: int  # that no tree exceeds, rounded up


def groups(problems: Sequence[Solutions], rows: int) -> Iterator[list[Solutions]]:
    """Problems whose trees are about as deep, the deepest first.

    Problems that are too few for a compilation of their own are read with deeper ones.
    """
    group: list[Solutions] = []
    for problem in sorted(problems, key=lambda p: (-p.depth(), p.problem_id)):
        if len(group) >= rows and _room(problem.depth()) != _room(group[0].depth()):
            yield group
            group = []
        group.append(problem)
    if group:
        yield group


def layout_of(group: Sequence[Solutions], most: int, context: int, devices: int) -> Layout:
    """How a group is read in as little work as rows of one length allow.

    Prompts, and whatever else solutions share, are read once a row: rows are as long as memory
    allows, unless the group would leave the last ones empty.

    Args:
        group: of `groups`.
        most: of the group's longest text, as many times as a device reads at once; fewer of texts
            so long that the keys that rows gather would fill its memory.
        context: of the backbone.
        devices: groups of them, which take the same number of rows each.
    """
    longest = max(problem.depth() for problem in group)
    shortest = next(room for room in rooms(SHORTEST) if room >= longest)
    most_tokens = min(most * longest, MOST_KEYS * BLOCK // (BLOCK + shortest))
    fits = itertools.takewhile(lambda room: room <= most_tokens, rooms(SHORTEST))
    lengths = [shortest, *[room for room in fits if room > shortest]]
    depth = min(shortest, context)
    enough = MANY_CALLS * devices * lengths[-1]
    if any(nodes >= enough for nodes in itertools.accumulate(map(_nodes, group))):
        return Layout(lengths[-1], devices, depth)

    def layouts() -> Iterator[tuple[int, Layout]]:
        for row_tokens in lengths:
            rows = -(-sum(1 for _ in rows_of(group, row_tokens)) // devices)
            calls = -(-rows // max(lengths[-1] // row_tokens, 1))
            at_once = -(-rows // calls) * devices
            yield calls * at_once * row_tokens, Layout(row_tokens, at_once, depth)

    return min(layouts(), key=lambda each: each[0])[1]


def rows_of(
    group: Sequence[Solutions], row_tokens: int, stored: Collection[str] = ()
) -> Iterator[Row]:
    """The trees of a group in rows of row_tokens.

    What does not fill a row shares it with other problems, a few of which are looked at together,
    so that none waits long for its last solution.

    Args:
        group: of `groups`.
        row_tokens: tokens of a row.
        stored: ids of problems that need not be read: rows that hold nothing else are left out, all
            others are as they would be.
    """
    for first in range(0, len(group), TOGETHER):
        sized = []
        for number, problem in enumerate(group[first : first + TOGETHER], first):
            for samples in trees.packed(problem.tokens, row_tokens - len(problem.prompt)):
                nodes = trees.distinct([problem.tokens[j] for j in samples])
                sized.append((len(problem.prompt) + nodes, Tree(number, samples)))
        sized.sort(key=lambda each: -each[0])
        for places in pack_lengths([nodes for nodes, _ in sized], row_tokens):
            row = [sized[place][1] for place in places]
            if any(group[tree.problem].problem_id not in stored for tree in row):
                yield row


class Laid(NamedTuple):
    """A row's arrays, and where in it each solution stands."""

    tokens_T: np.ndarray  # int32
    positions_T: np.ndarray  # int32
    ends_T: np.ndarray  # int32, `model.view`
    paths: dict[tuple[int, int], np.ndarray]  # by problem and sample: int32, a solution's tokens


def laid(row: Row, group: Sequence[Solutions], row_tokens: int) -> Laid:
    """Lays the trees of a row out, each a prompt that its solutions follow."""
    tokens_T, positions_T, ends_T = np.zeros((3, row_tokens), np.int32)
    paths = {}
    start = 0
    for tree in row:
        problem = group[tree.problem]
        forest = trees.forest([problem.tokens[j] for j in tree.samples])
        first = start + len(problem.prompt)
        end = first + len(forest.tokens)
        tokens_T[start:first], tokens_T[first:end] = problem.prompt, forest.tokens
        positions_T[start:first] = np.arange(len(problem.prompt))
        positions_T[first:end] = len(problem.prompt) + forest.positions
        ends_T[start:first], ends_T[first:end] = end, first + forest.ends
        for sample, path in zip(tree.samples, forest.paths, strict=True):
            paths[tree.problem, sample] = first + path
        start = end
    return Laid(tokens_T, positions_T, ends_T, paths)


def _nodes(problem: Solutions) -> int:
    return len(problem.prompt) + trees.distinct(problem.tokens)


def _room(depth: int) -> int:
    return doubled_room(SHORTEST, depth)
