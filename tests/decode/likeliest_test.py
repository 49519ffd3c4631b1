"""What the model held likely at every token: as a whole forward pass has it, drawn in any way."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx

from tests.decode import fakes
from tests.decode.engine_test import CONTEXT, PROMPTS, SURE, nudged
from verifier.decode import memory
from verifier.decode.engine import Completion, Engine
from verifier.decode.growing import Growing
from verifier.decode.likeliest import NOWHERE, Likeliest
from verifier.model import cache

COUNT = 3
CONFIG = dataclasses.replace(SURE, rows=4, top_logprobs=COUNT)
# of two ids of a place that are likely alike the order is open
NEAR = 2e-4


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WINDOW", 8)
    monkeypatch.setattr(memory, "FEWEST_PAGES", 12)


def draw(prompts=PROMPTS[:3], samples=12, **kwargs) -> list[list[Completion]]:
    return list(Engine(*nudged(), CONFIG, 5).run(prompts, samples, **kwargs))


@functools.cache
def usual() -> list[list[Completion]]:
    return draw()


@functools.cache
def whole_reader():
    """All log-probabilities of a text of one problem, in one pass without a cache."""
    model, tokenizer = nudged()
    graph, state = nnx.split(model)

    @jax.jit
    def read(tokens_T: np.ndarray) -> jax.Array:
        twin = nnx.merge(graph, state)
        hidden = twin.hidden(tokens_T[None], np.arange(CONTEXT)[None], None)
        return jax.nn.log_softmax(twin.logits(hidden[0])[:, : tokenizer.vocab_size])

    def of(prompt: tuple[int, ...], tokens: list[int]) -> np.ndarray:
        text = [*prompt, *tokens]
        padded = np.array(text + [0] * (CONTEXT - len(text)), np.int32)
        return np.asarray(read(padded))[len(prompt) - 1 : len(text) - 1]

    return of


def test_every_token_has_the_distribution_of_a_whole_forward_pass() -> None:
    """Samples share rows, part, wait for slots and are read again; the calculator writes."""
    prompts = {prompt.problem_id: prompt.tokens for prompt in PROMPTS}
    unlikely = forced = 0
    for each in (each for problem in usual() for each in problem):
        logprob_TV = whole_reader()(prompts[each.problem_id], each.tokens)
        tops, token_T = each.likeliest, np.array(each.tokens)
        assert tops.ids.shape == tops.logprobs.shape == (len(token_T), COUNT)
        there_TU = np.take_along_axis(logprob_TV, tops.ids, axis=1)
        np.testing.assert_allclose(tops.logprobs, there_TU, atol=NEAR)
        assert all(len(set(ids)) == COUNT for ids in tops.ids.tolist())
        best_TU = -np.sort(-logprob_TV, axis=1)[:, :COUNT]
        np.testing.assert_allclose(tops.logprobs[:, :-1], best_TU[:, :-1], atol=NEAR)
        # the last is the next best, or else the token itself
        other_T = np.abs(tops.logprobs[:, -1] - best_TU[:, -1]) > NEAR
        assert (tops.ids[other_T, -1] == token_T[other_T]).all()
        is_own_TU = tops.ids == token_T[:, None]
        assert is_own_TU.any(axis=1).all()
        np.testing.assert_allclose(tops.logprobs[is_own_TU], each.logprobs, atol=1e-6)
        unlikely += int(other_T.sum())
        forced += int((other_T & each.forced).sum())
    # the comparison means something only if all of this came up
    assert unlikely and forced


def test_it_depends_on_no_order_or_subset() -> None:
    expected = {(c.problem_id, c.sample_id): c for problem in usual() for c in problem}
    for problem in draw([PROMPTS[2], PROMPTS[0]], samples=[3, 9, 11]):
        for found in problem:
            same = expected[found.problem_id, found.sample_id]
            if found.tokens == same.tokens:  # but for near ties
                np.testing.assert_allclose(
                    np.sort(found.likeliest.logprobs),
                    np.sort(same.likeliest.logprobs),
                    atol=NEAR,
                )


def test_a_restart_gives_what_was_left_with_the_same_distributions() -> None:
    engine = Engine(*nudged(), CONFIG, 5)
    plan = engine.plan(PROMPTS[:3], 12)
    known = fakes.stored(usual()[0])
    again = list(engine.run(PROMPTS[:3], 12, plan, stored=known))
    assert again == usual()[1:]  # to the last bit


def test_nothing_is_asked_of_the_device_where_none_are_wanted() -> None:
    """Nor by who asks for branches, whatever the samples are to have."""
    off = Engine(*nudged(), dataclasses.replace(CONFIG, top_logprobs=0), 5)
    growing = Growing(Engine(*nudged(), CONFIG, 5).writer, off.plan(PROMPTS, 2), PROMPTS)
    assert growing._writer.static == off.writer.static and off.writer.top_logprobs == 0


def test_a_token_takes_the_last_place_only_where_it_has_none() -> None:
    held = Likeliest(
        np.array([[4, 5], [4, 5], [4, 5]], np.int32),
        np.array([[-0.1, -3.0], [-0.1, -3.0], [-0.1, -3.0]], np.float32),
    )
    own = held.with_own(np.array([5, 9, 4]), np.array([-3.0, -7.0, -0.1], np.float32))
    assert own.ids.tolist() == [[4, 5], [4, 9], [4, 5]]
    assert own.logprobs[:, 1].tolist() == [-3.0, -7.0, -3.0]
    assert held.ids.tolist() == [[4, 5]] * 3  # others may still draw from it


def test_no_places_are_kept_where_there_are_no_ids() -> None:
    assert Likeliest.empty(7, 0)[:3].copy() is NOWHERE
