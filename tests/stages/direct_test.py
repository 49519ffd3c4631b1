"""Answers at once, by a model that thinks and by its decoder, on a workdir made by hand."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from verifier import config as config_lib
from verifier.decode import answering
from verifier.errors import ConfigError
from verifier.evaluate import direct as figures
from verifier.model.arch import Arch
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer
from verifier.run import thinker_folder
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import direct, generators, problems, sample
from verifier.tables import store
from verifier.tables.results import GENERATOR
from verifier.text.split import TEST
from verifier.text.tokenizer import ByteTokenizer

TOKENIZER = ByteTokenizer()
GOLD = {"p0": "42", "p1": "-7", "p2": "1,000", "p3": "6"}
TOLD = {"thought_tokens": 3, "mixing": "hidden", "thought_source": "drawn", "ahead": 2}
CONFIG = config_lib.Config(
    direct=config_lib.DirectConfig(prompt="Q: {question}\nA:", max_new_tokens=4, thoughts=2),
    sample=config_lib.SampleConfig(test_samples=2, max_new_tokens=6, rows=4, greedy=False),
    report=config_lib.ReportConfig(resamples=50),
)


@functools.cache
def thinker() -> Thinker:
    arch = Arch(
        TOKENIZER.vocab_size + 1,
        layers=1,
        width=8,
        heads=2,
        kv_heads=1,
        head_width=4,
        mlp_width=8,
        context=64,
    )
    rngs = nnx.Rngs(0)
    made = Thinker(Transformer(arch, rngs=rngs), rngs=rngs)
    for part in (made.marks, made.backbone.embed, made.mixing.last.kernel):
        part[...] = 0.7 * jax.random.normal(rngs.params(), part.shape)
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A workdir with problems and a thinker."""
    root = tmp_path_factory.mktemp("run")
    thinker_folder.save(
        root / "generator", thinker(), TOKENIZER, {"settings": {}, "thoughts": TOLD}
    )
    table = store.TableWriter(root / "tables" / "problems" / "split=test", "problems", {})
    about = {"solution": None, "source": "made", "split": "test"}
    table.append(
        [
            {"problem_id": name, "question": f"{name}?", "answer": gold} | about
            for name, gold in GOLD.items()
        ]
    )
    table.finish({})
    return root


def run(root, place: str, every: str, make=None, **knobs):
    """Does a stage in a place of its own, and gives its rows and manifest."""
    config = dataclasses.replace(
        CONFIG,
        think=config_lib.ThinkConfig(every=every),
        direct=dataclasses.replace(CONFIG.direct, **knobs),
    )
    model = Stage(lambda _: None, makes=GENERATOR)
    asked = problems.stage(config)
    work = (make or direct.stage)(model, asked, [TEST], place)
    context = Context(config, root, work, [model, asked, work])
    work.do(context)
    folder = context.folder(TEST)
    rows = store.read_table(folder, work.makes.name).to_pylist()
    return rows, store.read_manifest(folder)


def naive_logprobs(name: str) -> np.ndarray:
    """Of an answer's digits and its line's end, among digits and line's ends alone."""
    text = TOKENIZER.encode(f"Q: {name}?\nA:"), TOKENIZER.encode(f" {GOLD[name]}\n")
    tokens_T = np.array([*TOKENIZER.start_ids, *text[0], *text[1]])
    hidden = thinker().backbone.hidden(tokens_T[None], jnp.arange(len(tokens_T))[None], None)
    logits_TV = np.asarray(thinker().backbone.logits(hidden[0]), np.float64)
    among = TOKENIZER.encode("0123456789\n")
    found = []
    for t in range(len(tokens_T) - len(text[1]), len(tokens_T)):
        if tokens_T[t] in among:
            chance = np.exp(logits_TV[t - 1])
            found.append(np.log(chance[tokens_T[t]] / chance[among].sum()))
    return np.array(found)


def test_a_decoder_is_asked_for_the_chance_of_digits_among_digits(root):
    rows, manifest = run(root, "plain", "none")
    assert sorted(row["problem_id"] for row in rows) == sorted(GOLD)  # no thoughts: once each
    for row in rows:
        expected = naive_logprobs(row["problem_id"])
        np.testing.assert_allclose(row["logprobs"], expected, atol=1e-4)
        assert row["soft"] == pytest.approx(np.exp(expected.sum()), rel=1e-3)
        assert "\n" not in row["answer"]
    mean = np.mean([row["soft"] for row in rows])
    assert manifest["figures"]["soft_accuracy"]["value"] == pytest.approx(mean, rel=1e-4)


