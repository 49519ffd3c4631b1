"""Many problems' searches take turns, so that generator and verifier have enough to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from verifier.data import trees
from verifier.decode.growing import Growing
from verifier.decode.outcomes import Ended
from verifier.search import tree
from verifier.search.reading import Reading, Unread
from verifier.search.scorers import Scorer
from verifier.search.tree import Cost, Extend, Method, Node, Score

# The verifier reads when so large a share of the open problems waits for it: then calls are not too
# small, and the generator's rows not too empty.
SCORED_AT = 0.25


class SearchResult(NamedTuple):
    """What a search has come to."""

    problem: int  # index of its prompt
    root: Node
    nodes: list[Node]  # the solutions that it ends with
    cost: Cost


class _Search:
    """One problem under way."""

    def __init__(self, problem: int, method: Callable[[Node], Method]) -> None:
        self.problem, self.root, self.cost = problem, tree.root(), Cost()
        self.method = method(self.root)
        self.parent_of: dict[int, Node] = {}  # by sample that is being written
        self.children: dict[tuple[Node, tuple[int, ...]], Node] = {}
        self.live: list[Node] = []  # what holds pages or slots
        self.to_score: list[Node] = []  # what is to be


class Driver:
    """The searches of some problems with one generator and, where the scorer asks for it, one
    verifier.
    """

    def __init__(
        self,
        growing: Growing,
        scorer: Scorer,
        reading: Reading | None,
        problems: int,
        end_id: int,
        max_new_tokens: int,
        at_once: int,
    ) -> None:
        """Nothing is begun yet.

        Args:
            growing: a job of the generator.
            scorer: of nodes.
            reading: of the same problems; None where the scorer needs none.
            problems: how many there are.
            end_id: ends a solution.
            max_new_tokens: most tokens of a solution.
            at_once: problems that are open at a time: both models have room for so many.
        """
        self._growing, self._scorer, self._reading = growing, scorer, reading
        self._problems, self._end_id, self._limit = problems, end_id, max_new_tokens
        self._at_once = at_once
        self._open: dict[int, _Search] = {}
        self._to_score: list[_Search] = []
        self._over: list[SearchResult] = []

    def run(self, method: Callable[[Node], Method]) -> Iterator[SearchResult]:
        """Searches for a solution of every problem; gives each out as soon as it is over.

        method: begins the search of one problem (`tree.Method`).
        """
        waiting = list(range(self._problems))[::-1]

        def fill() -> None:
            while waiting and len(self._open) < self._at_once:
                self._begin(waiting.pop(), method)

        while waiting or self._open:
            fill()
            for ended in self._growing.run():
                self._take(ended)
                if len(self._to_score) >= max(SCORED_AT * len(self._open), 1):
                    self._score()
                fill()
                yield from self._given_out()
            waited = bool(self._to_score)
            self._score()
            results = self._given_out()
            assert waited or results or not self._open, "searches wait for what nobody writes"
            yield from results

    def _given_out(self) -> list[SearchResult]:
        over, self._over = self._over, []
        return over

    def _begin(self, problem: int, method: Callable[[Node], Method]) -> None:
        search = self._open[problem] = _Search(problem, method)
        search.root.branch = self._growing.root(problem)
        if self._reading is not None:
            self._reading.open(problem)
        self._go_on(search, None)

    def _go_on(self, search: _Search, given: list[Node] | None) -> None:
        """Gives a method what it asked for, and does what it asks for next."""
        try:
            request = search.method.send(given)  # type: ignore[arg-type]  # None at first
        except StopIteration as stop:
            self._end(search, stop.value)
            return
        self._let_go(search)
        if isinstance(request, Score):
            search.to_score = list(request.nodes)
            self._to_score.append(search)
        else:
            self._extend(search, request)

    def _extend(self, search: _Search, request: Extend) -> None:
        search.children = {}
        for node, samples in request.asked.items():
            assert node.branch is not None, "a node that was given up, or is over, goes on"
            limit = self._limit
            if request.step_tokens is not None:
                limit = min(limit, len(node.written()) + request.step_tokens)
            self._growing.extend(node.branch, samples, limit, request.to_step_end)
            assert search.parent_of.keys().isdisjoint(samples), "an id is asked for twice at a time"
            search.parent_of |= dict.fromkeys(samples, node)
            search.cost.model_calls += len(samples)

    def _take(self, ended: Ended) -> None:
        """Notes what some samples have written; goes on when it was the last of what was asked."""
        search = self._open[ended.problem]
        parent = search.parent_of[ended.samples[0]]
        since = len(parent.written())
        own = ended.tokens[since:]
        search.cost.tokens_generated += len(own) * len(ended.samples)
        node = search.children.get((parent, tuple(own)))
        if node is None:
            over = own[-1] == self._end_id
            node = Node(
                parent,
                [],
                own,
                ended.forced[since:],
                ended.logprobs[since:],
                errors=ended.errors,
                finish="eos" if over else "length" if len(ended.tokens) >= self._limit else "",
                branch=ended.branch,
            )
            search.children[parent, tuple(own)] = node
            search.live.append(node)
        else:
            assert ended.branch is not None
            self._growing.drop(ended.branch)
        node.samples = sorted([*node.samples, *ended.samples])
        for sample in ended.samples:
            del search.parent_of[sample]
        if not search.parent_of:
            self._grown(search)

    def _grown(self, search: _Search) -> None:
        children = sorted(search.children.values(), key=lambda node: node.samples[0])
        for parent in dict.fromkeys(node.parent for node in children):
            assert parent is not None
            own = [node for node in children if node.parent is parent]
            parent.children += own
            search.cost.prefixes_generated += trees.distinct([node.tokens for node in own])
        for node in children:
            if node.finish and node.branch is not None:
                self._growing.drop(node.branch)
                node.branch = None
        self._go_on(search, children)

    def _score(self) -> None:
        """Scores what waits for it, all together."""
        searches, self._to_score = self._to_score, []
        if self._reading is not None:
            self._reading.read(
                [Unread(each.problem, each.root, each.to_score, each.cost) for each in searches]
            )
        for search in searches:
            for node in search.to_score:
                node.score = self._scorer.score(node)
        for search in searches:
            self._go_on(search, search.to_score)

    def _let_go(self, search: _Search) -> None:
        """What a method has given up holds nothing any more."""
        gone = [node for node in search.live if not node.kept]
        for node in gone:
            if node.branch is not None:
                self._growing.drop(node.branch)
                node.branch = None
            if self._reading is not None:
                self._reading.free(search.problem, node)
        search.live = [node for node in search.live if node.kept]

    def _end(self, search: _Search, nodes: list[Node]) -> None:
        self._growing.close(search.problem)
        if self._reading is not None:
            self._reading.close(search.problem)
        for node in search.live:
            node.branch = None
        del self._open[search.problem]
        self._over.append(SearchResult(search.problem, search.root, nodes, search.cost))
