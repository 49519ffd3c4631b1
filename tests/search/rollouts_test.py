"""Rollouts from the ends of steps: as many as asked of each place, and of nothing else's making."""

from __future__ import annotations

import dataclasses
import functools

import pytest

from tests.decode import engine_test
from tests.decode.engine_test import small_windows  # noqa: F401
from tests.decode.jobs import (
    PROMPTS,
    drawn_at_once,
    engine_of,
)
from verifier.config import SampleConfig
from verifier.decode import lanes
from verifier.decode.annotations import step_ends
from verifier.decode.growing import Growing
from verifier.model import sampling
from verifier.search import rollouts
from verifier.search.rollouts import Solution

pytestmark = pytest.mark.usefixtures("few_programs")

SEED, NUMBER = 3, 3
CONFIG = SampleConfig(temperature=0.9, max_new_tokens=40, rows=6)


@functools.cache
def drawn() -> list[list[Solution]]:
    """Four solutions of each prompt, with steps that end with a blank."""
    _, tokenizer = engine_test.nudged()
    by_problem: dict[str, list[Solution]] = {prompt.problem_id: [] for prompt in PROMPTS}
    for (name, _), each in drawn_at_once(CONFIG, 4, SEED).items():
        ends = step_ends(each.tokens, tokenizer, " ")
        by_problem[name].append(Solution(each.tokens, each.forced, ends[:-1]))
    return list(by_problem.values())


def completed(solutions, prompts=PROMPTS, rows: int = 6):
    engine = engine_of(dataclasses.replace(CONFIG, rows=rows), SEED)
    sizes = engine.plan(prompts, NUMBER)
    growing = Growing(engine.writer, sizes, prompts)
    limit = CONFIG.max_new_tokens
    found = dict(rollouts.completions(growing, solutions, NUMBER, limit, sizes.prompts))
    return found, growing.counts


@functools.cache
def all_completed():
    """Rollouts of all solutions."""
    return completed(drawn())


def test_every_place_has_its_rollouts_and_is_read_once() -> None:
    solutions = drawn()
    found, counts = all_completed()
    assert set(found) == set(range(len(PROMPTS)))
    places = 0
    for index, of_problem in enumerate(solutions):
        wanted = {tuple(one.tokens[: end + 1]) for one in of_problem for end in one.ends}
        assert found[index].keys() == wanted
        places += len(wanted)
        for prefix, whole in found[index].items():
            assert len(whole) == NUMBER
            assert all(tuple(tokens[: len(prefix)]) == prefix for tokens in whole)
            assert all(len(tokens) > len(prefix) for tokens in whole)
    assert places > 10
    # what a rollout or a step goes on from is read from pages, but for a last token, or a page that
    # was given up or is not full where samples part in it
    assert counts.read_again <= places * (1 + NUMBER * 8)


def test_a_place_does_not_mind_what_else_is_rolled_out() -> None:
    solutions = drawn()
    together, _ = all_completed()
    index = next(i for i, of_problem in enumerate(solutions) if len(of_problem[0].ends) > 1)
    alone, _ = completed([solutions[index][:1]], [PROMPTS[index]], rows=20)
    differ = [
        prefix
        for prefix, whole in alone[0].items()
        if sorted(whole) != sorted(together[index][prefix])
    ]
    assert alone[0] and len(differ) <= 1, "more than a near tie"


def test_rollouts_are_those_of_their_own_numbers() -> None:
    """The first token of each, drawn by a plain forward pass over prompt and prefix."""
    found, _ = all_completed()
    checked = near = 0
    for index, of_problem in found.items():
        prompt = PROMPTS[index]
        for prefix, whole in list(of_problem.items())[:4]:
            first, place = lanes.first_of(prefix, NUMBER + 1) + 1, len(prefix)
            firsts = []
            for sample in range(first, first + NUMBER):
                key = sampling.sample_key(SEED, prompt.problem_id, sample)
                text = [*prompt.tokens, *prefix]
                token, _ = engine_test.naive_reader()(text, key, place, CONFIG.temperature)
                firsts.append(int(token))
            checked += 1
            near += sorted(firsts) != sorted(tokens[len(prefix)] for tokens in whole)
    assert checked > 8 and near <= 1


def test_no_two_places_share_a_number() -> None:
    ids: set[int] = set()
    for length in range(1, 40):
        for last in range(20):
            first = lanes.first_of((*range(length), last), NUMBER + 1)
            own = set(range(first, first + NUMBER + 1))
            assert not own & ids
            ids |= own


def test_steps_end_with_their_text_and_the_last_with_the_solution() -> None:
    _, tokenizer = engine_test.nudged()
    tokens = tokenizer.encode("a b =1 c")
    ends = step_ends(tokens, tokenizer, " ")
    assert ends[-1] == len(tokens) - 1
    assert [tokenizer.decode(tokens[: end + 1]) for end in ends] == [
        "a ",
        "a b =",
        "a b =1 ",
        "a b =1 c",
    ]
    assert step_ends(tokens, tokenizer, "b ") == [3, len(tokens) - 1]