def test_a_thinker_is_asked_with_thoughts_and_a_kill_changes_nothing(root, monkeypatch):
    whole, manifest = run(root, "thinks", "token")
    assert len(whole) == CONFIG.direct.thoughts * len(GOLD)
    plain, _ = run(root, "plain", "none")
    by_problem = {row["problem_id"]: row["soft"] for row in plain}
    for row in whole:
        assert abs(row["soft"] - by_problem[row["problem_id"]]) > 1e-6 * row["soft"]
    softs = {(row["problem_id"], row["sample_id"]): row["soft"] for row in whole}
    assert all(softs[name, 0] != softs[name, 1] for name in GOLD)
    append, left = store.TableWriter.append, iter(range(2))

    def dying(self, rows):
        if next(left, None) is None:
            raise KeyboardInterrupt
        append(self, rows)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store.TableWriter, "append", dying)
        run(root, "killed", "token", part_problems=1)
    again, other = run(root, "killed", "token", part_problems=1)
    key = ["problem_id", "sample_id"]
    for one, two in zip(
        *(sorted(rows, key=lambda r: [r[k] for k in key]) for rows in (whole, again)), strict=True
    ):
        assert one["answer"] == two["answer"]
        assert one["soft"] == pytest.approx(two["soft"], rel=1e-4)
    assert other["figures"]["exact_match"] == manifest["figures"]["exact_match"]


def test_the_stage_sample_draws_with_thoughts_where_it_is_asked_to(root):
    make = functools.partial(sample.stage, thinks=True)
    drawn = {}
    for every in ("token", "none"):
        rows, manifest = run(root, f"sample-{every}", every, lambda *a: make(*a[:3], place=a[3]))
        assert manifest["settings"]["think.every"] == every
        drawn[every] = {(r["problem_id"], r["sample_id"]): r["tokens"] for r in rows}
    assert len(drawn["token"]) == 2 * len(GOLD) and drawn["token"] != drawn["none"]
    # a stage that knows nothing of thoughts draws as the decoder does, with settings as ever
    rows, manifest = run(root, "sample", "token", lambda *a: sample.stage(*a[:3], place=a[3]))
    assert {(r["problem_id"], r["sample_id"]): r["tokens"] for r in rows} == drawn["none"]
    assert "think.every" not in manifest["settings"]


def test_what_cannot_think_or_answer_is_refused():
    assert generators.thinking_of({}, "token") is None
    assert generators.thinking_of({"thoughts": TOLD | {"thought_tokens": 0}}, "token") is None
    assert generators.thinking_of({"thoughts": TOLD}, "step").every == "step"
    with pytest.raises(ConfigError, match="quiet.thought_source=pause"):
        generators.thinking_of({"thoughts": TOLD | {"thought_source": "pause"}}, "token")
    letters = answering.ids_of("letters", TOKENIZER)
    assert sorted(map(TOKENIZER.token_text, letters)) == ["\n", *"ABCDE"]


def test_answers_of_another_alphabet_are_refused(root):
    with pytest.raises(ConfigError, match=r"'-?[0-9,]+' of problem p. has nothing of .*letters"):
        run(root, "letters", "none", alphabet="letters")


def test_a_right_answer_is_that_number_or_text_and_nothing_else():
    assert direct.same("1000", "1,000") and direct.same("-7.0", "-7") and direct.same("B", "B")
    assert not direct.same("42 apples", "42") and not direct.same("", "42")
    assert not direct.same("421", "42")
    assert direct.first_line(" 42\nQ: what") == "42"


def test_figures_are_means_over_problems_of_means_over_thoughts():
    found = figures.figures(
        ["a", "a", "b"], [0.2, 0.4, 1.0], [True, False, False], resamples=200, seed=0
    )
    assert found["soft_accuracy"]["value"] == pytest.approx((0.3 + 1.0) / 2)
    assert found["exact_match"]["value"] == pytest.approx(0.25)
    low, high = found["exact_match"]["ci95"]
    assert low <= 0.25 <= high
