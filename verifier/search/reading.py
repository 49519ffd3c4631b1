"""A model that judges reads the searches' trees: of every new node its own tokens alone.

It is the verifier, or the generator itself behind a prompt of its own that asks what it thinks.
What is asked at a node's end are probes: tokens that are read there and given up again.

    prompt   node   node   node                 values of each token
                              └ probe, probe    the value of each probe's last token
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from verifier.decode.tree_reader import Read, TreeReader
from verifier.search.tree import Cost, Node


class Unread(NamedTuple):
    """What is to be read of a problem."""

    problem: int
    root: Node
    nodes: Sequence[Node]
    cost: Cost  # that its tokens are counted in


class Reading:
    """The trees of some problems as a model reads them."""

    def __init__(
        self,
        reader: TreeReader,
        prompts: Sequence[Sequence[int]],
        probes: Sequence[Sequence[int]] = (),
    ) -> None:
        """Nothing is read yet.

        Args:
            reader: of the model.
            prompts: tokens that each problem's trees begin behind, not always the generator's.
            probes: what is read at the end of every node that is to be scored.
        """
        self._reader, self._prompts, self._probes = reader, prompts, probes
        self._probed: dict[int, dict[tuple[int, ...], list[float]]] = {}  # by problem and text

    def open(self, problem: int) -> None:
        """Room for a problem's tree."""
        self._reader.open(problem)
        self._probed[problem] = {}

    def close(self, problem: int) -> None:
        """A problem's tree is over."""
        self._reader.close(problem)
        del self._probed[problem]

    def free(self, problem: int, node: Node) -> None:
        """Nothing goes on from a node."""
        self._reader.free(problem, node.slots)
        node.slots = []

    def read(self, asked: Sequence[Unread]) -> None:
        """Gives nodes, and those before them that were not read yet, what the model makes of
        them.
        """
        fresh = [each for each in asked if not each[1].slots]
        prompts = [Read(problem, [], self._prompts[problem]) for problem, *_ in fresh]
        for (_, root, _, cost), read in zip(fresh, self._reader.read(prompts), strict=True):
            root.slots, root.hidden = read.slots, _summed(read.hidden)
            cost.tokens_scored += len(read.slots)
        self._read_nodes(asked)
        if self._probes:
            self._read_probes(asked)

    def _read_nodes(self, asked: Sequence[Unread]) -> None:
        """Each node together with what leads to it and was not read."""
        runs: list[tuple[list[Node], Cost]] = []
        reads = []
        for problem, root, nodes, cost in asked:
            begun: set[Node] = set()
            for node in nodes:
                way = [root, *node.way()]
                run = [each for each in way if not each.slots]
                if not run:
                    continue
                assert begun.isdisjoint(run), "two nodes go on from one that was never read"
                begun.update(run)
                slots = [slot for each in way[: -len(run)] for slot in each.slots]
                reads.append(Read(problem, slots, [token for each in run for token in each.tokens]))
                runs.append((run, cost))
        for (run, cost), read in zip(runs, self._reader.read(reads), strict=True):
            first = 0
            for node in run:
                own = slice(first, first + len(node.tokens))
                node.values, node.slots = read.values[own], read.slots[own]
                node.hidden, first = _summed(read.hidden[own]), own.stop
            cost.tokens_scored += len(read.slots)
            cost.model_calls += len(run)

    def _read_probes(self, asked: Sequence[Unread]) -> None:
        """What has been asked of a text once is not asked again."""
        reads: list[Read] = []
        costs: list[Cost] = []
        texts: dict[tuple[int, tuple[int, ...]], None] = {}
        for problem, root, nodes, cost in asked:
            for node in nodes:
                text = tuple(node.written())
                if text in self._probed[problem] or (problem, text) in texts:
                    continue
                texts[problem, text] = None
                way = [*root.slots, *node.whole(lambda each: each.slots)]
                if node.finish == "eos":  # nobody would put the question behind it
                    way.pop()
                reads += [Read(problem, way, probe) for probe in self._probes]
                costs += [cost] * len(self._probes)
        answers = self._reader.read(reads)
        for each, cost, answer in zip(reads, costs, answers, strict=True):
            self._reader.free(each.problem, answer.slots)
            cost.tokens_scored += len(answer.slots)
            cost.model_calls += 1
        for index, (problem, text) in enumerate(texts):
            own = answers[index * len(self._probes) : (index + 1) * len(self._probes)]
            self._probed[problem][text] = [answer.values[-1] for answer in own]
        for problem, _, nodes, _ in asked:
            for node in nodes:
                node.probed = self._probed[problem][tuple(node.written())]


def _summed(hidden: Sequence[np.ndarray]) -> np.ndarray | None:
    """All states of a node in one, for a node may be kept long: float32 [D]."""
    return np.sum(hidden, axis=0) if len(hidden) else None
