import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.families import FAMILIES, build, call, quick_jit, read
from verifier.model import cache as cache_lib
from verifier.model.cache import Cache
from verifier.model.transformer import Transformer

PROMPTS = [[3, 1, 4, 1, 5], [9, 2]]
SUFFIXES = [[[6, 5, 3, 5, 8, 9], [7, 9, 3, 2, 3, 8]], [[4, 6, 2, 6, 4, 3], [3, 8, 3, 2, 7, 9]]]


def start(model: Transformer, prompts: list[list[int]], samples: int, capacity: int = 8, padding: int = 0) -> Cache:
    longest = max(map(len, prompts)) + 1
    tokens = np.asarray([prompt + [padding] * (longest - len(prompt)) for prompt in prompts])
    _, prefix = call(model, "prefill", tokens, jnp.asarray([len(prompt) for prompt in prompts]))
    return cache_lib.fork(prefix, samples, capacity, jnp.float32)


def extend(model: Transformer, cache: Cache, suffixes: list, blocks: tuple[int, ...]) -> tuple[np.ndarray, Cache]:
    tokens, parts, at = np.asarray(suffixes), [], 0
    for block in blocks:
        hidden, cache = call(model, "extend", tokens[:, :, at : at + block], cache)
        parts.append(hidden)
        at += block
    return np.concatenate(parts, axis=2), cache


@functools.cache
def reference(family: str) -> tuple[Transformer, np.ndarray]:
    """The model, and every sample's suffix read by the plain forward pass: [P, J, T, D]."""
    model = build(FAMILIES[family])
    pairs = [(prompt, suffix) for prompt, rows in zip(PROMPTS, SUFFIXES, strict=True) for suffix in rows]
    texts = read(model, *(prompt + suffix for prompt, suffix in pairs))
    suffixes = np.asarray([hidden[len(prompt) :] for (prompt, _), hidden in zip(pairs, texts, strict=True)])
    return model, suffixes.reshape(2, 2, 6, -1)


@pytest.mark.parametrize("blocks", [(1, 1, 1, 1, 1, 1), (3, 3), (1, 3, 1, 1)], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_reading_with_the_cache_equals_the_plain_forward_pass(family, blocks):
    model, expected = reference(family)
    hidden, cache = extend(model, start(model, PROMPTS, 2), SUFFIXES, blocks)
    np.testing.assert_allclose(hidden, expected, atol=2e-5)
    assert int(cache.length) == 6 and cache.capacity == 8 and cache.samples == 2


@pytest.mark.parametrize("family", FAMILIES)
def test_prefill_gives_the_prompt_s_hidden_states(family):
    model, _ = reference(family)
    hidden, _ = call(model, "prefill", np.asarray([PROMPTS[0] + [0], PROMPTS[1] + [0] * 4]), jnp.asarray([5, 2]))
    first, second = read(model, *PROMPTS)
    np.testing.assert_allclose(hidden[0, :5], first, atol=1e-5)
    np.testing.assert_allclose(hidden[1, :2], second, atol=1e-5)


@pytest.mark.parametrize("family", ["mistral", "gpt2"])
def test_a_row_does_not_know_its_neighbours(family):
    model, expected = reference(family)
    mine, other = SUFFIXES[1][1], [11, 12, 13, 14, 15, 16]
    hidden, _ = extend(model, start(model, [PROMPTS[1], [20, 21, 22, 23, 24]], 2), [[mine, other], [other, other]], (3, 3))
    np.testing.assert_allclose(hidden[0, 0], expected[1, 1], atol=2e-5)


def test_one_sample_of_one_problem_reads_as_in_a_batch():
    model, expected = reference("llama")
    alone, _ = extend(model, start(model, [PROMPTS[0]], 1), [[SUFFIXES[0][1]]], (6,))
    np.testing.assert_allclose(alone[0, 0], expected[0, 1], atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_lies_in_the_padding_changes_nothing(family):
    model, _ = reference(family)
    clean = start(model, PROMPTS, 2)
    stale = start(model, PROMPTS, 2, padding=17)
    stale = Cache(stale.prefix, tuple(k + 9.0 for k in stale.k), tuple(v - 9.0 for v in stale.v), stale.length)
    np.testing.assert_array_equal(extend(model, clean, SUFFIXES, (1, 3))[0], extend(model, stale, SUFFIXES, (1, 3))[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_after_a_rewind_the_way_not_taken_is_forgotten(family):
    model, expected = reference(family)
    _, cache = extend(model, start(model, PROMPTS, 2), SUFFIXES, (3,))
    elsewhere = [[[28, 27, 26, 25]] * 2] * 2
    _, cache = extend(model, cache, elsewhere, (1, 3))
    rest = [[row[3:] for row in rows] for rows in SUFFIXES]
    hidden, _ = extend(model, cache_lib.rewind(cache, 3), rest, (3,))
    np.testing.assert_allclose(hidden, expected[:, :, 3:], atol=2e-5)


def test_a_cache_grows_without_forgetting():
    model, expected = reference("llama")
    _, cache = extend(model, start(model, PROMPTS, 2, capacity=3), SUFFIXES, (3,))
    cache = cache_lib.grow(cache, 7)
    assert cache.capacity == 7 and int(cache.length) == 3
    rest = [[row[3:] for row in rows] for rows in SUFFIXES]
    np.testing.assert_allclose(extend(model, cache, rest, (3,))[0], expected[:, :, 3:], atol=2e-5)
    with pytest.raises(ValueError, match="capacity 7 cannot grow to 5"):
        cache_lib.grow(cache, 5)


def test_one_compiled_step_serves_every_length():
    model, expected = reference("llama")
    traces = []

    @functools.partial(quick_jit, donate_argnums=1)
    def step(tokens: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        traces.append(tokens.shape)
        return model.extend(tokens, cache)

    cache, tokens, parts = start(model, PROMPTS, 2), jnp.asarray(SUFFIXES), []
    for t in range(6):
        hidden, cache = step(tokens[:, :, t : t + 1], cache)
        parts.append(hidden)
    np.testing.assert_allclose(np.concatenate(parts, axis=2), expected, atol=2e-5)
    assert len(traces) == 1


def test_the_prompt_is_held_once_for_all_samples():
    model, _ = reference("llama")
    cache = start(model, PROMPTS, 5)
    K, H = model.arch.kv_heads, model.arch.head_width
    assert cache.prefix.k[0].shape == (2, K, 6, H) and cache.k[0].shape == (2 * 5 * K, 8, H) and cache.samples == 5
    assert len({k.unsafe_buffer_pointer() for k in cache.k + cache.v}) == 2 * model.arch.layers  # donation needs a buffer each
