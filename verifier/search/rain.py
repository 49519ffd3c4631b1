"""RAIN: rewindable inference (Li et al. 2023, arXiv 2309.07124, section 3 and Algorithm 1).

A search over token sets. An inner loop looks ahead from the text so far: it descends to a leaf by
PUCT, writes on to the end of a clause, has that judged, gives the leaf children and rewinds. The
outer loop commits the most visited child and keeps what stands below it; what is committed never
changes. The knobs c, T, T_m, V and gamma are the paper's.

    committed text ─┬─ set, 1 token ─┬─ set, 2 tokens ─── set, 4 tokens ┄┄ clause's end: judged
                    ├─ set           └─ set
                    └─ set                           values go up the way, and to sets beside it
                                                     that say nearly the same

Where paper and released code part (github.com/SafeAILab/RAIN), the code is followed, but for these:
the prior of a set is the generator's probability of it, not that among the most likely ids alone;
where two sets count the same the one of higher prior goes first, not the lower id; a clause is
always written on, also behind a set that ends in one, and drawn from as few ids as sets are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from verifier.config import RainConfig
from verifier.decode.lanes import GREEDY, first_of, ranked
from verifier.model.sampling import MOST_RANK
from verifier.search.tree import Extend, Method, Node, Requests, Score, walk

HIDDEN = "hidden"  # rain.embeddings: states of the model that judges

# Of texts that begin with the first tokens of some nodes and end with those of another, one unit
# vector each: float32 [N, D].
Embed = Callable[[Sequence[Node], Node], np.ndarray]


@dataclasses.dataclass(eq=False)
class TokenSet:
    """A node, and what the search makes of it."""

    node: Node
    prior: float
    visits: float = 0.0  # n: similar sets count in part
    own_visits: int = 0  # of which it was visited itself
    value: float = 0.0  # q, in [-1, 1]
    embedding: np.ndarray | None = None  # mean over its own visits
    children: list[TokenSet] = dataclasses.field(default_factory=list)
    step: int = 0  # sets before it, the committed ones too
    drawn: int = 0  # candidates that its children were made of

    def most_visited(self) -> TokenSet:
        """The most visited child; of equal ones that of the highest prior."""
        return max(self.children, key=lambda child: (child.visits, child.prior))


def search(root: Node, knobs: RainConfig, embed: Embed | None = None) -> Method:
    """Writes one solution, set by set.

    Scores are chances that a text is good, and are cut off at 0 and 1; a value is twice that less
    1, as in the paper.

    Args:
        root: of the tree.
        knobs: the method's constants.
        embed: of texts; None: no set learns from those beside it.
    """
    tree = TokenSet(root, 1.0)
    while not tree.node.finish:
        yield from _look_ahead(tree, knobs, embed)
        chosen = tree.most_visited()
        for child in tree.children:
            if child is not chosen:
                _give_up(child.node)
        tree = chosen
        _mix(tree.children, knobs)
    yield Score([tree.node])
    way = set(tree.node.way())
    for node in [root, *walk(root)]:  # sets that nobody went to have no value, and are not stored
        node.children = [
            child for child in node.children if child.visits is not None or child in way
        ]
    return [tree.node]


def _look_ahead(root: TokenSet, knobs: RainConfig, embed: Embed | None) -> Requests:
    """The inner loop."""
    least = min(knobs.min_lookaheads, knobs.T)
    for _ in range(max(knobs.T - root.own_visits, least)):
        way = [root]
        while way[-1].children:
            yield from _add_where_poor(way[-1], way[-1] is root, knobs)
            way.append(_puct(way[-1], knobs.c))
        leaf = way[-1]
        end = leaf.node
        if not end.finish:
            ids = [_first_id(leaf.node)]
            (end,) = yield Extend({leaf.node: ids}, step_tokens=knobs.clause_tokens)
        yield Score([end])
        texts = [each.node for each in way[1:]]
        vectors = embed(texts, end) if embed is not None and texts else None
        back_up(way, 2 * min(max(end.score, 0.0), 1.0) - 1, vectors, knobs)
        if end is not leaf.node:
            end.kept, end.hidden = False, None
        if not leaf.node.finish:
            yield from _expand(leaf, knobs)
        if leaf is root:
            _mix(root.children, knobs)
        best = root.most_visited()
        if best.own_visits > knobs.T_m and best.value > knobs.V:
            return


def _puct(parent: TokenSet, c: float) -> TokenSet:
    """The child to go to; of equal ones that of the highest prior.

    Values lie in [-1, 1], and are scaled to [0, 1]; a child that was not visited counts 0.
    """

    def worth(child: TokenSet) -> tuple[float, float]:
        value = (child.value + 1) / 2 if child.visits else 0.0
        explored = c * child.prior * math.sqrt(parent.visits) / (1 + child.visits)
        return value + explored, child.prior

    return max(parent.children, key=worth)


def back_up(
    way: Sequence[TokenSet], judged: float, vectors: np.ndarray | None, knobs: RainConfig
) -> None:
    """What was judged counts for all sets on the way, and in part for those beside them that are
    similar (equation 2).

    Args:
        way: from the root to a leaf.
        judged: in [-1, 1].
        vectors: of the text from each set but the root on, [sets - 1, D]; None: of none.
        knobs: `gamma`, the weight of similar ones, and `similarity`, the least cosine.
    """
    for each in way:
        each.visits += 1
        each.own_visits += 1
        each.value += (judged - each.value) / each.visits
        _show(each)
    if vectors is None:
        return
    for each, vector in zip(way[1:], vectors, strict=True):
        old = vector if each.embedding is None else each.embedding
        each.embedding = old + (vector - old) / each.own_visits
    for parent, each in zip(way[:-1], way[1:], strict=True):
        for other in parent.children:
            if other is each or other.embedding is None:
                continue
            similar = _cosine(each.embedding, other.embedding)
            if similar >= knobs.similarity:
                weight = knobs.gamma * similar
                other.visits += weight
                other.value += (judged - other.value) * weight / other.visits
                _show(other)


def _show(each: TokenSet) -> None:
    """For whoever looks at the tree: values as scores are, from 0 to 1."""
    each.node.score, each.node.visits = (each.value + 1) / 2, each.visits


def _cosine(one: np.ndarray | None, other: np.ndarray) -> float:
    assert one is not None
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other) + 1e-12))


def _expand(leaf: TokenSet, knobs: RainConfig) -> Requests:
    """Gives a leaf its children."""
    yield from _draw(leaf, knobs.candidates, knobs)
    if _set_tokens(leaf, knobs) > 1:
        _hold_back(leaf.children)
    _normalise(leaf.children)


def _add_where_poor(parent: TokenSet, is_root: bool, knobs: RainConfig) -> Requests:
    """One more child where all say much the same and none is good (dynamic node addition)."""
    children, most = parent.children, knobs.max_candidates
    vectors = [child.embedding for child in children if child.embedding is not None]
    if not len(vectors) == len(children) < most or parent.drawn >= MOST_RANK:
        return
    spread = float(np.linalg.norm(np.var(vectors, axis=0)))
    limit = knobs.spread * _set_tokens(parent, knobs)
    if spread < limit and max(child.value for child in children) < 0:
        before = len(children)
        yield from _draw(parent, 1, knobs)
        if is_root:
            for child in children[before:]:
                child.prior += knobs.uniform_share * (1 / len(children) - child.prior)
        _normalise(children)


def _draw(parent: TokenSet, count: int, knobs: RainConfig) -> Requests:
    """Up to so many further children: of one token the most likely ones, of more the greedy one
    and others that are drawn. What is there already is not there twice.
    """
    size = _set_tokens(parent, knobs)
    own = range(parent.drawn, parent.drawn + count)
    if size == 1:
        ids = [ranked(1 + each) for each in own]
    else:
        first = _first_id(parent.node)
        ids = [first + 1 + each if each else GREEDY for each in own]
    parent.drawn += count
    nodes = yield Extend({parent.node: ids}, to_step_end=False, step_tokens=size)
    there = {tuple(child.node.tokens) for child in parent.children}
    for node in nodes:
        if tuple(node.tokens) in there:
            node.kept = False
        else:
            prior = math.exp(math.fsum(node.logprobs))
            parent.children.append(TokenSet(node, prior, step=parent.step + 1))


def _set_tokens(parent: TokenSet, knobs: RainConfig) -> int:
    """Tokens of the sets behind another, counted from the prompt on."""
    return knobs.set_tokens[min(parent.step, len(knobs.set_tokens) - 1)]


def _hold_back(children: Sequence[TokenSet]) -> None:
    """The greedy set counts at most as much as all others together, and more than each of them."""
    others = [child.prior for child in children if GREEDY not in child.node.samples]
    for child in children:
        if GREEDY in child.node.samples and others:
            least, most = max(others) + min(others), math.fsum(others)
            child.prior = min(max(child.prior, least), most)


def _normalise(children: Sequence[TokenSet]) -> None:
    total = math.fsum(child.prior for child in children)
    for child in children:  # of long sets no chance may be left that a float holds
        child.prior = child.prior / total if total else 1 / len(children)


def _mix(children: Sequence[TokenSet], knobs: RainConfig) -> None:
    """Of the text so far, all children count somewhat alike."""
    for child in children:
        child.prior = (1 - knobs.uniform_share) * child.prior + knobs.uniform_share / len(children)


def _give_up(node: Node) -> None:
    for each in [node, *walk(node)]:
        each.kept, each.hidden = False, None


def _first_id(node: Node) -> int:
    """The id that writes a clause behind a node; its next MOST_RANK + 1 ones draw sets there."""
    return first_of(node.written(), MOST_RANK + 2, below=2**62)


def by_hidden(nodes: Sequence[Node], end: Node) -> np.ndarray:
    """Vectors of texts from what the model that judges makes of them: the mean of its last hidden
    states, less that of the prompt, of length 1.
    """
    way = end.way()
    start = way[0].parent
    assert start is not None and start.hidden is not None
    prompt_D = start.hidden / len(start.slots)
    vectors = []
    for node in nodes:
        own = way[way.index(node) :]
        tokens = sum(len(each.tokens) for each in own)
        states = [each.hidden for each in own if each.hidden is not None]
        vector_D = np.sum(states, axis=0) / tokens - prompt_D
        vectors.append(vector_D / (np.linalg.norm(vector_D) + 1e-12))
    return np.stack(vectors)
