"""Attention of one new token a row to its prompt and its pages, joined in one softmax.

Keys are repeated neither for the samples of a problem nor for the query heads of a group: prompts
and pages are scored where they lie, and the two parts meet through their maxima and sums alone (as
FlashDecoding joins the pieces of a long row; here the pieces are what lies apart).
Products are summed in float32.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from verifier.model.attention import MASKED
from verifier.model.cache import Cache, CacheIndices, heads_of
from verifier.model.products import matmul
from verifier.model.relative import RelativeBias

KeysValues = tuple[jax.Array, jax.Array]


class Part(NamedTuple):
    """Softmax over some of the keys of every row, not yet divided."""

    top: jax.Array  # [B, K, G] float32, the highest score
    total: jax.Array  # [B, K, G] float32, sum of exp(score - top)
    mixed: jax.Array  # [B, K, G, H] float32, sum of exp(score - top) * value


class Biases(NamedTuple):
    """What scores are raised by where positions are relative, float32, the same in all layers."""

    prompt_EKRGS: jax.Array
    pages_X1KGW: jax.Array
    shared_YRKGW: jax.Array | None  # None: no page is shared


class Masks(NamedTuple):
    """What each query may see, the same in all layers."""

    prompt_ERS: jax.Array  # R is 1 where a whole block sees the same
    pages_XW: jax.Array
    shared_YRW: jax.Array | None  # likewise; None: no page is shared
    biases: Biases | None = None  # None: positions are not relative
    crossed_E1S: jax.Array | None = None  # of what an encoder has read; None: there is none


def masks(
    cache: Cache,
    indices: CacheIndices,
    position_B: jax.Array,
    sliding_window: int | None,
    relative: RelativeBias | None = None,
) -> Masks:
    """What each row may see; made once a step.

    Args:
        cache: the new tokens are in `cache.newest` already.
        indices: which row sees which prompt and pages.
        position_B: where the new tokens stand in their texts.
        sliding_window: of the layers.
        relative: of a model with relative positions.
    """
    length_E = cache.prompts.length_P
    if indices.prompt_E is not None:
        length_E = length_E[indices.prompt_E]
    order_S = jnp.arange(cache.prompts.k[0].shape[2])
    position_XW = jnp.concatenate([cache.newest.position_NW, cache.pages.position_NW])
    prompt_ERS, pages_XW = order_S < length_E[:, None, None], position_XW >= 0
    shares = indices.page_Y is not None
    page_Y = indices.page_Y if shares else jnp.zeros(0, jnp.int32)
    position_Y1W = position_XW[page_Y][:, None]
    shared_YRW = position_Y1W >= 0
    if sliding_window is not None:
        last = jnp.append(position_B, 0)  # nobody's
        prompt_ERS = prompt_ERS & (last[indices.row_ER][:, :, None] - order_S < sliding_window)
        pages_XW &= last[indices.row_X][:, None] - position_XW < sliding_window
        if shares:
            last_YR1 = last[indices.row_YR][:, :, None]
            shared_YRW = shared_YRW & (last_YR1 - position_Y1W < sliding_window)
    see = Masks(prompt_ERS, pages_XW, shared_YRW if shares else None)
    if relative is not None:
        kv_heads = cache.newest.k[0].shape[0] // len(position_B)
        see = see._replace(
            biases=_biases(relative, indices, position_B, position_XW, kv_heads, order_S)
        )
    if (crossed := cache.prompts.crossed) is not None:
        length_E = crossed.length_P
        if indices.prompt_E is not None:
            length_E = length_E[indices.prompt_E]
        crossed_S = jnp.arange(crossed.k[0].shape[2])
        see = see._replace(crossed_E1S=crossed_S < length_E[:, None, None])
    return see


def _biases(
    relative: RelativeBias,
    indices: CacheIndices,
    position_B: jax.Array,
    position_XW: jax.Array,
    kv_heads: int,
    order_S: jax.Array,
) -> Biases:
    """By where keys stand less where the row's newest token does; arguments as in `masks`."""
    last = jnp.append(position_B, 0)  # nobody's

    def of(place: jax.Array) -> jax.Array:
        """[Y, R, K, G, W] of [Y, R, W]."""
        each_NYRW = relative(place)
        grouped = each_NYRW.reshape(kv_heads, -1, *place.shape)
        return grouped.transpose(2, 3, 0, 1, 4)

    shared_YRKGW = None
    if indices.page_Y is not None:
        place_YRW = position_XW[indices.page_Y][:, None] - last[indices.row_YR][:, :, None]
        shared_YRKGW = of(place_YRW)
    return Biases(
        of(order_S - last[indices.row_ER][:, :, None]).swapaxes(1, 2),
        of((position_XW - last[indices.row_X][:, None])[:, None]),
        shared_YRKGW,
    )


