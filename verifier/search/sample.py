"""No search: whole solutions, of which the best one is taken. What others are measured against."""

from __future__ import annotations

from verifier.decode.lanes import GREEDY
from verifier.search.tree import Extend, Method, Node, Score


def search(root: Node, budget: int) -> Method:
    """Best of `budget` plain samples (Cobbe et al. 2021, section 4.2)."""
    nodes = yield Extend({root: range(budget)}, to_step_end=False)
    yield Score(nodes)
    return nodes


def greedy(root: Node) -> Method:
    """The one solution that temperature 0 gives."""
    nodes = yield Extend({root: [GREEDY]}, to_step_end=False)
    yield Score(nodes)
    return nodes
