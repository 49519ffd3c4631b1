"""The cache: rows that start late, pause and lie in scattered pages read what the plain forward
pass reads.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.hf.families import FAMILIES, build, call, read
from verifier.model import cache as cache_lib
from verifier.model.cache import Cache, CacheIndices, Pages, Prompts
from verifier.model.transformer import Transformer

WINDOW = 4
PROMPTS = [[3, 1, 4, 1, 5], [9, 2]]
SLOTS = [2, 0]  # of the prompts; slot 1 holds nothing
SUFFIXES = [[6, 5, 3, 5, 8, 9], [7, 9, 3, 2, 3, 8, 1], [4, 6, 2, 6, 4, 3], [3, 8, 3, 2, 7, 9]]
PROMPT_OF_ROW = [0, 0, 1, 1]
PAGES = 12


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_lib, "WINDOW", WINDOW)


def start(model: Transformer, padding: int = 0) -> Cache:
    """Both prompts in their slots; whatever lies in free places must count for nothing."""
    tokens = np.asarray([prompt + [padding] * (6 - len(prompt)) for prompt in PROMPTS])
    _, prefix = call(model, "prefill", tokens, jnp.asarray([5, 2]))
    cache = cache_lib.empty(prefix, 3, len(SUFFIXES), PAGES)
    junk = jax.tree.map(
        lambda array: array + padding if array.dtype == jnp.float32 else array, cache
    )
    return dataclasses.replace(
        junk, prompts=cache_lib.insert(junk.prompts, prefix, jnp.asarray(SLOTS))
    )


def seat(by_block: bool, owner_A: np.ndarray) -> CacheIndices:
    rows, total = len(SUFFIXES), len(SUFFIXES) + PAGES
    prompt_B = np.asarray([SLOTS[p] for p in PROMPT_OF_ROW])
    if by_block:  # a block of two places, one with a single place taken and one for nobody
        row_ER, block_slot_B, prompt_E = (
            [[1, 0], [2, rows], [rows, 3], [rows, rows]],
            [1, 0, 2, 5],
            jnp.asarray([2, 0, 0, 1]),
        )
    else:
        row_ER, block_slot_B, prompt_E = [[2, 3], [rows, rows], [0, 1]], [4, 5, 0, 1], None
    page_BM = np.full((rows, 1 + PAGES), total)
    for row in range(rows):
        own = [row, *(rows + np.flatnonzero(owner_A == row))]
        page_BM[row, : len(own)] = own
    arrays = (prompt_B, block_slot_B, row_ER), (np.concatenate([np.arange(rows), owner_A]), page_BM)
    first, second = (
        [jnp.asarray(np.asarray(array, np.int32)) for array in group] for group in arrays
    )
    return CacheIndices(*first, prompt_E, *second)


def decode(model: Transformer, cache: Cache, by_block: bool) -> list[np.ndarray]:
    """Every row's hidden states.

    Row r starts in step r and pauses in every third step; full windows go to pages from the last
    one down.
    """
    rows = len(SUFFIXES)
    read_B, owner_A, free = [0] * rows, np.full(PAGES, rows), list(range(PAGES))[::-1]
    found: list[list[np.ndarray]] = [[] for _ in range(rows)]
    for step in range(14):
        if step and step % WINDOW == 0:
            page_B = np.full(rows, rows + PAGES)
            for row in range(rows):
                if 0 < read_B[row] < len(SUFFIXES[row]):
                    page = free.pop(0)
                    page_B[row], owner_A[page] = rows + page, row
            newest, full = cache_lib.flush(cache.newest, cache.pages, jnp.asarray(page_B))
            cache = dataclasses.replace(cache, newest=newest, pages=full)
        reads = [
            row <= step and (step + row) % 3 < 2 and read_B[row] < len(SUFFIXES[row])
            for row in range(rows)
        ]
        token = [SUFFIXES[row][read_B[row]] if reads[row] else 7 for row in range(rows)]
        position = [len(PROMPTS[PROMPT_OF_ROW[row]]) + read_B[row] for row in range(rows)]
        given = (
            np.asarray(token),
            np.asarray(position),
            np.asarray(reads),
            cache,
            seat(by_block, owner_A),
            jnp.int32(step % WINDOW),
        )
        hidden, cache = call(model, "extend", *given)
        for row in np.flatnonzero(reads):
            found[row].append(np.asarray(hidden[row]))
            read_B[row] += 1
    return [np.stack(states) for states in found]


@functools.cache
def reference(family: str) -> tuple[Transformer, list[np.ndarray]]:
    """The model, and every row's suffix read by the plain forward pass."""
    model = build(FAMILIES[family])
    prompts = [PROMPTS[p] for p in PROMPT_OF_ROW]
    texts = read(
        model, *(prompt + suffix for prompt, suffix in zip(prompts, SUFFIXES, strict=True))
    )
    return model, [hidden[len(prompt) :] for prompt, hidden in zip(prompts, texts, strict=True)]


