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
    SURE,
    assert_same,
    draw,
    naive,
    small_windows,  # noqa: F401
)
from tests.hf import families
from verifier.config import SampleConfig
from verifier.decode import engine as engine_lib
from verifier.decode import prompt_blocks, shared_pages
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
    def read(text_T, prompt_S, length, last, key_2, t, temperature):
        twin = nnx.merge(graph, state)
        hidden = twin.whole(text_T[None], prompt_S[None], length)[0, last]
        logits_V = twin.logits(hidden)
        uniform = sampling.uniforms(key_2[None], t)
        token, _ = sampling.draw(
            logits_V[None], uniform, temperature, vocab_size=tokenizer.vocab_size
        )
        return hidden, token[0], jax.nn.log_softmax(logits_V[: tokenizer.vocab_size])

    return read


def read_whole(prompt, solution, key=None, temperature=0.0) -> tuple[jax.Array, ...]:
    """Hidden state, next token and log-probabilities after a solution's last token."""
    arch = nudged()[0].arch
    text, prompt = [arch.start_id, *solution], [*prompt, arch.close_id]
    padded = [np.array([*ids, *[0] * (64 - len(ids))], np.int32) for ids in (text, prompt)]
    key = np.zeros(2, np.uint32) if key is None else key
    t = np.int32(len(solution))
    return reader()(*padded, len(prompt), len(text) - 1, key, t, np.float32(temperature))


def naive_reader() -> Any:
    """As `engine_test.naive_reader`."""

    def read(tokens, key, t, temperature):
        first = len(tokens) - t
        return read_whole(tokens[:first], tokens[first:], key, temperature)[1:]

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


def assert_naive(found: dict, config: SampleConfig) -> None:
    """The samples are those of the naive loop, log-probabilities too."""
    prompts = {prompt.problem_id: prompt for prompt in PROMPTS}
    expected = {key: naive(prompts[key[0]], key[1], 5, config) for key in found}
    for key in expected.keys() - assert_same(found, expected, config):
        np.testing.assert_allclose(found[key].logprobs, expected[key].logprobs, atol=2e-4)


def test_cached_batches_equal_the_naive_loop_token_for_token() -> None:
    found = usual()
    assert_naive(found, CONFIG)
    every = list(found.values())  # the comparison means something only if all of this came up
    assert any(any(each.forced) for each in every)
    assert len({tuple(each.tokens) for each in every}) > len(PROMPTS)
    assert max(len(each.tokens) for each in every) > 20  # several pages


def test_solutions_that_share_pages_equal_the_naive_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the most likely token, whose samples are one row, and where rows part from each other."""
    greedy = dataclasses.replace(CONFIG, temperature=0.0)
    assert_naive({("a", 0): draw(greedy, PROMPTS[:1])["a", 0]}, greedy)
    shared = []
    assign = shared_pages.assign
    monkeypatch.setattr(
        shared_pages,
        "assign",
        lambda page_BM, pages, blocks: (
            shared.append(shared_pages.needed(page_BM, pages, 1)) or assign(page_BM, pages, blocks)
        ),
    )
    found = draw(SURE, PROMPTS[:3], samples=6)
    assert any(shared) and len({tuple(each.tokens) for each in found.values()}) > 6
    assert_naive(found, SURE)


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
