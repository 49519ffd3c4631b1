"""A verifier in somebody's own program: the numbers of the stage, whatever the company, and clear
words for what cannot be scored.
"""

from __future__ import annotations

import dataclasses
import warnings

import jax
import numpy as np
import pytest
from flax import nnx

from tests.hf.families import hidden
from verifier import api, errors
from verifier.config import ScoreConfig
from verifier.decode import score, score_rows
from verifier.model.arch import Arch
from verifier.model.heads import ReservedLogitHead, Verifier
from verifier.model.transformer import Transformer
from verifier.run import model_folder
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.problem import Template

TOKENIZER = ByteTokenizer()
ARCH = Arch(
    TOKENIZER.reserved_id + 1,
    layers=2,
    width=32,
    heads=4,
    kv_heads=2,
    head_width=8,
    mlp_width=64,
    context=96,
)
TEMPLATE = Template(prompt="Q: {question}\nA: ")
ASKED = [
    ("How many legs have 3 cats?", ["3*4=12\n#### 12", "7", "3+4=7\n#### 7"]),
    ("1+1?", ["#### 2"]),
    ("2+2?", ["#### 5", "#### 4"]),
]


def model() -> Verifier:
    made = Verifier(
        Transformer(ARCH, rngs=nnx.Rngs(0)),
        ReservedLogitHead(TOKENIZER.reserved_id, initial_bias=0.3),
    )
    made.backbone.embed[...] = 20 * made.backbone.embed[...]  # else all values are much the same
    return made


def save(folder, value_loss="mse", dtype="float32", **more):
    facts = {
        "settings": {"verify.value_loss": value_loss, "model.dtype": dtype},
        "template": dataclasses.asdict(TEMPLATE),
    } | more
    model_folder.save(
        folder, model(), TOKENIZER, {name: fact for name, fact in facts.items() if fact is not None}
    )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("run") / "verifier")


@pytest.fixture(scope="module")
def loaded(folder):
    return api.load(folder)


def naive(question: str, solution: str) -> np.ndarray:
    """The values after a solution's tokens, of one row read from its start."""
    prompt = TOKENIZER.encode(f"Q: {question}\nA: ")
    made, tokens = model(), [*prompt, *TOKENIZER.encode(solution), TOKENIZER.end_id]
    # Later tokens change nothing, and all rows are one program.
    row = tokens + [0] * (ARCH.context - len(tokens))
    return np.asarray(made.values(hidden(made.backbone, [row]))[0, len(prompt) : len(tokens)])


def test_values_equal_those_of_a_plain_reading(loaded):
    question, solutions = ASKED[0]
    scored = loaded.score(question, solutions)
    for solution, each in zip(solutions, scored, strict=True):
        assert each.tokens == [*TOKENIZER.encode(solution), TOKENIZER.end_id]
        np.testing.assert_allclose(each.token_values, naive(question, solution), atol=1e-4)
        assert each.score == each.token_values[-1]
    assert np.std([each.score for each in scored]) > 1e-3


def test_many_problems_are_the_numbers_of_score_samples_in_the_order_asked(loaded):
    scored = loaded.score_many(ASKED)
    assert [len(each) for each in scored] == [3, 1, 2]
    problems = [
        score_rows.Solutions(
            question,
            TOKENIZER.encode(f"Q: {question}\nA: "),
            range(len(given)),
            [[*TOKENIZER.encode(s), 256] for s in given],
        )
        for question, given in ASKED
    ]
    for rows in score.score_samples(model(), problems, ScoreConfig(rows=3), "", "mse"):
        question = rows[0]["problem_id"]
        mine = scored[[question for question, _ in ASKED].index(question)]
        for row, each in zip(rows, mine, strict=True):
            np.testing.assert_allclose(each.token_values, row["token_scores"], atol=1e-5)
    alone = [loaded.score(*each) for each in ASKED]
    for one, other in zip(sum(alone, []), sum(scored, []), strict=True):
        np.testing.assert_allclose(one.token_values, other.token_values, atol=1e-5)


def test_token_ids_are_read_as_they_are_and_a_text_may_go_on(loaded):
    question, (solution, *_) = ASKED[0]
    ids = TOKENIZER.encode(solution)
    text, cut, tokens = (
        loaded.score(question, [solution]),
        loaded.score(question, [solution], ended=False),
        loaded.score(question, [ids]),
    )
    assert cut[0].tokens == tokens[0].tokens == ids
    np.testing.assert_allclose(cut[0].token_values, text[0].token_values[:-1], atol=1e-5)
    np.testing.assert_allclose(tokens[0].token_values, cut[0].token_values, atol=1e-6)


