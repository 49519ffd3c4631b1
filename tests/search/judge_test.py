"""RAIN with real models: what a judge reads from kept keys is what it reads of the whole text."""

from __future__ import annotations

import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from tests.decode import engine_test
from tests.decode.engine_test import small_windows  # noqa: F401
from tests.decode.jobs import (
    PROMPTS,
    engine_of,
)
from tests.search.driver_test import judge as verifier
from verifier.config import RainConfig, SampleConfig
from verifier.decode.engine import Engine
from verifier.errors import ConfigError
from verifier.search import judge_prompts, rain, scorers
from verifier.search.judge import Judge, by_itself
from verifier.search.session import Session
from verifier.search.tree import walk

pytestmark = pytest.mark.usefixtures("few_programs")

SEED = 3
CONFIG = SampleConfig(temperature=1.0, top_k=8, max_new_tokens=8, rows=8)
KNOBS = RainConfig(T=5, min_lookaheads=2, T_m=2, candidates=4, set_tokens=(1, 2), clause_tokens=4)
TWO = PROMPTS[:2]
QUESTION = judge_prompts.JudgePrompt("{prompt}=", "? 1 or 2: ", "? 2 or 1: ")


def searched(judge: Judge, scorer: scorers.Scorer, engine: Engine, knobs: RainConfig = KNOBS):
    session = Session(engine, judge, TWO, 8, [" ", "="])

    def method(root):
        return rain.search(root, knobs, rain.by_hidden)

    return {TWO[each.problem].problem_id: each for each in session.run(TWO, method, scorer)}


def whole(model, tokens: list[int]) -> np.ndarray:
    """Values of a text read from its beginning, padded to one length."""
    padded = jnp.array([tokens + [0] * (96 - len(tokens))])
    positions, ends = jnp.arange(96)[None], jnp.full((1, 96), 96)
    hidden = model.backbone.hidden(padded, positions, ends)
    return np.asarray(model.values(hidden))[0, : len(tokens)]


def test_the_verifier_s_values_are_those_of_the_whole_text() -> None:
    judge = Judge(verifier(), "mse", with_hidden=True)
    found = searched(judge, scorers.by_value(), engine_of(CONFIG, SEED))
    for prompt in TWO:
        one = found[prompt.problem_id]
        (end,) = one.nodes
        assert end.finish and all(node.kept for node in end.way())
        values = end.whole(lambda node: node.values)
        np.testing.assert_allclose(
            values, whole(verifier(), [*prompt.tokens, *end.written()])[-len(values) :], atol=1e-4
        )
        assert one.cost.tokens_scored < one.cost.model_calls * len(prompt.tokens)
        assert all(node.visits for node in walk(one.root))


def test_a_problem_alone_is_searched_as_beside_others() -> None:
    judge = Judge(verifier(), "mse", with_hidden=True)
    session = Session(engine_of(CONFIG, SEED), judge, TWO, 8, [" ", "="])

    def method(root):
        return rain.search(root, KNOBS, rain.by_hidden)

    scorer = scorers.by_value()
    together = [each for each in session.run(TWO, method, scorer) if each.problem == 1]
    alone = list(session.run(TWO[1:], method, scorer))
    assert together[0].nodes[0].written() == alone[0].nodes[0].written()


def test_a_generator_that_judges_itself_is_asked_behind_the_whole_text() -> None:
    model, tokenizer = verifier().backbone, engine_test.nudged()[1]
    asked = {prompt.problem_id: "12" for prompt in TWO}
    judge = by_itself(model, tokenizer, letters("1", "2"), asked, True)
    engine = Engine(model, tokenizer, CONFIG, SEED)
    found = searched(judge, scorers.by_choice(), engine, dataclasses.replace(KNOBS, V=1.0))
    for one in found.values():
        (end,) = one.nodes
        root = QUESTION.root("12", tokenizer)
        for probe, read in zip(judge.probes, end.probed, strict=True):
            text = [*root, *end.written(), *probe]
            assert read == pytest.approx(float(whole(judge.model, text)[-1]), abs=1e-3)
        assert end.score in (0, 0.5, 1)


def letters(one: str, other: str) -> judge_prompts.JudgePrompt:
    """The question with answers that a small vocabulary has."""

    class Asked(judge_prompts.JudgePrompt):
        def letters(self, tokenizer):
            return tokenizer.encode(one)[-1], tokenizer.encode(other)[-1]

    return Asked(*QUESTION)


@pytest.mark.parametrize("name", judge_prompts.OWN)
def test_own_questions_offer_both_orders(name: str) -> None:
    question = judge_prompts.load(name)
    assert question.one != question.swapped
    assert sorted(question.one.split()) == sorted(question.swapped.split())
    assert question.one.endswith("(") and question.before.count("{prompt}") == 1
    filled = question.before + question.one + question.swapped
    assert "{text}" not in filled and "{A}" not in filled


@pytest.mark.parametrize(
    "text, said",
    [
        ("good = 'a'\ntext = '{prompt}{text}{A}{B}('", "lacks bad"),
        ("good = 'a'\nbad = 'b'\ntext = '{prompt}{text}{A}('", "{B} not once"),
        ("good = 'a'\nbad = 'b'\ntext = '{text}{prompt}{A}{B}('", "{prompt} not once where"),
        ("good = 'a'\nbad = 'b'\ntext = '{prompt}{A}{B}{text}('", "{A}, {B} not once where"),
        ("good = 'a'\nbad = 'a'\ntext = '{prompt}{text}{A}{B}('", "the same text"),
        ("good = ", "no TOML"),
    ],
)
def test_a_question_that_is_none_is_refused(text: str, said: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        judge_prompts.load(str(path))
    with pytest.raises(ConfigError, match="harmless, positive, correct"):
        judge_prompts.load(str(tmp_path / "none.toml"))


def test_answers_of_several_tokens_are_refused() -> None:
    _, tokenizer = engine_test.nudged()
    question = judge_prompts.JudgePrompt("{prompt}", "behind", "behind")
    answered = tokenizer.encode("behindA")
    if len(answered) == len(tokenizer.encode("behind")) + 1:
        assert question.letters(tokenizer)[0] == answered[-1]
    else:
        with pytest.raises(ConfigError, match="single token"):
            question.letters(tokenizer)
