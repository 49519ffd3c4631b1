"""Rows that think before they write, against a loop that writes every thought into the text."""

from __future__ import annotations

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.decode import fakes
from tests.model import naive_thoughts
from verifier.config import SampleConfig
from verifier.decode import answering, memory
from verifier.decode.drawing import Drawing
from verifier.decode.engine import Engine, Prompt, PromptTooLong
from verifier.decode.growing import Growing
from verifier.decode.job import NOTHING_STORED, Hooks, by_falling_length
from verifier.decode.thinking import Thinking
from verifier.errors import ConfigError
from verifier.model import cache, sampling

CONTEXT = 32
PROMPTS = [
    Prompt(name, tokens)
    for name, tokens in (("a", (6, 7, 3)), ("b", (5,)), ("c", (7, 6, 6, 5, 2) * 3 + (4, 4)))
]
CONFIG = SampleConfig(temperature=2.0, max_new_tokens=12, rows=5)
GREEDY = dataclasses.replace(CONFIG, temperature=0.0)
SAMPLES, SEED = 4, 3
A4, A3 = Thinking(4), Thinking(3)
LEARNED = {"positions": "learned", "layers": 1, "sliding_window_pattern": None}


class FewPieces(fakes.Pieces):
    """A tokenizer so small that what is drawn blindly has annotations and steps in it."""

    def __init__(self) -> None:
        self.pieces = ["<<3=", "<<3=3", "3", ">>", "\n", "a", "=", "b"]
        self.vocab_size = len(self.pieces) + 1
        self.end_id = len(self.pieces)
        self.reserved_id = self.vocab_size
        self.start_ids = ()


