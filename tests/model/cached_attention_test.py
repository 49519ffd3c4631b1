"""Attention of one token a row: equal to a naive softmax over what each row sees, wherever it
lies.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import operands
from verifier.decode import shared_pages
from verifier.model import cache as cache_lib
from verifier.model import cached_attention
from verifier.model.cache import Cache, CacheIndices, Pages, Prompts

P, K, G, H, S, W, B, A = 3, 2, 3, 4, 5, 4, 4, 5
PROMPT_B, LENGTH_P = np.array([2, 0, 2, 2]), np.array([5, 1, 3])
# the rows' newest pages, then five more; 4 is nobody
OWNER_X = np.array([0, 1, 2, 3, 1, 4, 3, 3, 4])
POSITION_B = np.array([6, 9, 5, 12])


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def case(by_block: bool, scale: float = 1.0) -> tuple[np.ndarray, Cache, CacheIndices]:
    position_XW = np.full((B + A, W), -1)
    for row in range(B):
        # column 1 is a hole in every page
        places = np.argwhere((row == OWNER_X)[:, None] & (np.arange(W) != 1))
        newest = np.arange(LENGTH_P[PROMPT_B[row]], POSITION_B[row] + 1)
        for (page, column), position in zip(places[: len(newest)], newest, strict=False):
            position_XW[page, column] = position
    prompts = Prompts(
        (jnp.asarray(normal(1, P * K, H, S)) * scale,),
        (jnp.asarray(normal(2, P * K, S, H)),),
        jnp.asarray(LENGTH_P),
    )
    k, v = jnp.asarray(normal(3, 9 * K, H, W)) * scale, jnp.asarray(normal(4, 9 * K, W, H))
    if by_block:
        row_ER, block_slot_B, prompt_E = (
            np.array([[3, 0], [2, B], [1, B]]),
            [1, 4, 2, 0],
            jnp.array([2, 2, 0]),
        )
    else:
        row_ER, block_slot_B, prompt_E = (
            np.array([[1, B, B], [B, B, B], [0, 2, 3]]),
            [6, 0, 7, 8],
            None,
        )
    page_BM = np.full((B, 4), B + A)
    for row in range(B):
        owned = np.flatnonzero(row == OWNER_X)
        page_BM[row, : len(owned)] = owned
    first, last = (
        [jnp.asarray(array) for array in group]
        for group in ((PROMPT_B, block_slot_B, row_ER), (OWNER_X, page_BM))
    )
    indices = CacheIndices(*first, prompt_E, *last)
    return normal(0, B, K * G, H), cached(prompts, k, v, jnp.asarray(position_XW)), indices


def cached(prompts: Prompts, k: jax.Array, v: jax.Array, position_XW: jax.Array) -> Cache:
    """A cache of one layer, out of the arrays of all pages, the rows' newest first."""
    newest = Pages((k[: B * K],), (v[: B * K],), position_XW[:B])
    return Cache(prompts, newest, Pages((k[B * K :],), (v[B * K :],), position_XW[B:]))