def attend(
    query_BNH: jax.Array,
    prompt: KeysValues,
    newest: KeysValues,
    pages: KeysValues,
    indices: CacheIndices,
    see: Masks,
) -> jax.Array:
    """Softmax attention [B, N, H] of one token a row.

    Args:
        query_BNH: rotated queries.
        prompt: one layer's k [P*K, H, S] and v [P*K, S, H].
        newest: likewise k [B*K, H, W] and v [B*K, W, H], the new tokens in them (`cache.append`).
        pages: likewise k [A*K, H, W] and v [A*K, W, H].
        indices: which row sees what.
        see: `masks`.
    """
    query = grouped(query_BNH, newest[0].shape[0] // len(query_BNH))
    part = of_cache(query, prompt, newest, pages, indices, see)
    mixed = part.mixed / part.total[..., None]
    return mixed.astype(query_BNH.dtype).reshape(query_BNH.shape)


def of_cache(
    query_BKGH: jax.Array,
    prompt: KeysValues,
    newest: KeysValues,
    pages: KeysValues,
    indices: CacheIndices,
    see: Masks,
) -> Part:
    """`attend` to all that the cache has of each row, for whoever sees more than that.

    query_BKGH: `grouped`.
    """
    bias_EKRGS = None if see.biases is None else see.biases.prompt_EKRGS
    return join(
        _prompt(query_BKGH, *prompt, indices, see.prompt_ERS, bias_EKRGS),
        _pages(query_BKGH, newest, pages, indices, see),
    )


def cross(
    query_BNH: jax.Array, crossed: KeysValues, indices: CacheIndices, see: Masks, kv_heads: int
) -> jax.Array:
    """Softmax attention [B, N, H] of one token a row to what an encoder has read of its prompt.

    Args:
        query_BNH: as they are.
        crossed: one layer's k [P*K, H, S] and v [P*K, S, H].
        indices: which row sees what.
        see: `masks`.
        kv_heads: K.
    """
    assert see.crossed_E1S is not None
    part = _prompt(grouped(query_BNH, kv_heads), *crossed, indices, see.crossed_E1S, None)
    mixed = part.mixed / part.total[..., None]
    return mixed.astype(query_BNH.dtype).reshape(query_BNH.shape)


def grouped(query_BNH: jax.Array, kv_heads: int) -> jax.Array:
    """Scaled queries [B, K, G, H]."""
    rows, heads, head_width = query_BNH.shape
    scaled = query_BNH * head_width**-0.5
    return scaled.reshape(rows, kv_heads, heads // kv_heads, head_width)


def _prompt(
    query_BKGH: jax.Array,
    k: jax.Array,
    v: jax.Array,
    indices: CacheIndices,
    see_ERS: jax.Array,
    bias_EKRGS: jax.Array | None,
) -> Part:
    """All rows of a block against its prompt, k [P*K, H, S] and v [P*K, S, H]: one product."""
    _, K, G, H = query_BKGH.shape
    E, R = indices.row_ER.shape
    if indices.prompt_E is not None:
        k, v = _blocks(k, indices.prompt_E, K), _blocks(v, indices.prompt_E, K)
    query = (
        query_BKGH.at[indices.row_ER]
        .get(mode="fill", fill_value=0)
        .swapaxes(1, 2)
        .reshape(E * K, R * G, H)
    )
    scores = matmul(query, k).reshape(E, K, R, G, -1)
    scores = scores if bias_EKRGS is None else scores + bias_EKRGS
    scores = jnp.where(see_ERS[:, None, :, None, :], scores, MASKED)
    top = scores.max(axis=-1)
    weights = jnp.exp(scores - top[..., None])
    mixed = matmul(weights.reshape(E * K, R * G, -1).astype(v.dtype), v).reshape(E, K, R, G, H)
    e_B, r_B = indices.block_slot_B // R, indices.block_slot_B % R
    return Part(*(x_EKR[e_B, :, r_B] for x_EKR in (top, weights.sum(axis=-1), mixed)))


def _blocks(x: jax.Array, prompt_E: jax.Array, kv_heads: int) -> jax.Array:
    """The keys or values [E*K, ...] of each block's prompt, out of [P*K, ...].

    Chosen by a product with ones and zeros, which is exact for finite numbers: XLA's CPU compiler
    fuses a gather into what follows, number by number, and takes as long for it as for all the rest
    of attention to prompts.
    """
    flat_P = x.reshape(x.shape[0] // kv_heads, -1)
    chosen = jax.nn.one_hot(prompt_E, flat_P.shape[0], dtype=x.dtype)
    exact = {"precision": jax.lax.Precision.HIGHEST, "preferred_element_type": jnp.float32}
    return jnp.matmul(chosen, flat_P, **exact).astype(x.dtype).reshape(-1, *x.shape[1:])


def _pages(
    query_BKGH: jax.Array,
    newest: KeysValues,
    pages: KeysValues,
    indices: CacheIndices,
    see: Masks,
) -> Part:
    """Every page against the query of the row that has it, or of the rows, then the pages of a row
    together.
    """
    B, K, G, _ = query_BKGH.shape
    row_X1, see_X1W = jnp.minimum(indices.row_X, B - 1)[:, None], see.pages_XW[:, None]
    sets = [(newest, row_X1[:B], see_X1W[:B]), (pages, row_X1[B:], see_X1W[B:])]
    if see.shared_YRW is not None:
        page_YK = heads_of(jnp.maximum(indices.page_Y - B, 0), K)  # of no rows: some page
        shared = pages[0][page_YK], pages[1][page_YK]
        sets.append((shared, jnp.minimum(indices.row_YR, B - 1), see.shared_YRW))
    biases: list[jax.Array | None] = [None] * len(sets)
    if see.biases is not None:
        own_X1KGW = see.biases.pages_X1KGW
        biases = [own_X1KGW[:B], own_X1KGW[B:], see.biases.shared_YRKGW][: len(sets)]
    scores = [
        _scores(query_BKGH, k, row_YR, see_YRW, bias)
        for ((k, _), row_YR, see_YRW), bias in zip(sets, biases, strict=True)
    ]
    # One maximum for all pages of a row, so that their weights add up as they are.
    highest = jnp.concatenate([each.max(axis=-1).reshape(-1, K, G) for each in scores])
    top_BKG = highest.at[indices.page_BM].get(mode="fill", fill_value=MASKED).max(axis=1)
    # pages of nobody would overflow
    weights = [
        jnp.exp(jnp.minimum(each - top_BKG[row_YR][..., None], 0.0))
        for each, (_, row_YR, _) in zip(scores, sets, strict=True)
    ]
    total = jnp.concatenate([each.sum(axis=-1).reshape(-1, K, G) for each in weights])
    mixed = jnp.concatenate(
        [_mix(each, v) for each, ((_, v), _, _) in zip(weights, sets, strict=True)]
    )

    def together(x_X: jax.Array) -> jax.Array:
        return x_X.at[indices.page_BM].get(mode="fill", fill_value=0).sum(axis=1)

    return Part(top_BKG, together(total), together(mixed))


def _scores(
    query_BKGH: jax.Array,
    k: jax.Array,
    row_YR: jax.Array,
    see_YRW: jax.Array,
    bias_YRKGW: jax.Array | None,
) -> jax.Array:
    """Scores [Y, R, K, G, W] of Y pages, each for R rows that have it: one product a page."""
    _, K, G, H = query_BKGH.shape
    Y, R = row_YR.shape
    query = query_BKGH[row_YR].swapaxes(1, 2).reshape(Y * K, R * G, H)
    scores = matmul(query, k).reshape(Y, K, R, G, -1).swapaxes(1, 2)
    scores = scores if bias_YRKGW is None else scores + bias_YRKGW
    return jnp.where(see_YRW[:, :, None, None, :], scores, MASKED)


def _mix(weights_YRKGW: jax.Array, v: jax.Array) -> jax.Array:
    """The values of these pages, weighed: [Y * R, K, G, H]."""
    Y, R, K, G, W = weights_YRKGW.shape
    weights = weights_YRKGW.swapaxes(1, 2).reshape(Y * K, R * G, W).astype(v.dtype)
    return matmul(weights, v).reshape(Y, K, R, G, -1).swapaxes(1, 2).reshape(Y * R, K, G, -1)


def join(one: Part, other: Part) -> Part:
    """Softmax over the keys of both parts."""
    top = jnp.maximum(one.top, other.top)
    scale_one, scale_other = jnp.exp(one.top - top), jnp.exp(other.top - top)
    total = scale_one * one.total + scale_other * other.total
    mixed = scale_one[..., None] * one.mixed + scale_other[..., None] * other.mixed
    return Part(top, total, mixed)
