"""A tree of partial solutions of one problem, and what a method of search asks for.

A method is a generator: it yields what it wants written or scored, of its own problem alone, and is
given nodes; what it returns are the solutions that it ends with. Many problems' methods take turns
(`driver`), so that the models have enough to do.

    def method(root):
        nodes = yield Extend({root: [0, 1, 2, 3]})       # four samples' next steps
        yield Score(nodes)
        for node in nodes:
            node.kept = node is best(nodes)              # what is given up holds no memory
        return [best(nodes)]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from verifier.decode.branches import Branch

Finish = Literal["", "eos", "length"]


@dataclasses.dataclass(eq=False)
class Node:
    """What was written in one go: a step, or more of a solution."""

    parent: Node | None
    samples: list[int]  # ids of those that wrote it, and so drew the same
    tokens: list[int]  # its own; so the three below
    forced: list[bool]
    logprobs: list[float]
    values: list[float] = dataclasses.field(default_factory=list)  # the reader's, once scored
    hidden: np.ndarray | None = None  # its states, summed over the tokens: float32 [D]
    probed: list[float] = dataclasses.field(default_factory=list)  # its values behind each probe
    errors: int = 0  # of the calculator, from the solution's first token on
    finish: Finish = ""  # whether the solution is over
    score: float = float("nan")
    visits: float | None = None  # of a search that counts them
    kept: bool = True  # False: given up, and nothing goes on from it
    children: list[Node] = dataclasses.field(default_factory=list)
    branch: Branch | None = None  # where the generator goes on from
    slots: list[int] = dataclasses.field(default_factory=list)  # of the reader, one a token

    def way(self) -> list[Node]:
        """The nodes from the root's child to this one."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def whole(self, part: Callable[[Node], Sequence[Any]]) -> list[Any]:
        """A list of the whole way: `node.whole(lambda each: each.tokens)`."""
        return [each for node in self.way() for each in part(node)]

    def written(self) -> list[int]:
        """The solution's tokens so far."""
        return self.whole(lambda node: node.tokens)

    def depth(self) -> int:
        """How many nodes there are on the way."""
        return len(self.way())


@dataclasses.dataclass
class Cost:
    """What one problem's search took."""

    tokens_generated: int = 0  # of all samples
    prefixes_generated: int = 0  # what several of them wrote alike counts once
    tokens_scored: int = 0  # read to be judged, the prompt and the probes too
    model_calls: int = 0  # samples that went on, nodes and probes that were read


def root() -> Node:
    """A solution that has not begun."""
    return Node(None, [], [], [], [])


class Extend(NamedTuple):
    """Nodes go on; given back are their children, each of distinct tokens, by their first sample.

    The ids of samples decide what they draw: token t of a sample is drawn with a number that
    follows from the seed, the problem, the id and t. So nothing depends on what else is searched,
    and a sample that no method interferes with is the plain sample of that id. Ids below 0 take
    tokens by rank (`lanes.ranked`). No id is asked for twice at a time.
    """

    asked: Mapping[Node, Sequence[int]]  # the ids of the samples that go on from each
    to_step_end: bool = True  # False: to the end of the solution
    step_tokens: int | None = None  # most new ones, or None: as many as a solution may have


class Score(NamedTuple):
    """Nodes get scores. One before them that was not scored may lead to one of them only."""

    nodes: Sequence[Node]


Method = Generator[Extend | Score, list[Node], list[Node]]
Requests = Generator[Extend | Score, list[Node], None]  # some of a method's


def walk(root: Node) -> list[Node]:
    """All nodes but the root, parents before their children."""
    nodes = [root]
    for node in nodes:
        nodes += node.children
    return nodes[1:]


def numbered(root: Node) -> list[tuple[int, Node]]:
    """All nodes but the root, as `walk` gives them, each behind its parent's place among them; -1:
    it begins at the root.
    """
    nodes = walk(root)
    place: dict[Node | None, int] = {node: index for index, node in enumerate(nodes)}
    place[root] = -1
    return [(place[node.parent], node) for node in nodes]


def best(nodes: Sequence[Node]) -> Node:
    """The node of the highest score; of equal ones that of the lowest sample id."""
    return max(nodes, key=lambda node: (node.score, -min(node.samples)))
