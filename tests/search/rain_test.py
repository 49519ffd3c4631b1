"""RAIN on a toy language of four letters, with no model at all, against what the paper says."""

from __future__ import annotations

import dataclasses
import itertools
import math
import zlib

import numpy as np
import pytest

from verifier.config import RainConfig
from verifier.decode import lanes
from verifier.model.sampling import MOST_RANK
from verifier.search import rain, scorers
from verifier.search.rain import TokenSet, back_up
from verifier.search.tree import Extend, Node, Score, root, walk

END, CLAUSE, LETTERS = 3, 2, 4
LIMIT = 9
KNOBS = RainConfig(
    T=12,
    min_lookaheads=4,
    T_m=3,
    candidates=3,
    max_candidates=4,
    set_tokens=(1, 2, 4),
    clause_tokens=3,
)


class Toy:
    """Writes letters whose probabilities depend on the one before, and judges what it is told."""

    def __init__(self, judge=lambda _: 0.0) -> None:
        self.judge, self.requests, self.judged = judge, [], []
        rng = np.random.default_rng(5)
        self.shares = rng.dirichlet(np.ones(LETTERS) * 2, LETTERS)

    def letter(self, sample_id: int, written: list[int]) -> int:
        share = self.shares[written[-1] if written else 0]
        if sample_id < 0:
            return int(np.argsort(-share, kind="stable")[-sample_id - 1])
        number = zlib.crc32(f"{sample_id} {len(written)}".encode()) / 2**32
        return int(np.searchsorted(np.cumsum(share), number, side="right"))

    def play(self, method):
        given = None
        try:
            while True:
                request = method.send(given)
                self.requests.append(request)
                if isinstance(request, Extend):
                    given = self.extend(request)
                else:
                    given = self.put_scores(request)
        except StopIteration as stop:
            return stop.value

    def extend(self, request: Extend) -> list[Node]:
        children: dict[tuple[Node, tuple[int, ...]], Node] = {}
        for node, ids in request.asked.items():
            assert not node.finish and node.kept and len(set(ids)) == len(ids)
            before = node.written()
            for each in ids:
                written, logprobs = list(before), []
                while len(written) < LIMIT and written[-1:] != [END]:
                    made = len(written) - len(before)
                    ends = written[-1:] == [CLAUSE] and request.to_step_end
                    if made and (ends or made == request.step_tokens):
                        break
                    share = self.shares[written[-1] if written else 0]
                    written.append(self.letter(each, written))
                    logprobs.append(math.log(share[written[-1]]))
                own = tuple(written[len(before) :])
                over = "eos" if own[-1] == END else "length" if len(written) == LIMIT else ""
                made = Node(node, [], list(own), [False] * len(own), logprobs, finish=over)
                child = children.setdefault((node, own), made)
                if child is made:
                    node.children.append(child)
                child.samples.append(each)
        return sorted(children.values(), key=lambda node: node.samples[0])

    def put_scores(self, request: Score) -> list[Node]:
        for node in request.nodes:
            self.judged.append(node.written())
            node.score = (self.judge(node.written()) + 1) / 2
        return list(request.nodes)


def vectors(nodes, end):
    """Of few directions, so that some are similar."""
    length = len(end.written())
    own = [end.written()[-1 - (length - len(node.way())) % 3 :] for node in nodes]
    angles = [len(each) % 2 + 0.01 * each[0] for each in own]
    return np.array([[math.cos(angle), math.sin(angle)] for angle in angles])


def searched(judge=lambda _: 0.0, embed=None, **changes):
    toy = Toy(judge)
    (node,) = toy.play(rain.search(root(), dataclasses.replace(KNOBS, **changes), embed))
    return node, toy


def noisy(written: list[int]) -> float:
    return zlib.crc32(bytes(written)) / 2**31 - 1


def branch(*sizes) -> TokenSet:
    return TokenSet(Node(None, [0], [0], [], []), 1.0, children=list(sizes))


def test_a_text_draws_what_it_always_drew() -> None:
    """A stored table of searches is gone on with."""
    known = {(1, 2, 3): 626329391396039782, (): 1238733684797500144}
    for text, first in known.items():
        assert lanes.first_of(text, MOST_RANK + 2, below=2**62) == first


def test_values_go_up_a_tree_of_three_levels() -> None:
    """By hand: root, two children, two grandchildren of the first."""
    low, high = branch(), branch()
    left, right = branch(low, high), branch()
    top = branch(left, right)
    for way, judged in (
        ([top], 0.5),
        ([top, left], 1.0),
        ([top, right], -1.0),
        ([top, left, low], 0.0),
        ([top, left, high], 0.5),
        ([top, left, low], -1.0),
    ):
        back_up(way, judged, None, KNOBS)
    assert (top.visits, left.visits, right.visits, low.visits, high.visits) == (6, 4, 1, 2, 1)
    assert top.value == pytest.approx(0.0) and left.value == pytest.approx(0.125)
    assert right.value == -1 and low.value == pytest.approx(-0.5) and high.value == 0.5
    # 0.5625 + 2 * .6 * sqrt(6) / 5 of the one, 2 * .4 * sqrt(6) / 2 of the other
    left.prior, right.prior = 0.6, 0.4
    assert rain._puct(top, 2.0) is left
    assert rain._puct(top, 20.0) is right


