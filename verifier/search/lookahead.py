"""Beam search whose steps are judged by what they lead to.

Behind every new step the generator writes on by itself, the most likely token at a time, and what
it comes to is scored in the step's place. Nothing of it is committed (as in DVTS of
search-and-learn, `src/sal/search/utils.py`, which pays for it in its beam search but scores the
text without).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from verifier.decode.lanes import ranked
from verifier.search import beam
from verifier.search.tree import Extend, Method, Node, Score


def search(
    root: Node,
    budget: int,
    branching: int,
    max_steps: int,
    step_tokens: int | None = None,
    distinct: bool = False,
    ahead: int = 1,
) -> Method:
    """As `beam.search`, each step judged with `ahead` further ones behind it."""
    judge = functools.partial(_judge, ahead=ahead, step_tokens=step_tokens)
    return beam.search(root, budget, branching, max_steps, step_tokens, distinct, judge)


def _judge(nodes: Sequence[Node], ahead: int, step_tokens: int | None) -> beam.Judging:
    """Nodes get the scores of what lies ahead of them."""
    ends = {node: node for node in nodes}
    for _ in range(ahead):
        going = [end for end in ends.values() if not end.finish]
        asked = {end: [ranked(1, number)] for number, end in enumerate(going)}
        if not asked:
            break
        children = yield Extend(asked, step_tokens=step_tokens)
        next_of = {child.parent: child for child in children}
        ends = {node: next_of.get(end, end) for node, end in ends.items()}
    yield Score(list(ends.values()))
    for node, end in ends.items():
        node.score = end.score
        while end is not node:
            end.kept = False
            assert end.parent is not None
            end = end.parent
