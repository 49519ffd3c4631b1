"""Diverse verifier tree search: independent subtrees, each of which goes on with its best step.

Beeching et al. 2024 (search-and-learn).
"""

from __future__ import annotations

from verifier.search.tree import Extend, Judge, Method, Node, best


def search(
    root: Node,
    width: int,
    beams: int,
    max_steps: int = 10,
    step_tokens: int | None = None,
) -> Method:
    """`beams` subtrees, each of which tries width / beams next steps and keeps the best.

    A subtree ends with whatever its last step was; all the candidates of that step are given back.

    Args:
        root: of the tree.
        width: candidates of a step, a multiple of `beams`.
        beams: subtrees.
        max_steps: after so many the solutions are written to their ends.
        step_tokens: most tokens of a step; None: as many as a solution may have.
    """
    each = width // beams
    ids = [range(tree * each, (tree + 1) * each) for tree in range(beams)]
    at, last = [root] * beams, [[root]] * beams
    for step in range(max_steps + 1):
        growing = [tree for tree in range(beams) if not at[tree].finish]
        if not growing:
            break
        final = step == max_steps
        asked: dict[Node, list[int]] = {}
        for tree in growing:
            asked.setdefault(at[tree], []).extend(ids[tree])
        children = yield Extend(list(asked.items()), not final, None if final else step_tokens)
        yield Judge(children)
        for tree in growing:
            own = [node for node in children if set(node.samples) & set(ids[tree])]
            last[tree], at[tree] = own, best(own)
        staying = {*at, *(node for nodes in last for node in nodes if node.finish)}
        for node in children:
            node.kept = node in staying
    return list(dict.fromkeys(node for nodes in last for node in nodes))
