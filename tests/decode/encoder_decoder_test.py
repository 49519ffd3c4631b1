"""The engine with a model that has an encoder: equal to a naive loop that reads the whole prompt
and the whole solution for every token.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from tests.decode import engine_test, fakes
from tests.decode.engine_test import (
    CONFIG,
    CONTEXT,
    PROMPTS,
    assert_same,
    draw,
    naive,
    small_windows,  # noqa: F401
)
from tests.hf import families
from verifier.decode import engine as engine_lib
from verifier.decode import prompt_blocks
from verifier.model import sampling
from verifier.model.cache import Prefix

pytestmark = pytest.mark.usefixtures("few_programs")


_USUAL = engine_test.nudged


class Nudged(fakes.Nudged):
    """As the other, but what has been read before a solution is a start token."""

    def prefill(self, tokens_PS: jax.Array, length_P: jax.Array) -> tuple[jax.Array, Prefix]:
        hidden_P1D, prefix = self.base.prefill(tokens_PS, length_P)
        start_P1 = np.full((len(tokens_PS), 1), self.arch.start_id, np.int32)
        return self._join(hidden_P1D, start_P1), prefix

    def whole(self, tokens_1T: jax.Array, prompt_1S: jax.Array, length: jax.Array) -> jax.Array:
        """Of one text behind one prompt of a length, by the plain forward pass."""
        place_T, place_S = np.arange(tokens_1T.shape[1]), np.arange(prompt_1S.shape[1])
        ends_1T = np.full(tokens_1T.shape, len(place_T), np.int32)
        of_1S = jax.numpy.where(place_S < length, len(place_T), 0)[None]
        hidden = self.base.hidden(tokens_1T, place_T[None], ends_1T, prompts=(prompt_1S, of_1S))
        return self._join(hidden, tokens_1T)


@functools.cache
def nudged() -> tuple[Nudged, fakes.Pieces]:
    """A random T5 that likes to write annotations."""
    other, tokenizer = _USUAL()
    arch = dataclasses.replace(
        families.ENCODERS["t5 1.1"],
        vocab_size=other.arch.vocab_size,
        context=CONTEXT,
        start_id=tokenizer.encode("x")[0],
        close_id=tokenizer.end_id,
    )
    return Nudged(families.build(arch, seed=3), np.asarray(other.pairs[...])), tokenizer


@functools.cache
def reader() -> Any:
    model, tokenizer = nudged()
    graph, state = nnx.split(model)

    @families.quick_jit
    def read(text_T, prompt_S, length, last):
        twin = nnx.merge(graph, state)
        hidden = twin.whole(text_T[None], prompt_S[None], length)[0, last]
        return hidden, twin.logits(hidden)

    return read


def read_whole(prompt: list[int], solution: list[int]) -> tuple[jax.Array, jax.Array]:
    """Hidden state and logits after a solution's last token."""
    arch = nudged()[0].arch
    text, prompt = [arch.start_id, *solution], [*prompt, arch.close_id]
    padded = [np.array([*ids, *[0] * (64 - len(ids))], np.int32) for ids in (text, prompt)]
    return reader()(*padded, len(prompt), len(text) - 1)


@functools.cache
def naive_reader() -> Any:
    """As `engine_test.naive_reader`."""
    vocab_size = nudged()[1].vocab_size

    def read(tokens, key, t, temperature):
        logits_V = read_whole(tokens[: len(tokens) - t], tokens[len(tokens) - t :])[1]
        uniform = sampling.uniforms(key[None], np.int32(t))
        drawn = sampling.draw(logits_V[None], uniform, temperature, vocab_size=vocab_size)[0]
        return drawn[0], jax.nn.log_softmax(logits_V[:vocab_size])

    return read


class Whole:
    """The model as `near_ties` asks it, of a prompt and a solution in one."""

    def hidden(self, tokens_1T, positions_1T, ends_1T):
        tokens = np.asarray(tokens_1T)[0].tolist()
        (length,) = {
            len(each.tokens) for each in PROMPTS if tokens[: len(each.tokens)] == list(each.tokens)
        }
        return read_whole(tokens[:length], tokens[length:])[0][None, None]

    def logits(self, hidden):
        return nudged()[0].logits(hidden)


@pytest.fixture(autouse=True)
def with_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' model, wherever the engine's own tests ask for theirs."""
    monkeypatch.setattr(engine_test, "nudged", nudged)
    monkeypatch.setattr(engine_test, "naive_reader", naive_reader)
    drawn = engine_test.Drawn
    monkeypatch.setattr(engine_test, "Drawn", lambda _, *rest: drawn(Whole(), *rest))


@functools.cache
def usual() -> dict:
    return draw(CONFIG)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_cached_batches_equal_the_naive_loop_token_for_token(temperature: float) -> None:
    config = dataclasses.replace(CONFIG, temperature=temperature)
    found = draw(config) if config != CONFIG else usual()
    expected = {
        (prompt.problem_id, n): naive(prompt, n, 5, config)
        for prompt in PROMPTS
        for n in range(3 if temperature else 1)
    }
    found = {key: found[key] for key in expected}
    for key in expected.keys() - assert_same(found, expected, config):
        np.testing.assert_allclose(found[key].logprobs, expected[key].logprobs, atol=2e-4)
    if temperature:  # the comparison above means something only if all of this came up
        every = list(found.values())
        assert any(any(each.forced) for each in every)
        assert len({tuple(each.tokens) for each in every}) > len(PROMPTS)
        assert max(len(each.tokens) for each in every) > 20  # several pages


def test_tokens_depend_on_no_batch_and_on_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = usual()
    monkeypatch.setattr(prompt_blocks, "OWN_BLOCK", 1)
    monkeypatch.setattr(prompt_blocks, "BLOCK_ROWS", 2)
    assert_same(draw(dataclasses.replace(CONFIG, rows=3)), expected)


def test_the_prompt_is_bound_by_the_context_alone_and_longer_ones_are_refused() -> None:
    config = dataclasses.replace(CONFIG, max_new_tokens=4)
    longest = engine_lib.Prompt("long", (1,) * (CONTEXT - 1))
    assert draw(config, [longest, PROMPTS[0]], samples=1)
    with pytest.raises(engine_lib.PromptTooLong, match=f"more than {CONTEXT - 1} tokens"):
        draw(config, [engine_lib.Prompt("longer", (1,) * CONTEXT)])
