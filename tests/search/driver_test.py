"""Many searches with real models: what they write, what they cost, and none minds the others."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx

from tests.decode import engine_test
from tests.decode.near_ties import Drawn
from verifier.config import SampleConfig
from verifier.decode import engine as engine_lib
from verifier.decode import memory
from verifier.model import cache
from verifier.model.arch import Arch
from verifier.model.heads import LinearHead, Verifier
from verifier.model.transformer import Transformer
from verifier.search import beam, dvts, sample, scorers
from verifier.search.driver import SearchResult
from verifier.search.session import Session
from verifier.search.tree import Node, best, walk

SEED = 7
CONFIG = SampleConfig(temperature=0.7, max_new_tokens=40, rows=8)
PROMPTS = sorted(engine_test.PROMPTS, key=lambda prompt: (-len(prompt.tokens), prompt.problem_id))
STEP_END = " "
BEAM = functools.partial(functools.partial, beam.search, max_steps=10)
DVTS = functools.partial(functools.partial, dvts.search, max_steps=10)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WINDOW", 8)
    monkeypatch.setattr(memory, "FEWEST_PAGES", 12)


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


def session(width: int, prompts=PROMPTS) -> Session:
    model, tokenizer = engine_test.nudged()
    engine = engine_lib.Engine(model, tokenizer, CONFIG, SEED)
    return Session(engine, judge(), "mse", prompts, width, STEP_END)


def searched(method, width: int, scorer=None, prompts=PROMPTS) -> dict[str, SearchResult]:
    scorer = scorer or scorers.by_value()
    found = session(width, prompts).run(prompts, method, scorer)
    return {prompts[each.problem].problem_id: each for each in found}


def texts(found: dict[str, SearchResult]) -> dict[tuple[str, int], list[int]]:
    """Solutions by problem and sample."""
    return {
        (name, each): node.written()
        for name, one in found.items()
        for node in one.nodes
        for each in node.samples
    }


@functools.cache
def plain(width: int) -> dict[tuple[str, int], list[int]]:
    model, tokenizer = engine_test.nudged()
    engine = engine_lib.Engine(model, tokenizer, CONFIG, SEED)
    return {
        (each.problem_id, each.sample_id): each.tokens
        for group in engine.run(PROMPTS, width)
        for each in group
    }


def assert_same(here: dict, there: dict) -> None:
    model, tokenizer = engine_test.nudged()
    prompts = {prompt.problem_id: prompt.tokens for prompt in PROMPTS}
    Drawn(model, tokenizer.vocab_size, prompts, SEED, CONFIG).parted(here, there)


@pytest.mark.parametrize(
    "method, width",
    [
        (functools.partial(sample.search, budget=6), 6),
        (BEAM(budget=1, branching=1), 1),
        (BEAM(budget=6, branching=1), 6),
        (DVTS(budget=6, branching=1), 6),
    ],
)
def test_where_nothing_is_given_up_they_are_the_plain_samples(method, width: int) -> None:
    """Stepwise, with the calculator in the loop, whatever is judged in between."""
    assert_same(texts(searched(method, width, scorers.constant())), plain(width))


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
        assert_same(here, there)
        if here != there:
            return


@pytest.mark.parametrize(
    "method",
    [
        BEAM(budget=8, branching=4),
        DVTS(budget=8, branching=4),
        functools.partial(sample.search, budget=8),
    ],
)
def test_values_and_costs(method) -> None:
    """Every node has the values of its text read whole; what was spent is what the tree has."""
    found = searched(method, 8)
    prompts = {prompt.problem_id: list(prompt.tokens) for prompt in PROMPTS}
    for name, one in found.items():
        nodes = walk(one.root)
        for node in nodes:
            text = [*prompts[name], *node.written()]
            hidden = judge().backbone.hidden(np.array([text]), np.arange(len(text))[None], None)
            whole = np.asarray(judge().values(hidden))[0][-len(node.tokens) :]
            np.testing.assert_allclose(node.values, whole, atol=1e-5)
            assert node.score == node.values[-1]
        assert one.cost.tokens_generated == sum(
            len(node.tokens) * len(node.samples) for node in nodes
        )
        read = sum(len(node.tokens) for node in nodes)
        assert one.cost.tokens_scored == len(prompts[name]) + read
        assert one.cost.prefixes_generated <= read
        assert one.cost.model_calls == sum(len(node.samples) for node in nodes) + len(nodes)
        assert best(one.nodes).score == max(node.score for node in one.nodes)


def test_no_search_minds_the_others() -> None:
    """A problem alone, and beside all others, with fewer slots than candidates: the same tree."""
    method = BEAM(budget=8, branching=4)
    together = searched(method, 8)
    for prompt in PROMPTS[:3]:
        alone = searched(method, 8, prompts=[prompt])[prompt.problem_id]
        other = together[prompt.problem_id]
        assert_same_tree(prompt.problem_id, alone.root, other.root)


def test_a_planted_verifier_is_followed() -> None:
    """Of texts, those with many sevens: search finds more of them than as many plain samples."""
    tokenizer = engine_test.nudged()[1]

    def sevens(node: Node) -> float:
        return float(tokenizer.decode(node.written()).count("7"))

    scorer = scorers.Scorer(sevens)
    guided = searched(BEAM(budget=16, branching=4), 16, scorer)
    drawn = searched(functools.partial(sample.search, budget=16), 16, scorer)

    def mean(found: dict[str, SearchResult]) -> float:
        return float(np.mean([best(one.nodes).score for one in found.values()]))

    assert mean(guided) > mean(drawn)


def test_log_probabilities_as_scores() -> None:
    for one in searched(
        functools.partial(sample.search, budget=4), 4, scorers.by_logprob()
    ).values():
        for node in one.nodes:
            assert node.score == pytest.approx(np.mean(node.logprobs)) and not node.values


@pytest.mark.parametrize("aggregation", ["last", "mean", "min", "product"])
def test_values_put_together(aggregation: str) -> None:
    node = Node(None, [], [], [], [])
    for values in ([0.5, 0.25], [0.5]):
        node = Node(node, [0], [1] * len(values), [], [], values=values)
    wanted = {"last": 0.5, "mean": 1.25 / 3, "min": 0.25, "product": np.log(0.0625)}
    assert scorers.by_value(aggregation).score(node) == pytest.approx(wanted[aggregation])


def test_slots_and_steps_do_not_change_a_tree() -> None:
    method = BEAM(budget=8, branching=4, step_tokens=5)
    few = searched(method, 8)
    model, tokenizer = engine_test.nudged()
    engine = engine_lib.Engine(model, tokenizer, dataclasses.replace(CONFIG, rows=40), SEED)
    many = Session(engine, judge(), "mse", PROMPTS, 8, STEP_END)
    for each in many.run(PROMPTS, method, scorers.by_value()):
        name = PROMPTS[each.problem].problem_id
        assert_same_tree(name, each.root, few[name].root)
        assert all(len(node.tokens) <= 5 for node in walk(each.root) if node.depth() <= 10)


def test_few_slots_lanes_and_prompts_stop_nothing() -> None:
    """More candidates than are drawn at once, and more problems than slots: all are searched."""
    model, tokenizer = engine_test.nudged()
    for rows, share in ((2, True), (3, False), (1, False)):
        config = dataclasses.replace(CONFIG, rows=rows, share=share)
        engine = engine_lib.Engine(model, tokenizer, config, SEED)
        tight = Session(engine, judge(), "mse", PROMPTS, 20, STEP_END)
        for method in (functools.partial(sample.search, budget=20), BEAM(budget=4, branching=2)):
            assert len(list(tight.run(PROMPTS, method, scorers.by_value()))) == len(PROMPTS)


def test_many_rows_that_are_over_leave_their_prompt_to_none_other(monkeypatch) -> None:
    """One problem in the slots of many, short steps, a long window: more of its rows are over than
    it has candidates.
    """
    wanted = plain(8)
    monkeypatch.setattr(cache, "WINDOW", 32)
    jax.clear_caches()  # programs are kept by sizes, of which a window is none
    method = BEAM(budget=8, branching=1, step_tokens=3)
    model, tokenizer = engine_test.nudged()
    engine = engine_lib.Engine(model, tokenizer, dataclasses.replace(CONFIG, rows=64), SEED)
    wide = Session(engine, judge(), "mse", PROMPTS, 8, STEP_END)
    found = {
        PROMPTS[each.problem].problem_id: each
        for each in wide.run(PROMPTS[:1], method, scorers.constant())
    }
    jax.clear_caches()
    name = PROMPTS[0].problem_id
    assert_same(texts(found), {key: each for key, each in wanted.items() if key[0] == name})
