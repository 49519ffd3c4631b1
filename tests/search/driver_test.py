"""Searches of many problems with real models: what they write, and what they cost."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx

from tests.decode import engine_test
from tests.decode.engine_test import small_windows  # noqa: F401
from tests.decode.jobs import (
    PROMPTS,
    assert_same,
    drawn_at_once,
    engine_of,
    tokens_of,
)
from verifier.config import SampleConfig, ScoreConfig
from verifier.decode.score import score_samples
from verifier.decode.score_rows import Solutions
from verifier.model import cache
from verifier.model.arch import Arch
from verifier.model.heads import LinearHead, Verifier
from verifier.model.transformer import Transformer
from verifier.search import beam, dvts, lookahead, sample, scorers
from verifier.search.driver import SearchResult
from verifier.search.judge import Judge
from verifier.search.session import Session
from verifier.search.tree import Node, best, walk

pytestmark = pytest.mark.usefixtures("few_programs")

SEED = 7
CONFIG = SampleConfig(temperature=0.7, max_new_tokens=40, rows=8)
STEP_END = " "
MOST = 16  # candidates, in all tests, so that they share programs
SAMPLE = functools.partial(functools.partial, sample.search)
BEAM = functools.partial(functools.partial, beam.search, max_steps=10)
_AHEAD = functools.partial(lookahead.score_ahead, ahead=1, step_tokens=None)
AHEAD = functools.partial(functools.partial, beam.search, max_steps=3, score=_AHEAD)
DVTS = functools.partial(functools.partial, dvts.search, max_steps=10)


@functools.cache
def judge() -> Verifier:
    """Random values that lie apart."""
    rows = engine_test.nudged()[1].vocab_size + 1
    arch = Arch(
        rows, layers=1, width=16, heads=2, kv_heads=1, head_width=8, mlp_width=32, context=96
    )
    made = Verifier(Transformer(arch, rngs=nnx.Rngs(4)), LinearHead(16, initial_bias=0.5))
    made.head.kernel[...] = np.linspace(-1, 1, 16)
    return made


def session(config: SampleConfig = CONFIG, budget: int = MOST) -> Session:
    return Session(engine_of(config, SEED), Judge(judge(), "mse"), PROMPTS, budget, [STEP_END])


@functools.cache
def plain() -> dict[tuple[str, int], list[int]]:
    return tokens_of(drawn_at_once(CONFIG, MOST, SEED))


def searched(method, scorer: scorers.Scorer, ready: Session, prompts=PROMPTS):
    """What is found of each problem, by its id."""
    found = ready.run(prompts, method, scorer)
    return {prompts[each.problem].problem_id: each for each in found}


def texts(found: dict[str, SearchResult]) -> dict[tuple[str, int], list[int]]:
    """Solutions by problem and sample."""
    return {
        (name, each): node.written()
        for name, one in found.items()
        for node in one.nodes
        for each in node.samples
    }


@pytest.mark.parametrize(
    "method",
    [
        SAMPLE(budget=6),
        BEAM(budget=1, branching=1),
        BEAM(budget=6, branching=1),
        DVTS(budget=6, branching=1),
    ],
)
def test_where_nothing_is_given_up_they_are_the_plain_samples(method) -> None:
    """Stepwise, with the calculator in the loop, whatever is judged in between."""
    budget = method.keywords["budget"]
    found = texts(searched(method, scorers.constant(), session()))
    wanted = {key: each for key, each in plain().items() if key[1] < budget}
    assert_same(found, wanted, CONFIG, SEED)


@pytest.mark.parametrize(
    "method",
    [
        BEAM(budget=8, branching=4),
        DVTS(budget=8, branching=4),
        AHEAD(budget=4, branching=2),
        SAMPLE(budget=8),
    ],
)
def test_values_and_costs(method) -> None:
    """Every node has the values of its text read whole; what was spent is what the tree has."""
    found = searched(method, scorers.by_value(), session())
    nodes = {name: walk(one.root) for name, one in found.items()}
    prompts = {prompt.problem_id: prompt.tokens for prompt in PROMPTS}
    whole = [
        Solutions(name, prompts[name], range(len(each)), [node.written() for node in each])
        for name, each in nodes.items()
    ]
    scored = score_samples(judge(), whole, ScoreConfig(), "judge", "mse")
    values = {rows[0]["problem_id"]: [row["token_scores"] for row in rows] for rows in scored}
    for name, one in found.items():
        for node, wanted in zip(nodes[name], values[name], strict=True):
            np.testing.assert_allclose(node.values, wanted[-len(node.tokens) :], atol=1e-5)
            ahead = [each for each in node.children if min(each.samples) < 0]
            assert node.score == (ahead[0] if ahead else node).values[-1]
        written = sum(len(node.tokens) * len(node.samples) for node in nodes[name])
        read = sum(len(node.tokens) for node in nodes[name])
        asked = sum(len(node.samples) for node in nodes[name])
        assert one.cost.tokens_generated == written and one.cost.prefixes_generated <= read
        assert one.cost.tokens_scored == len(prompts[name]) + read
        assert one.cost.model_calls == asked + len(nodes[name])
        assert best(one.nodes).score == max(node.score for node in one.nodes)
        assert all(not node.kept for node in nodes[name] if min(node.samples) < 0)
        assert all(min(each.samples) >= 0 for node in one.nodes for each in node.way())


@pytest.mark.parametrize("aggregation", ["last", "mean", "min", "product"])
def test_values_put_together(aggregation: str) -> None:
    node = Node(None, [], [], [], [])
    for values in ([0.5, 0.25], [0.5]):
        node = Node(node, [0], [1] * len(values), [], [], values=values)
    wanted = {"last": 0.5, "mean": 1.25 / 3, "min": 0.25, "product": np.log(0.0625)}
    assert scorers.by_value(aggregation).score(node) == pytest.approx(wanted[aggregation])


def assert_same_tree(name: str, one: Node, other: Node) -> None:
    """Generation by generation, until one parts at a near tie."""
    for depth in range(1, CONFIG.max_new_tokens):
        here, there = (
            {
                (name, each): node.written()
                for node in walk(root)
                if node.depth() == depth
                for each in node.samples
            }
            for root in (one, other)
        )
        assert_same(here, there, CONFIG, SEED)
        if here != there:
            return


def test_no_search_minds_the_others() -> None:
    """A problem alone, and beside all others, with fewer slots than candidates: the same tree."""
    method, ready = BEAM(budget=8, branching=4), session()
    together = searched(method, scorers.by_value(), ready)
    for prompt in PROMPTS[:3]:
        (alone,) = searched(method, scorers.by_value(), ready, [prompt]).values()
        assert_same_tree(prompt.problem_id, alone.root, together[prompt.problem_id].root)


def test_a_planted_verifier_is_followed() -> None:
    """Of texts, those with many sevens: search finds more of them than as many plain samples."""
    tokenizer = engine_test.nudged()[1]

    def sevens(node: Node) -> float:
        return float(tokenizer.decode(node.written()).count("7"))

    ready, scorer = session(), scorers.Scorer(sevens)
    guided = searched(BEAM(budget=16, branching=4), scorer, ready)
    drawn = searched(SAMPLE(budget=16), scorer, ready)

    def mean(found: dict[str, SearchResult]) -> float:
        return float(np.mean([best(one.nodes).score for one in found.values()]))

    assert mean(guided) > mean(drawn)


def test_log_probabilities_as_scores() -> None:
    for one in searched(SAMPLE(budget=4), scorers.by_logprob(), session()).values():
        for node in one.nodes:
            assert node.score == pytest.approx(np.mean(node.logprobs)) and not node.values


def test_few_slots_lanes_and_prompts_stop_nothing() -> None:
    """More candidates than are drawn at once, and more problems than slots: all are searched."""
    tight = session(dataclasses.replace(CONFIG, rows=2), 20)
    method = BEAM(budget=20, branching=10, max_steps=3)
    found = searched(method, scorers.by_value(), tight, PROMPTS[:3])
    assert len(found) == 3


def test_many_rows_that_are_over_leave_their_prompt_to_none_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One problem in the slots of many, short steps, a long window: more of its rows are over than
    it has candidates.
    """
    name = PROMPTS[0].problem_id
    wanted = {key: each for key, each in plain().items() if key[0] == name and key[1] < 8}
    monkeypatch.setattr(cache, "WINDOW", 32)
    jax.clear_caches()  # programs are kept by sizes, of which a window is none
    wide = session(dataclasses.replace(CONFIG, rows=64), 8)
    method = BEAM(budget=8, branching=1, step_tokens=3)
    found = texts(searched(method, scorers.constant(), wide, PROMPTS[:1]))
    jax.clear_caches()
    assert_same(found, wanted, CONFIG, SEED)
