"""Attention of thoughts: to the text up to where each begins, and to their own tokens.

Thoughts begin at every token of a row. Two of two tokens each, behind the second of three:

    text          a b c
    position      0 1 2
    thoughts of b     2 3     their depths 1 and 2 behind b, in the text's own count of positions

                  a b c   p q   r s
    p, q of one   1 1 0   1 0   0 0
                  1 1 0   1 1   0 0       no thought sees what is behind its token,
    r, s of two   1 1 0   0 0   1 0       nor any other thought
                  1 1 0   0 0   1 1

All thoughts share the text's keys: T of them and T * P * I own ones are held, never T for every
token of a thought. Scores are made for some positions at a time, and made anew going backward.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from verifier.model.attention import MASKED
from verifier.model.products import einsum

_SCORES = 2**21  # float32 that are alive at once, where one position has no more


class Text(NamedTuple):
    """What thoughts see of the rows in which they begin."""

    key_BKTH: jax.Array
    value_BKTH: jax.Array
    positions_BT: jax.Array  # as in `view.seen`
    ends_BT: jax.Array


class Own(NamedTuple):
    """What they see of themselves; deeper tokens than the one that looks may be anything finite."""

    key_BTPIKH: jax.Array
    value_BTPIKH: jax.Array


def attend(
    query_BTPCNH: jax.Array, own: Own, text: Text, depth_C: jax.Array, window: int | None
) -> jax.Array:
    """What tokens of P thoughts at each of T positions take in.

    Args:
        query_BTPCNH: C tokens of each thought; N is a multiple of K.
        own: of tokens at the depths 1 to I.
        text: the rows.
        depth_C: int32, how far behind the text's token each query stands.
        window: as in `view.seen`.

    Returns:
        mixed_BTPCNH in the queries' dtype.
    """
    B, T, P, C, N, H = query_BTPCNH.shape
    K, own_count = text.key_BKTH.shape[1], own.key_BTPIKH.shape[3]
    order_S, depth_I = jnp.arange(T), jnp.arange(1, own_count + 1)
    own_seen_CI = depth_I <= depth_C[:, None]

    @jax.checkpoint
    def mixed(of_one: tuple[jax.Array, jax.Array, Own]) -> jax.Array:
        index, query_BPCNH, (key_BPIKH, value_BPIKH) = of_one
        grouped = (query_BPCNH * H**-0.5).reshape(B, P, C, K, N // K, H)
        text_scores = einsum("BPCKGH,BKSH->BKPCGS", grouped, text.key_BKTH)
        own_scores = einsum("BPCKGH,BPIKH->BKPCGI", grouped, key_BPIKH)
        seen_BCS = ((order_S <= index) & (index < text.ends_BT))[:, None]
        if window is not None:
            position_BC = text.positions_BT[:, index, None] + depth_C
            seen_BCS &= position_BC[:, :, None] - text.positions_BT[:, None] < window
            own_in_CI = own_seen_CI & (depth_C[:, None] - depth_I < window)
        else:
            own_in_CI = own_seen_CI
        text_scores = jnp.where(seen_BCS[:, None, None, :, None], text_scores, MASKED)
        own_scores = jnp.where(own_in_CI[:, None], own_scores, MASKED)
        weights = jax.nn.softmax(jnp.concatenate([text_scores, own_scores], axis=-1), axis=-1)
        weights = weights.astype(query_BPCNH.dtype)
        taken = einsum("BKPCGS,BKSH->BPCKGH", weights[..., :T], text.value_BKTH)
        taken += einsum("BKPCGI,BPIKH->BPCKGH", weights[..., T:], value_BPIKH)
        return taken.reshape(query_BPCNH.shape).astype(query_BPCNH.dtype)

    at_once = max(_SCORES // (B * N * P * C * (T + own_count)), 1)
    of_all = (order_S, *jax.tree.map(lambda each: jnp.moveaxis(each, 1, 0), (query_BTPCNH, own)))
    if at_once >= T:
        mixed_TBPCNH = jax.vmap(mixed)(of_all)
    else:
        mixed_TBPCNH = jax.lax.map(mixed, of_all, batch_size=at_once)
    return jnp.moveaxis(mixed_TBPCNH, 0, 1)
