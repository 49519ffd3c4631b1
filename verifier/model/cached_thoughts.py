"""A thought behind each row's newest token, over the cache of what the row has read.

Of a row that has read a b c, a thought of A = 4 tokens:

    cache         a b c                        the row's prompt and pages
    own                 <start> p q <end>      A keys a row, which are gone with the thought
    draws                  p    q              at temperature 1, as while training

A thought's tokens see the row's text and those of the thought before them. They have the positions
that follow the newest token's, as if they were written there (`thoughts`). <end> and the token
before it are read at once, since nothing is drawn between them: a thought of A tokens is A - 1
passes over the weights.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from verifier.model import cached_attention, sampling
from verifier.model.attention import MASKED
from verifier.model.cache import Cache, CacheIndices
from verifier.model.cached_attention import Masks, Part
from verifier.model.products import matmul, matmul_nt
from verifier.model.thoughts import MARKS, Thinker
from verifier.model.transformer import Transformer


class Rows(NamedTuple):
    """Where thoughts begin: behind the newest token of every row."""

    cache: Cache  # is read and left as it is
    indices: CacheIndices
    position_B: jax.Array  # int32, of the newest token


class Thought(NamedTuple):
    """What a thought has come to."""

    end_BD: jax.Array  # the state of <end>, behind the final norm
    tokens_IB: jax.Array  # int32, between the marks


class _Own(NamedTuple):
    """A layer's keys and values of thoughts; those of tokens that are not read yet are 0."""

    key_BKAH: jax.Array
    value_BKAH: jax.Array


def think(thinker: Thinker, rows: Rows, uniform_IB: jax.Array, vocab_size: int) -> Thought:
    """Writes a thought for every row.

    Args:
        thinker: whose decoder has read the rows.
        rows: idle ones among them, whose thoughts mean nothing.
        uniform_IB: float32 in [0, 1), what each of I = A - 2 tokens is drawn with.
        vocab_size: static; ids from here on are never drawn. The marks have none.
    """
    (drawn, B), backbone = uniform_IB.shape, thinker.backbone
    start_BD, end_BD = (
        jnp.broadcast_to(row_D.astype(backbone.dtype), (B, len(row_D)))
        for row_D in thinker.mark_rows()
    )

    def step(
        carry: tuple[tuple[_Own, ...], jax.Array], given: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[tuple[_Own, ...], jax.Array], jax.Array]:
        (own, row_BD), (uniform_B, depth) = carry, given
        hidden_B1D, own = _read(backbone, row_BD[:, None], depth, own, rows)
        logits_BV = backbone.logits(hidden_B1D[:, 0])
        token_B, _ = sampling.draw(logits_BV, uniform_B, 1.0, vocab_size=vocab_size)
        return (own, backbone.look_up(token_B).astype(backbone.dtype)), token_B

    depth_I = jnp.arange(1, drawn + 1)
    nothing = _nothing(rows, drawn + MARKS)
    (own, row_BD), tokens_IB = jax.lax.scan(step, (nothing, start_BD), (uniform_IB, depth_I))
    last_B2D = jnp.stack([row_BD, end_BD], axis=1)
    hidden_B2D, _ = _read(backbone, last_B2D, jnp.int32(drawn + 1), own, rows)
    return Thought(hidden_B2D[:, 1], tokens_IB)


def _nothing(rows: Rows, count: int) -> tuple[_Own, ...]:
    """Room for the keys and values of so many tokens, layer by layer."""
    B = len(rows.position_B)

    def room(like: jax.Array) -> jax.Array:
        heads, head_width, _ = like.shape
        return jnp.zeros((B, heads // B, count, head_width), like.dtype)

    return tuple(_Own(room(k), room(k)) for k in rows.cache.newest.k)


def _read(
    backbone: Transformer,
    rows_BCD: jax.Array,
    depth: jax.Array,
    own: tuple[_Own, ...],
    rows: Rows,
) -> tuple[jax.Array, tuple[_Own, ...]]:
    """Reads C tokens of every thought, the first of them so deep.

    Returns:
        hidden_BCD behind the final norm, and the thoughts' keys and values with the new ones.
    """
    windows, cache = backbone.arch.windows, rows.cache
    depth_C = depth + jnp.arange(rows_BCD.shape[1])
    position_BC = rows.position_B[:, None] + depth_C
    see = {
        window: [
            cached_attention.masks(cache, rows.indices, position_B, window)
            for position_B in position_BC.T
        ]
        for window in dict.fromkeys(windows)
    }
    x, turns = backbone.place(rows_BCD, position_BC)
    grown = []
    for layer, (block, window, turn) in enumerate(
        zip(backbone.blocks, windows, turns, strict=True)
    ):
        q_BCNH, *new = block.project(x, turn)
        at_depth = (
            jax.lax.dynamic_update_slice_in_dim(held, part.astype(held.dtype), depth - 1, axis=2)
            for held, part in zip(own[layer], new, strict=True)
        )
        grown.append(_Own(*at_depth))
        mixed = [
            _attend(q_BCNH[:, c], rows, layer, see[window][c], (grown[-1], depth_C[c], window))
            for c in range(len(depth_C))
        ]
        x = block.join(x, jnp.stack(mixed, axis=1))
    return backbone.finish(x), tuple(grown)


def _attend(
    query_BNH: jax.Array,
    rows: Rows,
    layer: int,
    see: Masks,
    thought: tuple[_Own, jax.Array, int | None],
) -> jax.Array:
    """What a token of each thought takes in of its row and of its thought, [B, N, H].

    thought: the layer's keys and values, how deep the token stands, and the layer's window.
    """
    cache, own = rows.cache, thought[0]
    query = cached_attention.grouped(query_BNH, own.key_BKAH.shape[1])
    prompt, newest, pages = (
        (part.k[layer], part.v[layer]) for part in (cache.prompts, cache.newest, cache.pages)
    )
    text = cached_attention.of_cache(query, prompt, newest, pages, rows.indices, see)
    part = cached_attention.join(text, _of_thought(query, *thought))
    mixed = part.mixed / part.total[..., None]
    return mixed.astype(query_BNH.dtype).reshape(query_BNH.shape)


def _of_thought(query_BKGH: jax.Array, own: _Own, depth: jax.Array, window: int | None) -> Part:
    """Softmax over a thought's tokens up to the one that looks."""
    depth_A = jnp.arange(1, own.key_BKAH.shape[2] + 1)
    seen_A = depth_A <= depth
    if window is not None:
        seen_A &= depth - depth_A < window
    scores = jnp.where(seen_A, matmul_nt(query_BKGH, own.key_BKAH), MASKED)
    top = scores.max(axis=-1)
    weights = jnp.exp(scores - top[..., None])
    mixed = matmul(weights.astype(own.value_BKAH.dtype), own.value_BKAH)
    return Part(top, weights.sum(axis=-1), mixed)
