"""Branches that others ask for: step by step they come to what the engine draws in one go."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.decode import engine_test
from tests.decode.near_ties import Drawn
from verifier.config import SampleConfig
from verifier.decode import engine as engine_lib
from verifier.decode import memory
from verifier.decode.annotations import Calculator
from verifier.decode.growing import Growing
from verifier.model import cache

SEED = 5
CONFIG = SampleConfig(temperature=0.7, max_new_tokens=40, rows=6)
PROMPTS = sorted(engine_test.PROMPTS, key=lambda prompt: (-len(prompt.tokens), prompt.problem_id))


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WINDOW", 8)
    monkeypatch.setattr(memory, "FEWEST_PAGES", 12)


def growing_of(
    config: SampleConfig, samples: int, step_end: str = " ", pages: int | None = None
) -> Growing:
    model, tokenizer = engine_test.nudged()
    engine = engine_lib.Engine(model, tokenizer, config, SEED)
    calculator = Calculator(tokenizer, on=config.calculator, step_end=step_end)
    writer = dataclasses.replace(engine.writer, calculator=calculator)
    sizes = engine.plan(PROMPTS, samples)
    if pages is not None:
        sizes = dataclasses.replace(sizes, pages=(pages,))
    return Growing(writer, sizes, PROMPTS)


def drawn_at_once(config: SampleConfig, samples: int) -> dict[tuple[str, int], list[int]]:
    model, tokenizer = engine_test.nudged()
    engine = engine_lib.Engine(model, tokenizer, config, SEED)
    return {
        (each.problem_id, each.sample_id): each.tokens
        for group in engine.run(PROMPTS, samples)
        for each in group
    }


def in_pieces(
    growing: Growing, samples: int, piece: int | None, together: bool
) -> dict[tuple[str, int], list[int]]:
    """All solutions, each piece asked for when the one before has come.

    together: whether samples that wrote alike go on as one branch, or each as its own.
    """
    _, tokenizer = engine_test.nudged()
    most = CONFIG.max_new_tokens
    ended = {}

    def ask(branch, ids, written=0) -> None:
        limit = most if piece is None else min(most, written + piece)
        for each in [ids] if together else [[sample] for sample in ids]:
            growing.extend(branch, each, limit, piece is None)

    for problem in range(len(PROMPTS)):
        ask(growing.root(problem), list(range(samples)))
    left = dict.fromkeys(range(len(PROMPTS)), samples)
    for grown in growing.run():
        over = grown.tokens[-1] == tokenizer.end_id or len(grown.tokens) == most
        if not over:
            ask(grown.branch, grown.samples, len(grown.tokens))
        growing.drop(grown.branch)
        if over:
            for sample in grown.samples:
                ended[PROMPTS[grown.problem].problem_id, sample] = grown.tokens
            left[grown.problem] -= len(grown.samples)
            if not left[grown.problem]:
                growing.close(grown.problem)
    return ended


def assert_same(here, there, config: SampleConfig) -> None:
    model, tokenizer = engine_test.nudged()
    prompts = {prompt.problem_id: prompt.tokens for prompt in PROMPTS}
    Drawn(model, tokenizer.vocab_size, prompts, SEED, config).parted(here, there)


@pytest.mark.parametrize(
    "piece, together, temperature",
    [(None, False, 0.12), (3, True, 0.12)],
)
def test_in_pieces_as_in_one_go(piece: int | None, together: bool, temperature: float) -> None:
    config = dataclasses.replace(CONFIG, temperature=temperature)
    whole = drawn_at_once(config, 7)
    growing = growing_of(config, 7)
    assert_same(in_pieces(growing, 7, piece, together), whole, config)


def test_memory_that_is_short_costs_time_alone() -> None:
    config = dataclasses.replace(CONFIG, temperature=0.12)
    whole = drawn_at_once(config, 7)
    roomy, short = growing_of(config, 7), growing_of(config, 7, pages=12)
    assert_same(in_pieces(roomy, 7, None, True), whole, config)
    assert_same(in_pieces(short, 7, None, True), whole, config)
    assert short.counts.read_again >= roomy.counts.read_again


def test_what_is_behind_a_branch_is_read_from_its_pages() -> None:
    """Of a branch that goes on, at most one token is read a second time."""
    config = dataclasses.replace(CONFIG, temperature=0.12)
    growing = growing_of(config, 4)
    asked = 0
    growing.extend(growing.root(0), range(4), 12, False)
    for grown in growing.run():
        if len(grown.tokens) < 30 and grown.tokens[-1] != engine_test.nudged()[1].end_id:
            asked += 1
            growing.extend(grown.branch, grown.samples, len(grown.tokens) + 12, False)
        growing.drop(grown.branch)
    assert asked >= 2
    # branches that parted in the middle of a page read that page again
    assert growing.counts.read_again <= asked + 8 * 4


def test_a_closed_problem_holds_no_page() -> None:
    growing = growing_of(CONFIG, 4)
    in_pieces(growing, 4, 5, True)
    rows = growing._running.rows_of(0)
    rows.flush()
    assert not rows.held_A.any() and not rows.parked
    assert (rows.prompt_B == -1).all()


@pytest.mark.parametrize("samples, limit", [([], 10), ([0], 0), ([0], 41)])
def test_what_cannot_be_asked_is_refused(samples: list[int], limit: int) -> None:
    growing = growing_of(CONFIG, 4)
    with pytest.raises(ValueError, match="expected"):
        growing.extend(growing.root(0), samples, limit, True)


def test_logprobs_are_those_of_one_go() -> None:
    config = dataclasses.replace(CONFIG, temperature=0.12)
    model, tokenizer = engine_test.nudged()
    engine = engine_lib.Engine(model, tokenizer, config, SEED)
    whole = {
        (each.problem_id, each.sample_id): each
        for group in engine.run(PROMPTS, 4)
        for each in group
    }
    growing = growing_of(config, 4)
    growing.extend(growing.root(1), range(4), 6, False)
    for grown in growing.run():
        if len(grown.tokens) == 6:
            growing.extend(grown.branch, grown.samples, 40, False)
            continue
        for sample in grown.samples:
            there = whole[PROMPTS[1].problem_id, sample]
            if there.tokens == grown.tokens:
                np.testing.assert_allclose(grown.logprobs, there.logprobs, atol=1e-4)
                assert grown.forced == there.forced and grown.errors == there.calculator_errors