def all_pages(cache: Cache) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What `cached` was given: k, v and the positions."""
    newest, pages = cache.newest, cache.pages
    parts = zip(
        (newest.k[0], newest.v[0], newest.position_NW),
        (pages.k[0], pages.v[0], pages.position_NW),
        strict=True,
    )
    k, v, position_XW = map(jnp.concatenate, parts)
    return k, v, position_XW


def naive(query: np.ndarray, cache: Cache, row: int, head: int, window: int | None) -> np.ndarray:
    k, keys, values = head // G, [], []
    page_k, page_v, position_XW = all_pages(cache)
    for place in range(LENGTH_P[PROMPT_B[row]]):
        if window is None or POSITION_B[row] - place < window:
            keys.append(cache.prompts.k[0][PROMPT_B[row] * K + k, :, place])
            values.append(cache.prompts.v[0][PROMPT_B[row] * K + k, place])
    for page, column in np.ndindex(B + A, W):
        position = int(position_XW[page, column])
        if (
            OWNER_X[page] == row
            and position >= 0
            and (window is None or POSITION_B[row] - position < window)
        ):
            keys.append(page_k[page * K + k, :, column])
            values.append(page_v[page * K + k, column])
    scores = np.stack(keys) @ query[row, head] / np.sqrt(H)
    weights = np.exp(scores - scores.max())
    return weights @ np.stack(values) / weights.sum()


def attend(
    query: np.ndarray, cache: Cache, indices: CacheIndices, window: int | None
) -> np.ndarray:
    see = cached_attention.masks(cache, indices, jnp.asarray(POSITION_B), window)
    given = [(part.k[0], part.v[0]) for part in (cache.prompts, cache.newest, cache.pages)]
    return np.asarray(jax.jit(cached_attention.attend)(query, *given, indices, see))


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("by_block", [True, False])
# scores in the hundreds: parts meet through their maxima
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_prompt_and_pages_meet_in_one_softmax(
    by_block: bool, window: int | None, scale: float
) -> None:
    query, cache, indices = case(by_block, scale)
    found = attend(query, cache, indices, window)
    for row, head in np.ndindex(B, K * G):
        np.testing.assert_allclose(
            found[row, head], naive(query, cache, row, head, window), atol=2e-5 * scale
        )


def test_pages_of_others_and_of_nobody_are_never_seen() -> None:
    query, cache, indices = case(True)
    foreign = np.repeat(OWNER_X != 1, K)[:, None, None]
    k, v, position_XW = all_pages(cache)
    k, v = (jnp.where(foreign, 1e6, array) for array in (k, v))
    spoilt = cached(cache.prompts, k, v, position_XW)
    np.testing.assert_array_equal(
        attend(query, cache, indices, None)[1], attend(query, spoilt, indices, None)[1]
    )


def test_a_row_that_sees_nothing_stays_finite() -> None:
    query, cache, indices = case(True)
    prompts = Prompts(cache.prompts.k, cache.prompts.v, jnp.zeros(P, jnp.int32))
    empty = cached(prompts, *all_pages(cache)[:2], jnp.full((9, W), -1))
    assert np.isfinite(attend(query, empty, indices, None)).all()


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("seed", range(5))
def test_a_page_that_rows_share_is_as_good_as_a_copy_for_each(
    seed: int, window: int | None
) -> None:
    random, pages = np.random.default_rng(seed), 6
    query, cache, indices = case(True)
    page_BM = np.full((B, 3), -1)
    for row in range(B):
        own = random.permutation(pages)[: random.integers(1, 4)]
        page_BM[row, : len(own)] = own
    page_BM[1] = page_BM[0]
    position_XW = random.integers(-1, 6, (B + pages, W))
    position_XW[:B, 0] = POSITION_B
    k, v = (jnp.asarray(normal(seed, (B + pages) * K, *each)) for each in ((H, W), (W, H)))
    shared = cached(cache.prompts, k, v, jnp.asarray(position_XW))
    fewest = shared_pages.needed(page_BM, pages, 1)
    found = attend(query, shared, seated(indices, page_BM, pages, fewest), window)
    # Each row's pages copied behind the newest ones.
    copied = np.concatenate([np.arange(B), B + np.maximum(page_BM, 0).reshape(-1)])
    heads = np.asarray(cache_lib.heads_of(jnp.asarray(copied), K))
    own_BM = np.where(page_BM >= 0, np.arange(page_BM.size).reshape(page_BM.shape), -1)
    copies = cached(cache.prompts, k[heads], v[heads], jnp.asarray(position_XW[copied]))
    expected = attend(query, copies, seated(indices, own_BM, page_BM.size, 0), window)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("by_block", [True, False])
def test_of_narrow_caches_all_products_are_narrow_and_summed_in_float32(by_block: bool) -> None:
    query, cache, indices = case(by_block)
    parts = [(part.k[0], part.v[0]) for part in (cache.prompts, cache.newest, cache.pages)]
    narrow = jax.tree.map(lambda array: jnp.asarray(array, jnp.bfloat16), (query, *parts))
    see = cached_attention.masks(cache, indices, jnp.asarray(POSITION_B), None)

    def attended(query: jax.Array, *parts: cached_attention.KeysValues) -> jax.Array:
        return cached_attention.attend(query, *parts, indices, see)

    assert operands.of_products(attended, *narrow) == {("bfloat16", "bfloat16", "float32")}
    found = np.asarray(jax.jit(attended)(*narrow), np.float32)
    np.testing.assert_allclose(found, attend(query, cache, indices, None), atol=0.05)


def seated(indices: CacheIndices, page_BM: np.ndarray, pages: int, blocks: int) -> CacheIndices:
    given = shared_pages.assign(page_BM, pages, blocks)
    row_X, listed_BM, page_Y, row_YR = (None if x is None else jnp.asarray(x) for x in given)
    return dataclasses.replace(
        indices, row_X=row_X, page_BM=listed_BM, page_Y=page_Y, row_YR=row_YR
    )
