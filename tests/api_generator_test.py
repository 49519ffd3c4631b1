"""A generator in somebody's own program: what it draws and finds are the run's own, and clear words
for what cannot be asked of it.
"""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from tests.shrunk import rows
from verifier import api
from verifier.decode.annotations import step_ends
from verifier.errors import ConfigError, WorkdirError

pytestmark = pytest.mark.usefixtures("few_programs")

SMALL = ("search.branching=2",)


@pytest.fixture(scope="module")
def root(finished) -> pathlib.Path:
    return finished[0]


@pytest.fixture(scope="module")
def generator(root: pathlib.Path) -> api.LoadedGenerator:
    return api.load_generator(root)


@pytest.fixture(scope="module")
def verifier(root: pathlib.Path) -> api.LoadedVerifier:
    return api.load(root)


@pytest.fixture(scope="module")
def questions(root: pathlib.Path) -> dict[str, str]:
    """By problem, as the run's test problems are."""
    table = rows(root / "tables/problems/split=test")
    return {row["problem_id"]: row["question"] for row in table}


def test_what_is_drawn_are_the_samples_of_the_run(generator, root, questions) -> None:
    names = list(questions)[::-1]  # in another order than the run had them
    asked = [questions[name] for name in names]
    drawn = generator.generate([*asked, f" {asked[0]}  "], samples=4)
    assert drawn[-1] == drawn[0], "the same question, but for spaces"
    stored = {
        (row["problem_id"], row["sample_id"]): row
        for row in rows(root / "tables/samples/split=test")
    }
    differ = 0
    for name, of_question in zip(names, drawn, strict=False):
        assert len(of_question) == 4
        for number, each in enumerate(of_question):
            row = stored[name, number]
            differ += each.tokens != row["tokens"]
            if each.tokens == row["tokens"]:
                assert each.solution == row["solution"] and each.forced == row["forced"]
                assert each.ended == (row["finish"] == "eos")
                np.testing.assert_allclose(each.logprobs, row["logprobs"], atol=1e-4)
    assert differ <= 1, "more than a near tie"
    other = generator.generate(asked, samples=4, knobs=["seed=5"])
    assert [each.tokens for each in other[0]] != [each.tokens for each in drawn[0]]


def test_a_search_ends_with_the_best_that_it_tried(generator, verifier, questions) -> None:
    asked = list(questions.values())[:4]
    drawn = generator.generate(asked, samples=4)
    plain = generator.search(asked, verifier, method="sample", budget=4, knobs=SMALL)
    beams = generator.search(asked, verifier, method="beam", budget=4, knobs=SMALL)
    everything = [
        (question, [each.tokens for each in (*of_question, best, beam)])
        for question, of_question, best, beam in zip(asked, drawn, plain, beams, strict=True)
    ]
    near = 0
    for scored, best, beam in zip(verifier.score_many(everything), plain, beams, strict=True):
        near += abs(max(each.score for each in scored[:4]) - best.score) > 1e-4
        for found, again in ((best, scored[4]), (beam, scored[5])):
            assert found.score == pytest.approx(again.score, abs=1e-4)
            ways = [""] * len(found.tree)
            for place, node in enumerate(found.tree):
                assert node.parent < place
                ways[place] = (ways[node.parent] if node.parent >= 0 else "") + node.text
            kept = [way for way, node in zip(ways, found.tree, strict=True) if node.kept]
            assert found.solution in kept
            assert found.tokens_generated >= found.prefixes_generated > 0
            assert found.tokens_scored > 0 and found.model_calls > 0
    assert near <= 1, "more than a near tie"


def test_without_a_verifier_the_generator_s_own_chance_may_score(generator, questions) -> None:
    asked = list(questions.values())[:4]
    knobs = [*SMALL, "search.scorer=logprob"]
    for found in generator.search(asked, method="sample", budget=4, knobs=knobs):
        assert found.score <= 0 and found.tokens_scored == 0
    with pytest.raises(api.ApiError, match=r"method=beam goes by the values of a verifier"):
        generator.search(asked, method="beam", budget=4, knobs=SMALL)


def test_steps_end_where_searches_find_their_ends(generator, verifier, questions) -> None:
    question = next(iter(questions.values()))
    solutions = ["2+3=5\nso it is\n#### 5", "#### 7", "one\n\ntwo\n"]
    scored = verifier.score(question, solutions)
    for solution, whole, steps in zip(
        solutions, scored, verifier.score_steps(question, solutions), strict=True
    ):
        assert "".join(step.text for step in steps) == solution
        assert [step.end for step in steps] == step_ends(whole.tokens, verifier.tokenizer, "\n")
        np.testing.assert_allclose(
            [step.value for step in steps],
            [whole.token_values[step.end] for step in steps],
            atol=1e-6,
        )
        assert steps[-1].value == pytest.approx(whole.score, abs=1e-6)
    (lines,) = verifier.score_steps(question, solutions[:1])
    assert [step.text for step in lines] == ["2+3=5\n", "so it is\n", "#### 5"]
    (words,) = verifier.score_steps(question, solutions[:1], step_end=" ")
    assert "".join(step.text for step in words) == solutions[0] and len(words) == 4
    assert all(" " in step.text for step in words[:-1])  # within the token that ends it
    with pytest.raises(api.ApiError, match="step_end is empty"):
        verifier.score_steps(question, solutions, step_end="")


def test_a_folder_that_is_no_generator_is_named(root, tmp_path) -> None:
    assert api.load_generator(root / "generator").config == api.load_generator(root).config
    with pytest.raises(api.ApiError, match="holds a verifier, which writes nothing"):
        api.load_generator(root / "verifier")
    with pytest.raises(WorkdirError, match="run the stage 'finetune' first"):
        api.load_generator(tmp_path)


def test_another_generator_s_verifier_is_refused(generator, root, questions) -> None:
    other = api.load(root)
    other.manifest = other.manifest | {"trained_on": "another", "generator": "another"}
    with pytest.raises(WorkdirError, match="trained on samples of generator another"):
        generator.search(list(questions.values()), other, budget=4, knobs=SMALL)


@pytest.mark.parametrize(
    "asked, how, error, said",
    [
        ([], {}, api.ApiError, r"the questions are \[\]"),
        ("1+1?", {}, api.ApiError, "the questions are '1"),
        (["1+1?", " "], {}, api.ApiError, "question ' ' is empty"),
        (["1+1?" * 500], {}, api.ApiError, r"is too long: \d+ tokens, .* leaves \d+ beside"),
        (["1+1?"], {"method": "bean"}, ConfigError, "expected one of sample, beam, dvts"),
        (["1+1?"], {"budget": 3}, ConfigError, "3 candidates cannot be shared out"),
        (["1+1?"], {"knobs": ["search.step=3"]}, ConfigError, "no knob 'search.step'"),
    ],
)
def test_what_cannot_be_asked_is_named(generator, verifier, asked, how, error, said) -> None:
    with pytest.raises(error, match=said):
        generator.search(asked, verifier, **{"budget": 4, "knobs": SMALL} | how)
    if not how:
        with pytest.raises(error, match=said):
            generator.generate(asked)
    with pytest.raises(api.ApiError, match="samples=0: expected at least 1"):
        generator.generate(asked, 0)
