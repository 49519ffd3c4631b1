"""Methods of search on a toy that writes one letter a step, with no model at all."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from verifier.config import Config, SearchConfig
from verifier.search import beam, dvts, methods, sample
from verifier.search.tree import Extend, Method, Node, Score, best, root

END = 9
LENGTH = 4  # steps of a solution
STEPS = 10


class Toy:
    """Letters 0 to 2 by a sample's id and place; a solution ends after LENGTH of them."""

    def __init__(self, score: Callable[[list[int]], float], letters: int = 3) -> None:
        self.score, self.letters = score, letters
        self.asked: list[list[tuple[list[int], list[int]]]] = []
        self.scored = 0

    def letter(self, sample_id: int, place: int) -> int:
        return (sample_id // self.letters**place) % self.letters

    def play(self, method: Method) -> list[Node]:
        given = None
        try:
            while True:
                request = method.send(given)
                given = (
                    self.extend(request)
                    if isinstance(request, Extend)
                    else self.put_scores(request)
                )
        except StopIteration as stop:
            return stop.value

    def extend(self, request: Extend) -> list[Node]:
        ids = [each for samples in request.asked.values() for each in samples]
        assert len(ids) == len(set(ids)), "two samples of one id"
        self.asked.append(
            [(node.written(), list(samples)) for node, samples in request.asked.items()]
        )
        children: dict[tuple[Node, tuple[int, ...]], Node] = {}
        for node, samples in request.asked.items():
            assert not node.finish and node.kept
            place = len(node.written())
            until = place + 1 if request.to_step_end else LENGTH
            for each in samples:
                tokens = [self.letter(each, at) for at in range(place, until)]
                child = children.setdefault(
                    (node, tuple(tokens)),
                    Node(node, [], tokens, [False] * len(tokens), [0.0] * len(tokens)),
                )
                child.samples.append(each)
                child.finish = "eos" if until == LENGTH else ""
        return sorted(children.values(), key=lambda node: node.samples[0])

    def put_scores(self, request: Score) -> list[Node]:
        for node in request.nodes:
            self.scored += 1
            node.score = self.score(node.written())
        return list(request.nodes)


def flat(_: list[int]) -> float:
    return 0.0


@pytest.mark.parametrize("width", [1, 4, 27])
def test_a_beam_that_keeps_all_are_the_plain_samples(width: int) -> None:
    plain = Toy(flat).play(sample.search(root(), width))
    kept = Toy(flat).play(beam.search(root(), width, 1, STEPS))
    as_drawn = {each: node.written() for node in plain for each in node.samples}
    toy = Toy(flat)
    toy.play(beam.search(root(), width, 1, STEPS))
    for asked in toy.asked:
        for written, ids in asked:
            assert all(as_drawn[each][: len(written)] == written for each in ids)
    assert {tuple(node.written()) for node in kept} == {tuple(text) for text in as_drawn.values()}


def test_the_best_path_is_found_where_all_are_looked_at() -> None:
    worth = {
        path: value
        for value, path in enumerate(
            sorted(itertools.product(range(3), repeat=LENGTH), key=lambda path: hash((path, 3)))
        )
    }

    def score(written: list[int]) -> float:
        """The worth of the best solution that begins so: a perfect verifier."""
        return max(value for path, value in worth.items() if [*path[: len(written)]] == written)

    best_path = max(worth, key=lambda path: worth[path])
    found = Toy(score).play(beam.search(root(), 81, 3, STEPS))
    assert tuple(best(found).written()) == best_path


def test_the_best_go_on_and_the_others_are_given_up() -> None:
    toy = Toy(lambda written: float(sum(written)))
    toy.play(beam.search(root(), 9, 3, STEPS))
    for before, after in itertools.pairwise(toy.asked):
        wrote = {
            (*written, toy.letter(each, len(written))) for written, ids in before for each in ids
        }
        going = sorted((sum(text) for text in wrote), reverse=True)
        assert all(sum(written) >= going[min(2, len(going) - 1)] for written, _ in after)


def test_finished_ones_stay_among_the_best() -> None:
    """A solution that is over early is handed in at the end, though others went on."""

    class Early(Toy):
        def extend(self, request: Extend) -> list[Node]:
            children = super().extend(request)
            for child in children:
                child.finish = "eos" if child.written() == [2] else child.finish
            return children

    toy = Early(lambda written: 10.0 if written == [2] else float(len(written)))
    nodes = toy.play(beam.search(root(), 6, 3, STEPS))
    assert [2] in [node.written() for node in nodes] and best(nodes).written() == [2]
    assert all(written != [2] for asked in toy.asked for written, _ in asked)


def test_distinct_texts_go_before_repeats() -> None:
    toy = Toy(lambda written: float(written[-1] == 0))
    toy.play(beam.search(root(), 9, 3, STEPS, distinct=True))
    assert len({tuple(written) for written, _ in toy.asked[1]}) == 3
    toy = Toy(lambda written: float(written[-1] == 0))
    toy.play(beam.search(root(), 9, 3, STEPS))
    assert {tuple(written) for written, _ in toy.asked[1]} == {(0,)}


def test_one_subtree_keeps_the_best_step_each_time() -> None:
    toy = Toy(lambda written: float(written[-1]))
    nodes = toy.play(dvts.search(root(), 81, 81, STEPS))
    assert best(nodes).written() == [2] * LENGTH
    assert [written for asked in toy.asked for written, _ in asked] == [
        [2] * place for place in range(LENGTH)
    ]
    # all the candidates of the last step are given back
    assert sorted(node.written()[-1] for node in nodes) == [0, 1, 2]


def test_subtrees_know_nothing_of_each_other() -> None:
    scores = Toy(lambda written: float(sum(written)))
    both = scores.play(dvts.search(root(), 18, 9, STEPS))
    alone = Toy(lambda written: float(sum(written))).play(dvts.search(root(), 9, 9, STEPS))
    texts = {tuple(node.written()) for node in both}
    assert {tuple(node.written()) for node in alone} <= texts


@pytest.mark.parametrize("name", ["beam", "dvts"])
def test_after_the_last_step_solutions_are_written_to_their_ends(name: str) -> None:
    config = Config(search=SearchConfig(max_steps=2, branching=3))
    toy = Toy(lambda written: float(sum(written)))
    nodes = toy.play(methods.setup(name, config).method(9)(root()))
    assert all(node.finish for node in nodes)
    assert len(toy.asked) == 3 and all(len(node.written()) == LENGTH for node in nodes)


@pytest.mark.parametrize("name", ["sample", "beam", "dvts", "lookahead"])
def test_the_contract(name: str) -> None:
    """Finished nodes come back, with scores; a method asks of kept nodes alone (`Toy.extend`)."""
    config = Config(search=SearchConfig(branching=3))
    toy = Toy(lambda written: float(sum(written)))
    nodes = toy.play(methods.setup(name, config).method(9)(root()))
    assert nodes and len(set(nodes)) == len(nodes)
    assert all(node.finish and node.score == sum(node.written()) for node in nodes)
    assert all(len(ids) and max(ids) < 9 for asked in toy.asked for _, ids in asked)
    assert toy.scored <= 9 * len(toy.asked)