@pytest.mark.parametrize("by_block", [True, False], ids=["blocks", "slots"])
@pytest.mark.parametrize("family", FAMILIES)
def test_reading_with_the_cache_equals_the_plain_forward_pass(family, by_block):
    model, expected = reference(family)
    for found, plain in zip(decode(model, start(model), by_block), expected, strict=True):
        np.testing.assert_allclose(found, plain[: len(found)], atol=2e-5)
        assert len(found) == len(plain) and len(found) > WINDOW


def test_what_lies_in_free_places_is_never_seen():
    model, _ = reference("llama")
    for clean, junk in zip(
        decode(model, start(model), True), decode(model, start(model, padding=7), True), strict=True
    ):
        np.testing.assert_array_equal(clean, junk)


def pages(count: int) -> Pages:
    k = jnp.arange(count * 2 * 3 * WINDOW, dtype=jnp.float32).reshape(count * 2, 3, WINDOW)
    return Pages((k,), (k.swapaxes(1, 2),), jnp.arange(count * WINDOW).reshape(count, WINDOW))


def test_pages_keep_what_they_hold_when_the_pool_grows_shrinks_or_is_reordered():
    before, grown = pages(3), cache_lib.resize_pages(pages(3), 5)
    assert grown.k[0].shape == (10, 3, WINDOW) and np.all(grown.position_NW[3:] == -1)
    again = cache_lib.resize_pages(grown, 3)
    jax.tree.map(np.testing.assert_array_equal, again, before)
    taken = cache_lib.take_pages(again, jnp.asarray([2, 0]))
    np.testing.assert_array_equal(taken.k[0], np.concatenate([before.k[0][4:6], before.k[0][:2]]))
    np.testing.assert_array_equal(taken.position_NW, before.position_NW[np.asarray([2, 0])])


def test_the_memory_of_a_pool_that_was_resized_is_free_at_once():
    old = pages(3)
    cache_lib.resize_pages(old, 5)
    assert all(array.is_deleted() for array in jax.tree.leaves(old))


def test_a_narrow_cache_holds_the_bits_that_were_put_into_it():
    """It is written as whole numbers on a CPU (`cache._moved`): NaN and -0 come through, too."""
    at = jnp.asarray
    strange = at([jnp.nan, -0.0, jnp.inf, 1e-40, 3.0], jnp.bfloat16)

    def moved(dtype):
        full, newest = (
            [array[0].astype(dtype) for array in (each.k, each.v)] for each in (pages(4), pages(2))
        )
        new = jnp.resize(strange, (2, 2, 1, 3)).astype(dtype)
        k, v = cache_lib.append(*newest, new, new, at(1))
        held = cache_lib.flush(
            Pages((k,), (v,), pages(2).position_NW),
            Pages(*[(x,) for x in full], pages(4).position_NW),
            at([4, 6]),
        )
        copied = cache_lib.copy_newest(held[0], at([0]), at([1]), at([9]))
        prefix = cache_lib.Prefix(
            (jnp.tile(new, (1, 1, 4, 1)),) * 2, (v[None, :2],) * 2, at([3, 2])
        )
        slots = cache_lib.empty(prefix, 2, 2, 1).prompts
        inserted = cache_lib.insert(slots, dataclasses.replace(prefix, v=prefix.k), at([1, 2]))
        return held, copied, inserted

    for found, expected in zip(
        *(
            jax.tree.leaves(jax.jit(moved, static_argnums=0)(dtype))
            for dtype in ("bfloat16", "float32")
        ),
        strict=True,
    ):
        expected = expected.astype(found.dtype)
        np.testing.assert_array_equal(np.asarray(found).view("u1"), np.asarray(expected).view("u1"))


def test_prompts_that_are_dropped_overwrite_nothing():
    model, _ = reference("llama")
    cache = start(model)
    _, prefix = call(model, "prefill", np.asarray([[8, 8, 8, 8, 8, 8]] * 2), jnp.asarray([6, 6]))
    after = cache_lib.insert(cache.prompts, prefix, jnp.asarray([3, 1]))
    heads = [0, 1, 4, 5]  # of slots 0 and 2
    np.testing.assert_array_equal(
        after.k[0][np.asarray(heads)], cache.prompts.k[0][np.asarray(heads)]
    )
    assert after.length_P.tolist() == [2, 6, 5]


def test_prompt_slots_shrink_to_what_is_needed():
    prompts = Prompts(
        (jnp.arange(24.0).reshape(2, 2, 6),), (jnp.arange(24.0).reshape(2, 6, 2),), jnp.asarray([3])
    )
    kept_k, kept_v = np.asarray(prompts.k[0][..., :4]), np.asarray(prompts.v[0][:, :4])
    small = cache_lib.resize_prompts(prompts, 4)
    np.testing.assert_array_equal(small.k[0], kept_k)
    np.testing.assert_array_equal(small.v[0], kept_v)
