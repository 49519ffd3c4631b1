"""The two steps of decoding on the device: prefill reads prompts, generate writes a token a row."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from verifier.decode.split_model import Weights
from verifier.decode.state import STATE_PARTS, DecodeState, DecodeStatic
from verifier.model import cache as cache_lib
from verifier.model import sampling
from verifier.model.cache import Given
from verifier.model.sharding import ROWS, WHOLE
from verifier.model.transformer import Transformer


class Orders(NamedTuple):
    """What the host says about one step."""

    start_B: Given  # bool: a new solution of prompt `indices.prompt_B` begins in this slot
    go_B: Given  # bool: stop waiting
    forced_B: Given  # int32: write this token instead of a drawn one; -1: draw
    keys_B2: Given  # uint32, one raw key a sample; token t is drawn with fold_in(key, t)
    column: Given  # int32, the column of the newest pages to write
    limit: Given  # int32, most tokens of a solution
    temperature: Given  # float32


class Watch(NamedTuple):
    """What the host must see before a row goes on, by where the row is.

    The first index is OUTSIDE an annotation, maybe INSIDE one, or BEHIND its first `=`.
    """

    # uint8: 0 nothing, WAIT after the token is written, HOLD it back: the host may write another
    # instead.
    event_3V: Given
    where_3V: Given  # uint8, where the row is after the token


WAIT, HOLD = 1, 2
OUTSIDE, INSIDE, BEHIND = 0, 1, 2


class Drawn(NamedTuple):
    """What the host reads of every step."""

    token_B: jax.Array  # int32
    logprob_B: jax.Array  # float32, the model's own log-probability (temperature 1) of that token
    # bool: the token was written; otherwise the row is idle, waits, or holds it back.
    written_B: jax.Array
    look_B: jax.Array  # bool: the row waits for the host's word on this token


_ORDERS = Orders(ROWS, ROWS, ROWS, ROWS, WHOLE, WHOLE, WHOLE)


@functools.partial(jax.jit, static_argnames=("static",), donate_argnames=("state",))
def prefill(
    static: DecodeStatic,
    weights: Weights,
    state: DecodeState,
    tokens_NS: Given,
    length_N: Given,
    slot_N: Given,
) -> DecodeState:
    """Reads N right-padded prompts once into prompt slots (P: that one is dropped)."""
    read = static.by_device(
        functools.partial(_prefill, static), (STATE_PARTS, ROWS, ROWS, ROWS), STATE_PARTS
    )
    return read(weights, state, tokens_NS, length_N, slot_N)


def _prefill(
    static: DecodeStatic,
    weights: Weights,
    state: DecodeState,
    tokens_NS: jax.Array,
    length_N: jax.Array,
    slot_N: jax.Array,
) -> DecodeState:
    hidden_NSD, new = static.graphdef.merge(weights).prefill(tokens_NS, length_N)
    last_ND = jnp.take_along_axis(hidden_NSD, (length_N - 1)[:, None, None], axis=1)[:, 0]
    cache = dataclasses.replace(
        state.cache, prompts=cache_lib.insert(state.cache.prompts, new, slot_N)
    )
    return dataclasses.replace(
        state,
        cache=cache,
        prompt_hidden_PD=state.prompt_hidden_PD.at[slot_N].set(last_ND, mode="drop"),
    )


@functools.partial(jax.jit, static_argnames=("static",), donate_argnames=("state",))
def generate(
    static: DecodeStatic,
    weights: Weights,
    state: DecodeState,
    indices: cache_lib.CacheIndices,
    orders: Orders,
    watch: Watch,
) -> tuple[DecodeState, Drawn]:
    """Draws, or writes as ordered, one token of every running row, and reads it."""
    step = static.by_device(
        functools.partial(_generate, static),
        (STATE_PARTS, ROWS, _ORDERS, WHOLE),
        (STATE_PARTS, ROWS),
    )
    return step(weights, state, indices, orders, watch)


def _generate(
    static: DecodeStatic,
    weights: Weights,
    state: DecodeState,
    indices: cache_lib.CacheIndices,
    orders: Orders,
    watch: Watch,
) -> tuple[DecodeState, Drawn]:
    model = static.graphdef.merge(weights)
    start_B = orders.start_B
    runs_B = state.runs_B | start_B
    active_B = runs_B & (start_B | orders.go_B | ~state.waits_B)
    where_B = jnp.where(start_B, OUTSIDE, state.where_B)
    written_B = jnp.where(start_B, 0, state.written_B)
    hidden_BD = jnp.where(
        start_B[:, None], state.prompt_hidden_PD[indices.prompt_B], state.hidden_BD
    )

    token_B, logprob_B = _draw(static, model, hidden_BD, written_B, orders)
    event_B = jnp.where(orders.forced_B < 0, watch.event_3V[where_B, token_B], 0)
    held_B = active_B & (event_B == HOLD)
    writes_B = active_B & ~held_B
    look_B = held_B | (writes_B & (event_B == WAIT))
    ended_B = writes_B & ((token_B == static.end_id) | (written_B + 1 >= orders.limit))

    position_XW = state.cache.pages.position_XW
    # Forgets what the slot's last solution left.
    fresh_BW = jnp.where(start_B[:, None], -1, position_XW[: len(start_B)])
    pages = dataclasses.replace(
        state.cache.pages, position_XW=jax.lax.dynamic_update_slice(position_XW, fresh_BW, (0, 0))
    )
    cache = dataclasses.replace(state.cache, pages=pages)
    position_B = cache.prompts.length_P[indices.prompt_B] + written_B
    read_BD, cache = model.extend(token_B, position_B, writes_B, cache, indices, orders.column)
    state = DecodeState(
        cache=cache,
        prompt_hidden_PD=state.prompt_hidden_PD,
        hidden_BD=jnp.where(writes_B[:, None], read_BD, hidden_BD),
        written_B=written_B + writes_B,
        runs_B=runs_B & ~ended_B,
        waits_B=jnp.where(active_B, look_B, state.waits_B),
        where_B=jnp.where(writes_B, watch.where_3V[where_B, token_B].astype(jnp.int32), where_B),
    )
    return state, Drawn(token_B, logprob_B, writes_B, look_B)


def _draw(
    static: DecodeStatic,
    model: Transformer,
    hidden_BD: jax.Array,
    written_B: jax.Array,
    orders: Orders,
) -> tuple[jax.Array, jax.Array]:
    """Every row's next token, forced or drawn, and its log-probability."""
    logits_BV = model.logits(hidden_BD)
    uniform_B = sampling.uniforms(orders.keys_B2, written_B)
    drawn_B, logprob_B = sampling.draw(
        logits_BV,
        uniform_B,
        orders.temperature,
        top_k=static.top_k,
        top_p=static.top_p,
        vocab_size=static.vocab_size,
    )
    forced_B = orders.forced_B
    token_B = jnp.where(forced_B >= 0, forced_B, drawn_B).astype(jnp.int32)
    # Most steps force nothing: only the others pay for a second pass over the vocabulary.
    logprob_B = jax.lax.cond(
        jnp.any(forced_B >= 0),
        lambda: jnp.where(
            forced_B >= 0, _logprob(logits_BV, token_B, static.vocab_size), logprob_B
        ),
        lambda: logprob_B,
    )
    return token_B, logprob_B


def _logprob(logits_xV: jax.Array, token_x: jax.Array, vocab_size: int) -> jax.Array:
    """The log-probability of `token_x` at temperature 1 among the ids that may be written."""
    logits_xV = logits_xV[..., :vocab_size].astype(jnp.float32)
    chosen_x = jnp.take_along_axis(logits_xV, token_x[..., None], axis=-1)[..., 0]
    return chosen_x - jax.nn.logsumexp(logits_xV, axis=-1)
