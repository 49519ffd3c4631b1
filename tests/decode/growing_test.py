"""Branches that others ask for: step by step they come to what the engine draws in one go."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from tests.decode import engine_test
from tests.decode.engine_test import small_windows  # noqa: F401
from tests.decode.jobs import (
    PROMPTS,
    assert_same,
    drawn_at_once,
    engine_of,
    tokens_of,
)
from verifier.config import SampleConfig
from verifier.decode.annotations import Calculator
from verifier.decode.growing import Growing
from verifier.decode.lanes import GREEDY, ranked

pytestmark = pytest.mark.usefixtures("few_programs")

SEED = 5
SAMPLES = 7  # in all tests, so that they share programs
CONFIG = SampleConfig(temperature=0.7, max_new_tokens=40, rows=6)


def growing_of(config: SampleConfig, pages: int | None = None) -> Growing:
    engine = engine_of(config, SEED)
    tokenizer = engine.writer.tokenizer
    calculator = Calculator(tokenizer, on=config.calculator, step_ends=[" "])
    writer = dataclasses.replace(engine.writer, calculator=calculator)
    sizes = engine.plan(PROMPTS, SAMPLES)
    if pages is not None:
        sizes = dataclasses.replace(sizes, pages=(pages,))
    return Growing(writer, sizes, PROMPTS)


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


@pytest.mark.parametrize(
    "piece, together, temperature",
    [(None, False, 0.12), (3, True, 0.12), (9, False, 0.7)],
)
def test_in_pieces_as_in_one_go(piece: int | None, together: bool, temperature: float) -> None:
    config = dataclasses.replace(CONFIG, temperature=temperature)
    whole = tokens_of(drawn_at_once(config, SAMPLES, SEED))
    growing = growing_of(config)
    assert_same(in_pieces(growing, SAMPLES, piece, together), whole, config, SEED)


def test_memory_that_is_short_costs_time_alone() -> None:
    config = dataclasses.replace(CONFIG, temperature=0.12)
    whole = tokens_of(drawn_at_once(config, SAMPLES, SEED))
    roomy, short = growing_of(config), growing_of(config, pages=12)
    assert_same(in_pieces(roomy, SAMPLES, None, True), whole, config, SEED)
    assert_same(in_pieces(short, SAMPLES, None, True), whole, config, SEED)
    assert short.counts.read_again >= roomy.counts.read_again


def test_what_is_behind_a_branch_is_read_from_its_pages() -> None:
    """Of a branch that goes on, at most one token is read a second time."""
    config = dataclasses.replace(CONFIG, temperature=0.12)
    growing = growing_of(config)
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
    growing = growing_of(CONFIG)
    in_pieces(growing, 4, 5, True)
    rows = growing._running.rows_of(0)
    rows.flush()
    assert not rows.held_A.any() and not rows.parked
    assert (rows.prompt_B == -1).all()


@pytest.mark.parametrize("samples, limit", [([], 10), ([0], 0), ([0], 41)])
def test_what_cannot_be_asked_is_refused(samples: list[int], limit: int) -> None:
    growing = growing_of(CONFIG)
    with pytest.raises(ValueError, match="expected"):
        growing.extend(growing.root(0), samples, limit, True)


def test_logprobs_are_those_of_one_go() -> None:
    config = dataclasses.replace(CONFIG, temperature=0.12)
    whole = drawn_at_once(config, SAMPLES, SEED)
    growing = growing_of(config)
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


def test_steps_end_where_their_text_ends() -> None:
    growing = growing_of(CONFIG)
    _, tokenizer = engine_test.nudged()
    growing.extend(growing.root(0), range(5), CONFIG.max_new_tokens, True)
    for grown in growing.run():
        text = tokenizer.decode(grown.tokens)
        ended = len(grown.tokens) == CONFIG.max_new_tokens or grown.tokens[-1] == tokenizer.end_id
        assert ended or " " in tokenizer.token_text(grown.tokens[-1]), text
        assert " " not in tokenizer.decode(grown.tokens[:-1]), text


def test_who_asks_late_changes_nothing() -> None:
    """Problems one after the other, or all at once: the same tokens."""
    config = dataclasses.replace(CONFIG, temperature=0.12)
    whole = tokens_of(drawn_at_once(config, SAMPLES, SEED))
    growing = growing_of(config)
    found = {}
    for problem, prompt in enumerate(PROMPTS):
        growing.extend(growing.root(problem), range(SAMPLES), CONFIG.max_new_tokens, False)
        for grown in growing.run():
            found |= {(prompt.problem_id, sample): grown.tokens for sample in grown.samples}
        growing.close(problem)
    assert_same(found, whole, config, SEED)


def test_children_of_many_places_share_the_slots() -> None:
    """More branches than slots, from every node of three generations."""
    growing = growing_of(CONFIG)
    generation, seen = {}, 0
    ids = itertools.count(100)
    growing.extend(growing.root(2), [next(ids) for _ in range(6)], 5, False)
    for grown in growing.run():
        seen += len(grown.samples)
        if grown.tokens[-1] == engine_test.nudged()[1].end_id:
            continue
        depth = len(grown.tokens) // 5
        generation[depth] = generation.get(depth, 0) + 1
        if depth < 3:
            for _ in range(2):
                two = [next(ids), next(ids)]
                growing.extend(grown.branch, two, len(grown.tokens) + 5, False)
    assert generation[3] > 8


def test_ids_below_0_take_the_likeliest_beside_others_that_draw() -> None:
    """-1 comes to what temperature 0 does; -r take the r-th likeliest first token."""
    greedy = drawn_at_once(dataclasses.replace(CONFIG, temperature=0.0), 1, SEED)
    growing, prompt = growing_of(CONFIG), PROMPTS[1]
    growing.extend(growing.root(1), [GREEDY, 0, 1, 2, 3], CONFIG.max_new_tokens, False)
    found = {sample: each.tokens for each in growing.run() for sample in each.samples}
    assert found[GREEDY] == greedy[prompt.problem_id, 0].tokens
    assert_same(
        {(prompt.problem_id, each): found[each] for each in range(4)},
        {
            key: each
            for key, each in tokens_of(drawn_at_once(CONFIG, SAMPLES, SEED)).items()
            if key[0] == prompt.problem_id and key[1] < 4
        },
        CONFIG,
        SEED,
    )
    growing.extend(growing.root(1), [ranked(rank) for rank in range(1, 6)], 1, False)
    first = {each.samples[0]: (each.tokens[0], each.logprobs[0]) for each in growing.run()}
    logprobs = [first[-rank][1] for rank in range(1, 6)]
    assert logprobs == sorted(logprobs, reverse=True)
    assert first[-1][0] == greedy[prompt.problem_id, 0].tokens[0]
    assert len({token for token, _ in first.values()}) == 5


def test_ranks_are_of_one_token() -> None:
    growing = growing_of(CONFIG)
    with pytest.raises(ValueError, match="rank"):
        growing.extend(growing.root(0), [ranked(2)], 2, False)
    growing.extend(growing.root(0), [GREEDY, ranked(1, 3)], 2, False)
    assert len({tuple(each.tokens) for each in growing.run()}) == 1
