"""Steps are judged by what they lead to: a way to score for `beam.search`.

Behind every new step the generator writes on by itself, the most likely token at a time, and what
it comes to is scored in the step's place. Nothing of it is committed (as in DVTS of
search-and-learn, `src/sal/search/utils.py`, which pays for it in its beam search but scores the
text without).
"""

from __future__ import annotations

from collections.abc import Sequence

from verifier.decode.lanes import ranked
from verifier.search.tree import Extend, Node, Requests, Score


def score_ahead(nodes: Sequence[Node], ahead: int, step_tokens: int | None) -> Requests:
    """Nodes get the scores of what lies ahead of them.

    Args:
        nodes: new steps.
        ahead: steps behind each.
        step_tokens: most tokens of a step; None: as many as a solution may have.
    """
    ends = {node: node for node in nodes}
    for _ in range(ahead):
        going = [end for end in ends.values() if not end.finish]
        if not going:
            break
        asked = {end: [ranked(1, number)] for number, end in enumerate(going)}
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
