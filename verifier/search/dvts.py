"""Diverse verifier tree search: independent subtrees, each of which goes on with its best step.

Beeching et al. 2024 (search-and-learn).
"""

from __future__ import annotations

from verifier.search.tree import Extend, Method, Node, Score, best


def search(
    root: Node, budget: int, branching: int, max_steps: int, step_tokens: int | None = None
) -> Method:
    """budget / branching subtrees, each of which tries `branching` next steps and keeps the best.

    A subtree ends when its best step is over; all of that step that are over are given back.

    Args:
        root: of the tree.
        budget: candidates of a step, a multiple of `branching`.
        branching: candidates of a subtree's step.
        max_steps: after so many the solutions are written to their ends.
        step_tokens: most tokens of a step; None: as many as a solution may have.
    """
    trees = range(budget // branching)
    ids = [range(tree * branching, (tree + 1) * branching) for tree in trees]
    at, last = [root for _ in trees], [[root] for _ in trees]
    for step in range(max_steps + 1):
        growing = [tree for tree in trees if not at[tree].finish]
        if not growing:
            break
        final = step == max_steps
        asked: dict[Node, list[int]] = {}
        for tree in growing:
            asked.setdefault(at[tree], []).extend(ids[tree])
        children = yield Extend(asked, not final, None if final else step_tokens)
        yield Score(children)
        for tree in growing:
            own = [node for node in children if not set(node.samples).isdisjoint(ids[tree])]
            last[tree], at[tree] = own, best(own)
        over = [node for tree in trees if at[tree].finish for node in last[tree] if node.finish]
        for node in children:
            node.kept = node in {*at, *over}
    return list(dict.fromkeys(node for nodes in last for node in nodes if node.finish))
