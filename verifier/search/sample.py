"""No search: whole solutions, of which the best one is taken. What others are measured against."""

from __future__ import annotations

from verifier.search.tree import Extend, Judge, Method, Node


def search(root: Node, width: int) -> Method:
    """Best of `width` plain samples (Cobbe et al. 2021, section 4.2)."""
    nodes = yield Extend([(root, range(width))], to_step_end=False)
    yield Judge(nodes)
    return nodes
