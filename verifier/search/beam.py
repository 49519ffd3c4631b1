"""Beam search over steps, guided by the verifier's value of unfinished solutions.

OVM (Yu et al. 2023, arXiv 2311.09724): a verifier that was trained on whole solutions' outcomes
reads the chance of a right answer after every token, so partial solutions can be ranked by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from verifier.search.tree import Extend, Method, Node, Requests, Score


class _Candidate(NamedTuple):
    """One sample's way so far."""

    node: Node
    sample: int


def search(
    root: Node,
    budget: int,
    branching: int,
    max_steps: int,
    step_tokens: int | None = None,
    distinct: bool = False,
    score: Callable[[Sequence[Node]], Requests] | None = None,
) -> Method:
    """Of `budget` candidates of each step the best go on, each with `branching` samples.

    Finished ones stay among them as they are. Equal texts count as often as they were drawn.

    With a branching of 1 nothing is given up, and the candidates are the plain samples of ids 0 to
    budget - 1.

    Args:
        root: of the tree.
        budget: candidates of a step, a multiple of `branching`.
        branching: candidates of each that goes on.
        max_steps: after so many the solutions are written to their ends.
        step_tokens: most tokens of a step; None: as many as a solution may have.
        distinct: candidates of distinct texts go before the repeats.
        score: asks for whatever gives nodes their scores; None: they are scored as they are.
    """
    kept = [_Candidate(root, sample) for sample in range(0, budget, branching)]
    for step in range(max_steps + 1):
        asked: dict[Node, list[int]] = {}
        for beam, candidate in enumerate(kept):
            if not candidate.node.finish:
                ids = range(beam * branching, (beam + 1) * branching)
                asked.setdefault(candidate.node, []).extend(ids)
        if not asked:
            break
        last = step == max_steps
        children = yield Extend(asked, not last, None if last else step_tokens)
        yield from (score or scored)(children)
        finished = [candidate for candidate in kept if candidate.node.finish]
        grown = [_Candidate(node, sample) for node in children for sample in node.samples]
        kept = _best([*finished, *grown], budget // branching, distinct)
        staying = {candidate.node for candidate in kept}
        for node in {*children, *(candidate.node for candidate in finished)} - staying:
            node.kept = False
    return list(dict.fromkeys(candidate.node for candidate in kept))


def scored(nodes: Sequence[Node]) -> Requests:
    """Nodes are scored as they are."""
    yield Score(nodes)


def _best(candidates: Sequence[_Candidate], beams: int, distinct: bool) -> list[_Candidate]:
    """The best ones, by their samples' ids: the order in which they are given their next ids."""
    ranked = sorted(candidates, key=lambda each: (-each.node.score, each.sample))
    if distinct:
        first: dict[Node, _Candidate] = {}
        for each in ranked:
            first.setdefault(each.node, each)
        ranked.sort(key=lambda each: each is not first[each.node])
    return sorted(ranked[:beams], key=lambda each: each.sample)