TOKENIZER = FewPieces()


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows are flushed on the way."""
    monkeypatch.setattr(cache, "WINDOW", 8)
    monkeypatch.setattr(memory, "FEWEST_PAGES", 12)


@functools.cache
def thinker(**sizes):
    return naive_thoughts.thinker(**sizes)


def small():
    """One whose programs are compiled soon."""
    return thinker(**LEARNED)


@functools.cache
def deaf():
    """A thinker whose head heeds no thought."""
    made = nnx.clone(small())
    made.mixing.last.kernel[...] = jnp.zeros_like(made.mixing.last.kernel[...])
    return made


def engine_of(model, thinking=None, config=CONFIG):
    return Engine(model, TOKENIZER, config, SEED, thinking=thinking)


def drawn_by(engine, samples=SAMPLES, prompts=PROMPTS, **kwargs):
    return {
        (each.problem_id, each.sample_id): each
        for group in engine.run(prompts, samples, **kwargs)
        for each in group
    }


@functools.cache
def reader(model):
    """The state behind so many tokens of rows that are read whole, the marks among them."""
    plain = nnx.clone(model.backbone)
    plain.embed[...] = plain.embed[...].at[-2:].set(model.mark_rows())
    graph, state = nnx.split(plain)

    @jax.jit
    def read(rows_RS, length_R):
        order_RS = jnp.broadcast_to(jnp.arange(CONTEXT), rows_RS.shape)
        hidden_RSD = nnx.merge(graph, state).hidden(rows_RS, order_RS, None)
        return jnp.take_along_axis(hidden_RSD, length_R[:, None, None] - 1, axis=1)[:, 0]

    return read


def naive(model, thinking, drawn, among=()):
    """Log-probabilities of what was drawn, and what would have been, token by token: every thought
    stands in the text, which is read anew for each of its tokens.

    among: ids that alone have a chance; empty: all have.
    """
    prompts = {prompt.problem_id: prompt.tokens for prompt in PROMPTS}
    rows, lengths, keys, ts, thinks = [], [], [], [], []
    for (problem, sample), each in drawn.items():
        for t in range(len(each.tokens)):
            text = [*prompts[problem], *each.tokens[:t]]
            rows.append(text + [0] * (CONTEXT - len(text)))
            lengths.append(len(text))
            keys.append(sampling.sample_key(SEED, problem, sample))
            ts.append(t)
            behind = TOKENIZER.pieces[each.tokens[t - 1]] if t else "\n"
            thinks.append(thinking.every == "token" or "\n" in behind)
    rows_RS, length_R, keys_R2, t_R = map(np.array, (rows, lengths, keys, ts))
    read, own = reader(model), np.arange(len(rows))
    base_RD = read(rows_RS, length_R)
    key_R = jax.vmap(jax.random.fold_in)(jax.random.wrap_key_data(keys_R2), t_R)
    rows_RS[own, length_R] = naive_thoughts.ROWS - 2
    for depth in range(1, thinking.drawn + 1):
        uniform_R = jax.vmap(
            lambda key, depth=depth: jax.random.uniform(jax.random.fold_in(key, depth))
        )(key_R)
        logits_RV = model.backbone.logits(read(rows_RS, length_R + depth))
        token_R, _ = sampling.draw(logits_RV, uniform_R, 1.0, vocab_size=TOKENIZER.vocab_size)
        rows_RS[own, length_R + depth] = token_R
    rows_RS[own, length_R + thinking.thought_tokens - 1] = naive_thoughts.ROWS - 1
    end_RD = read(rows_RS, length_R + thinking.thought_tokens)
    weight_R = model.mixing(base_RD, end_RD)
    if thinking.mixing == "logprobs":
        weight_R = jnp.clip(weight_R, 0, 1)
    weight_R1 = jnp.where(np.array(thinks), weight_R, 0)[:, None]
    logits_RV = model.backbone.logits((1 - weight_R1) * base_RD + weight_R1 * end_RD)
    logits_RV = logits_RV[:, : TOKENIZER.vocab_size]
    if among:
        has_V = np.isin(np.arange(TOKENIZER.vocab_size), among)
        logits_RV = jnp.where(has_V, logits_RV, -jnp.inf)
    uniform_R = sampling.uniforms(keys_R2, t_R)
    token_R, _ = sampling.draw(
        logits_RV, uniform_R, CONFIG.temperature, vocab_size=TOKENIZER.vocab_size
    )
    logprob_RV = jax.nn.log_softmax(logits_RV)
    written_R = np.concatenate([each.tokens for each in drawn.values()])
    return np.asarray(logprob_RV)[own, written_R], np.asarray(token_R)


@pytest.mark.parametrize(
    ("thinking", "sizes"),
    [
        (A4, {}),
        (Thinking(4, every="step"), {}),
        (Thinking(2, "logprobs"), LEARNED),
    ],
)
def test_rows_draw_what_thoughts_one_by_one_lead_to(thinking, sizes):
    model = thinker(**sizes)
    drawn = drawn_by(engine_of(model, thinking))
    logprob_R, token_R = naive(model, thinking, drawn)
    own, forced = (
        np.concatenate([getattr(each, name) for each in drawn.values()])
        for name in ("logprobs", "forced")
    )
    written = np.concatenate([each.tokens for each in drawn.values()])
    np.testing.assert_allclose(own, logprob_R, atol=1e-4)
    # What the calculator wrote instead was drawn, too, and held back.
    assert 3 <= forced.sum() < len(forced) / 2
    assert (written == token_R)[~forced].all()
    assert written.max() < TOKENIZER.vocab_size
    text = "".join(each.text for each in drawn.values())
    assert "<<3=3>>" in text and text.count("\n") > 2


def test_a_sample_alone_is_that_beside_others():
    beside = drawn_by(engine_of(small(), A3))
    alone = drawn_by(engine_of(small(), A3), [2], PROMPTS[:1])["a", 2]
    assert alone.tokens == beside["a", 2].tokens
    np.testing.assert_allclose(alone.logprobs, beside["a", 2].logprobs, atol=1e-5)


def test_thoughts_that_are_not_heeded_change_nothing_and_leave_nothing_behind():
    found, left = [], []
    alone = dataclasses.replace(GREEDY, share=False)
    for thinking in (None, A3):
        writer = (engine := engine_of(deaf(), thinking, alone)).writer
        prompts = by_falling_length(PROMPTS)
        hooks = Hooks(lambda _: None, lambda _: True, NOTHING_STORED)
        job = Drawing(writer, engine.plan(prompts, SAMPLES), prompts, range(SAMPLES), hooks)
        found.append([each for group in job.run() for each in group])
        left.append(job._running._state)
    for plain, thought in zip(*found, strict=True):
        assert (plain.problem_id, plain.tokens) == (thought.problem_id, thought.tokens)
        np.testing.assert_allclose(plain.logprobs, thought.logprobs, atol=1e-6)
    assert left[0].cache.newest.position_NW.max() > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *left)


def test_given_answers_are_as_likely_as_thoughts_one_by_one_make_them():
    """Of an answer only what is among the ids counts; what is not is read all the same."""
    answers, among = {"a": [7, 2, 4], "b": [2, 2, 6, 4], "c": [4]}, (2, 4, 6)
    engine, prompts = engine_of(small(), A4, GREEDY), by_falling_length(PROMPTS)
    asked = [(each, answers[each.problem_id]) for each in prompts]
    found = {
        (prompts[each.prompt].problem_id, each.sample): each.logprobs
        for each in answering.read(engine.writer, engine.plan(prompts, 2), asked, among, 2)
    }
    keys = [(name, sample) for name in answers for sample in range(2)]
    assert sorted(found) == keys and (found["b", 0] != found["b", 1]).all()
    given = {key: types.SimpleNamespace(tokens=answers[key[0]]) for key in keys}
    logprob_R, _ = naive(small(), A4, given, among)
    np.testing.assert_allclose(
        np.concatenate([found[key] for key in keys]), logprob_R[np.isfinite(logprob_R)], atol=1e-4
    )
    assert [len(found[name, 0]) for name in answers] == [2, 4, 1]


def test_a_thinker_that_does_not_think_is_its_decoder():
    """The same static values are the same program, byte for byte."""
    plain = engine_of(thinker().backbone).writer
    held = engine_of(thinker()).writer
    assert plain.static == held.static
    assert [leaf.shape for leaf in plain.weights] == [leaf.shape for leaf in held.weights]


def test_what_is_stored_is_not_drawn_again_and_moves_nothing():
    first = drawn_by(engine_of(small(), A3))
    stored = fakes.stored(each for key, each in first.items() if key[0] == "c")
    rest = drawn_by(engine_of(small(), A3), stored=stored)
    assert sorted(rest) == sorted(key for key in first if key[0] != "c")
    assert all(each.tokens == first[key].tokens for key, each in rest.items())


def test_samples_that_go_on_from_one_branch_have_thoughts_of_their_own():
    engine = engine_of(small(), A3)
    prompts = by_falling_length(PROMPTS)
    growing = Growing(engine.writer, engine.plan(prompts, SAMPLES), prompts)
    for problem in range(len(prompts)):
        growing.extend(growing.root(problem), range(SAMPLES), 12, to_step_end=False)
    at_once, grown = drawn_by(engine), {}
    for ended in growing.run():
        for sample in ended.samples:
            grown[prompts[ended.problem].problem_id, sample] = ended.tokens
        growing.drop(ended.branch)
    assert grown == {key: each.tokens for key, each in at_once.items()}


def test_the_last_thought_has_room_in_the_context():
    room = CONTEXT - CONFIG.max_new_tokens - (A3.thought_tokens - 1)
    engine = engine_of(small(), A3)
    assert engine.room == room
    with pytest.raises(PromptTooLong):
        engine.run([Prompt("long", [6] * (room + 1))], 1)
    with pytest.raises(ConfigError, match="no room for its start and end"):
        Thinking(1)
    plain, held = (engine_of(small(), each).plan(PROMPTS, SAMPLES) for each in (None, A3))
    assert held.step_bytes > plain.step_bytes and not held.share
