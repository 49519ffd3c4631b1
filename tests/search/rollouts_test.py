"""Rollouts from the ends of steps: as many as asked of each place, and of nothing else's making."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.decode import engine_test
from verifier.config import SampleConfig
from verifier.decode import engine as engine_lib
from verifier.decode import memory
from verifier.decode.annotations import step_ends
from verifier.decode.growing import Growing
from verifier.model import cache, sampling
from verifier.search import rollouts
from verifier.search.rollouts import Solution

SEED, NUMBER = 3, 3
CONFIG = SampleConfig(temperature=0.9, max_new_tokens=40, rows=6)
PROMPTS = sorted(engine_test.PROMPTS, key=lambda prompt: (-len(prompt.tokens), prompt.problem_id))


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WINDOW", 8)
    monkeypatch.setattr(memory, "FEWEST_PAGES", 12)


def drawn(config: SampleConfig = CONFIG, samples: int = 4) -> list[list[Solution]]:
    """Solutions of each prompt, with steps that end with a blank."""
    model, tokenizer = engine_test.nudged()
    engine = engine_lib.Engine(model, tokenizer, config, SEED)
    by_problem = {group[0].problem_id: group for group in engine.run(PROMPTS, samples)}
    return [
        [
            Solution(each.tokens, each.forced, step_ends(each.tokens, tokenizer, " ")[:-1])
            for each in by_problem[prompt.problem_id]
        ]
        for prompt in PROMPTS
    ]


def completed(solutions, prompts=PROMPTS, rows: int = 6):
    model, tokenizer = engine_test.nudged()
    engine = engine_lib.Engine(model, tokenizer, dataclasses.replace(CONFIG, rows=rows), SEED)
    sizes = engine.plan(prompts, NUMBER)
    growing = Growing(engine.writer, sizes, prompts)
    limit = CONFIG.max_new_tokens
    found = dict(rollouts.completions(growing, solutions, NUMBER, limit, sizes.prompts))
    return found, growing.counts


def test_every_place_has_its_rollouts_and_is_read_once() -> None:
    solutions = drawn()
    found, counts = completed(solutions)
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


def test_rollouts_are_those_of_their_own_numbers() -> None:
    """The first token of each, drawn by a plain forward pass over prompt and prefix."""
    model, tokenizer = engine_test.nudged()
    solutions = drawn()
    found, _ = completed(solutions)
    checked = near = 0
    for index, of_problem in found.items():
        prompt = PROMPTS[index]
        for prefix, whole in list(of_problem.items())[:4]:
            text = [*prompt.tokens, *prefix]
            hidden = model.hidden(np.array([text]), np.arange(len(text))[None], None)
            logits = np.asarray(model.logits(hidden[0, -1]))[None]
            first = rollouts._first_id(prefix, NUMBER) + 1
            firsts = []
            for sample in range(first, first + NUMBER):
                key = sampling.sample_key(SEED, prompt.problem_id, sample)
                uniform = sampling.uniforms(key[None], len(prefix))
                token, _ = sampling.draw(
                    logits, uniform, CONFIG.temperature, vocab_size=tokenizer.vocab_size
                )
                firsts.append(int(token[0]))
            checked += 1
            near += sorted(firsts) != sorted(tokens[len(prefix)] for tokens in whole)
    assert checked > 8 and near <= 1


def test_no_two_places_share_a_number() -> None:
    ids: set[int] = set()
    for length in range(1, 40):
        for last in range(20):
            first = rollouts._first_id((*range(length), last), NUMBER)
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