def test_what_is_judged_of_one_counts_for_those_like_it() -> None:
    one, alike, apart = branch(), branch(), branch()
    top = branch(one, alike, apart)
    knobs = dataclasses.replace(KNOBS, gamma=0.5)
    back_up([top, alike], -1.0, np.array([[1.0, 0.0]]), knobs)
    back_up([top, apart], -1.0, np.array([[0.0, 1.0]]), knobs)
    back_up([top, one], 1.0, np.array([[1.0, 0.2]]), knobs)
    cosine = 1 / math.sqrt(1.04)
    assert alike.visits == pytest.approx(1 + 0.5 * cosine) and alike.own_visits == 1
    assert alike.value == pytest.approx((-1 + 0.5 * cosine) / (1 + 0.5 * cosine))
    assert (apart.visits, apart.value) == (1, -1)


def test_identical_sets_come_to_the_same() -> None:
    one, other = branch(), branch()
    top, knobs, same = branch(one, other), dataclasses.replace(KNOBS, gamma=1.0), np.eye(2)[:1]
    other.embedding = same[0]
    for judged in (0.3, -0.8, 1.0):
        back_up([top, one], judged, same, knobs)
    assert one.visits == pytest.approx(other.visits)
    assert one.value == pytest.approx(other.value)


def outline(node: Node) -> list[tuple]:
    start = node.way()[0].parent
    assert start is not None
    return [(each.written(), each.score, each.visits, each.kept) for each in walk(start)]


def test_nothing_similar_is_plain_tree_search() -> None:
    plain, _ = searched(noisy)
    off, _ = searched(noisy, vectors, similarity=2.0, spread=0.0)
    on, _ = searched(noisy, vectors, spread=0.0, similarity=0.9)
    assert outline(plain) == outline(off) != outline(on)


def test_without_a_judge_and_looking_ahead_it_is_greedy() -> None:
    found, toy = searched(T=1, c=0.0)
    written: list[int] = []
    while len(written) < LIMIT and written[-1:] != [END]:
        written.append(toy.letter(-1, written))
    assert found.written() == written


@pytest.mark.parametrize("embed", [None, vectors])
def test_visits_add_up_whenever_something_is_committed(embed, monkeypatch) -> None:
    """Each set is judged itself once, then through its children; also those that were kept."""
    look_ahead, seen = rain._look_ahead, []

    def watched(top, knobs, given):
        yield from look_ahead(top, knobs, given)
        todo = [top]
        for each in todo:
            todo += each.children
            assert each.visits >= each.own_visits - 1e-9
            if each.children:
                assert sum(child.own_visits for child in each.children) == each.own_visits - 1
                assert sum(child.prior for child in each.children) == pytest.approx(1)
        seen.append(top.own_visits)

    monkeypatch.setattr(rain, "_look_ahead", watched)
    searched(noisy, embed)
    assert len(seen) > 1 and seen[1] > KNOBS.min_lookaheads


def test_it_stops_when_a_set_is_good_and_never_later_than_told() -> None:
    _, toy = searched(lambda _: 1.0, T_m=2)
    _, tired = searched(lambda _: -1.0, T_m=2)
    first = [len(each.judged) for each in (toy, tired)]
    assert first[0] < first[1]
    commits = LIMIT  # a commit writes a token at least
    assert len(tired.judged) <= KNOBS.T * commits + 1


def test_what_is_committed_stays_and_all_else_is_given_up() -> None:
    found, toy = searched(noisy, vectors)
    again, _ = searched(noisy, vectors)
    assert outline(found) == outline(again)
    way = {tuple(node.written()) for node in found.way()}
    start = found.way()[0].parent
    assert {tuple(node.written()) for node in walk(start) if node.kept} == way
    assert toy.judged[-1] == found.written()


def test_a_planted_judge_is_followed() -> None:
    """Texts without the letter 1 are liked: it writes fewer of them than greedy decoding does, and
    than the best of as many samples as its calls paid for, on average over where it starts.
    """

    def judge(written: list[int]) -> float:
        return 1 - 2 * written.count(1) / max(len(written), 1)

    found, toy = searched(judge, T=30)
    greedy, _ = searched(T=1, c=0.0)
    assert judge(found.written()) >= judge(greedy.written())
    samples = toy.extend(Extend({root(): range(8)}, to_step_end=False))
    assert judge(found.written()) >= np.mean([judge(each.written()) for each in samples])


def test_more_children_where_all_are_alike_and_bad() -> None:
    def alike(nodes, end):
        return np.ones((len(nodes), 2)) / math.sqrt(2)

    def most(embed, judged) -> int:
        node, _ = searched(lambda _: judged, embed, T=40, similarity=2.0)
        counts = [len(each.children) for each in [node.way()[0].parent, *node.way()]]
        return max(counts)

    assert most(alike, -1.0) == KNOBS.max_candidates
    assert most(alike, 1.0) <= KNOBS.candidates
    assert most(None, -1.0) <= KNOBS.candidates


def test_a_judge_is_asked_in_both_orders() -> None:
    def scored(one: float, swapped: float) -> float:
        node = Node(None, [], [], [], [], probed=[one, swapped])
        return scorers.by_choice().score(node)

    for one, swapped in itertools.product((-2.0, -0.1, 0.3, 5.0), repeat=2):
        assert scored(one, swapped) == 1 - scored(-one, -swapped)
    assert scored(3.0, 3.0) == scored(-3.0, -3.0) == 0.5  # always A, always B
    assert scored(3.0, -3.0) == 1


@pytest.mark.parametrize("chance, same", [(1.7, 1.0), (-3.0, 0.0)])
def test_chances_are_cut_off(chance: float, same: float) -> None:
    """A verifier of squared error gives values beyond 0 and 1."""
    found, _ = searched(lambda written: 2 * (chance if written[-1] == 1 else 0.4) - 1)
    cut, _ = searched(lambda written: 2 * (same if written[-1] == 1 else 0.4) - 1)
    assert [each[:3] for each in outline(found)[:-1]] == [each[:3] for each in outline(cut)[:-1]]
