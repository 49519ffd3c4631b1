"""Many searches with real models: what they write, what they cost, and none minds the others."""

from __future__ import annotations

import functools

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
from verifier.search import beam, dvts, scorers
from verifier.search.driver import SearchResult
from verifier.search.session import Session
from verifier.search.tree import Node

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
        (BEAM(budget=6, branching=1), 6),
    ],
)
def test_where_nothing_is_given_up_they_are_the_plain_samples(method, width: int) -> None:
    """Stepwise, with the calculator in the loop, whatever is judged in between."""
    assert_same(texts(searched(method, width, scorers.constant())), plain(width))


@pytest.mark.parametrize("aggregation", ["last", "mean", "min", "product"])
def test_values_put_together(aggregation: str) -> None:
    node = Node(None, [], [], [], [])
    for values in ([0.5, 0.25], [0.5]):
        node = Node(node, [0], [1] * len(values), [], [], values=values)
    wanted = {"last": 0.5, "mean": 1.25 / 3, "min": 0.25, "product": np.log(0.0625)}
    assert scorers.by_value(aggregation).score(node) == pytest.approx(wanted[aggregation])