def test_each_solution_may_have_ended_or_not(loaded):
    question, solutions = ASKED[0]
    which = [True, False, True]
    mixed = loaded.score(question, solutions, ended=which)
    (again, other) = loaded.score_many([ASKED[0], ASKED[1]], ended=[which, False])
    assert other[0].tokens == TOKENIZER.encode(ASKED[1][1][0])
    for solution, ended, one, two in zip(solutions, which, mixed, again, strict=True):
        alone = loaded.score(question, [solution], ended=ended)[0]
        assert (
            one.tokens
            == two.tokens
            == alone.tokens
            == [*TOKENIZER.encode(solution), *[TOKENIZER.end_id] * ended]
        )
        np.testing.assert_allclose(one.token_values, alone.token_values, atol=1e-5)
    best = loaded.best(question, solutions, ended=which)
    assert best.score == pytest.approx(max(each.score for each in mixed))
    for wrong in (which[:2], []):
        with pytest.raises(
            api.ApiError, match=rf"ended has {len(wrong)} entries for 3 problems or solutions"
        ):
            loaded.score(question, solutions, ended=wrong)


def test_a_text_that_is_read_as_another_one_is_warned_of(loaded, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded.score(*ASKED[0])
    monkeypatch.setattr(TOKENIZER.__class__, "decode", lambda self, ids: "7 ")
    with pytest.warns(
        UserWarning,
        match=(
            r"question '1\+1\?': solution 1 is '7', but the verifier's tokenizer reads it as "
            r"'7 '"
        ),
    ):
        loaded.score("1+1?", [TOKENIZER.encode("8"), "7"])


def test_the_best_has_the_highest_score_and_is_the_first_of_equals(loaded):
    question, solutions = ASKED[0]
    scores = [each.score for each in loaded.score(question, solutions)]
    best = loaded.best(question, solutions)
    assert (
        best.place == int(np.argmax(scores))
        and best.solution == solutions[best.place]
        and best.score == pytest.approx(max(scores))
    )
    assert loaded.best(question, [best.solution] * 3).place == 0


def test_logits_come_as_probabilities(tmp_path, loaded):
    squashed = api.load(save(tmp_path / "verifier", "bce"))
    for one, other in zip(loaded.score(*ASKED[0]), squashed.score(*ASKED[0]), strict=True):
        np.testing.assert_allclose(
            jax.nn.sigmoid(np.array(one.token_values)), other.token_values, atol=1e-5
        )


def test_the_dtype_is_the_runs_own_unless_another_is_given(tmp_path, folder, loaded):
    half = save(tmp_path / "verifier", dtype="bfloat16")

    def values(each):
        return each.score(*ASKED[0])[0].token_values

    assert values(api.load(half)) == values(api.load(folder, dtype="bfloat16")) != values(loaded)
    assert values(api.load(half, dtype="float32")) == values(loaded)


def test_the_template_is_the_folders_own_unless_another_is_given(tmp_path, folder, loaded):
    assert loaded.template == TEMPLATE
    other = api.load(folder, template=Template())
    assert abs(other.score(*ASKED[0])[0].score - loaded.score(*ASKED[0])[0].score) > 1e-4
    old = save(tmp_path / "verifier", template=None)
    with pytest.raises(
        api.ApiError, match=r"does not tell how problems were put .* load\(\.\.\., template="
    ):
        api.load(old)
    given = api.load(old, template=TEMPLATE)
    np.testing.assert_allclose(
        given.score(*ASKED[0])[0].token_values, loaded.score(*ASKED[0])[0].token_values, atol=1e-6
    )


@pytest.mark.parametrize(
    ("question", "solutions", "message"),
    [
        ("  ", ["1"], "question '  ' is empty"),
        ("1+1?", [], r"question '1\+1\?' has the solutions \[\]: give a list of at least one"),
        ("1+1?", "2", r"question '1\+1\?' has the solutions '2': give a list"),
        ("1+1?", ["2", ""], "solution 1 is empty"),
        ("1+1?", [[]], "solution 0 is empty"),
        (
            "1+1?",
            ["2", [50, 257]],
            "solution 1 has the token 257, but the verifier's tokens are 0 to 256",
        ),
        ("1+1?", [[-1, 50]], "solution 0 has the token -1, but"),
        (
            "1+1?",
            ["2", "2" * 85],
            r"solution 1 is too long: 11 \+ 86 tokens with the question, but the model's "
            r"context is 96",
        ),
    ],
)
def test_what_cannot_be_scored_is_named(loaded, question, solutions, message):
    with pytest.raises(api.ApiError, match=message):
        loaded.score(question, solutions)
    with pytest.raises(api.ApiError, match=message):
        loaded.score_many([ASKED[0], (question, solutions)])
    with pytest.raises(api.ApiError, match="nothing to score"):
        loaded.score_many([])


def test_the_longest_that_fits_is_scored(loaded):
    assert len(loaded.score("1+1?", ["2" * 84])[0].token_values) == 85


def test_a_folder_that_is_no_verifier_is_named_with_the_way_out(tmp_path, folder):
    model_folder.save(tmp_path / "generator", model().backbone, TOKENIZER, {"settings": {}})
    with pytest.raises(
        api.ApiError,
        match=(
            "generator holds a generator, which has no value head: give the folder `verifier` "
            "beside it"
        ),
    ):
        api.load(tmp_path / "generator")
    assert api.load(folder.parent).id == api.load(folder).id, "a whole run: its verifier"
    with pytest.raises(errors.WorkdirError, match="verifier is not there or not finished"):
        api.load(tmp_path)
    with pytest.raises(errors.WorkdirError, match="run the stage 'verify' first"):
        api.load(tmp_path / "nothing")
