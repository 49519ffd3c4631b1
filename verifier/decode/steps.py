"""The two steps of decoding on the device: prefill reads prompts, generate writes a token a row."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from verifier.decode.split_model import Weights
from verifier.decode.state import STATE_PARTS, DecodeState, DecodeStatic
from verifier.decode.thinking import Thinks, backbone_of, heed
from verifier.model import cache as cache_lib
from verifier.model import sampling
from verifier.model.cache import Given
from verifier.model.cached_thoughts import Rows
from verifier.model.sharding import ROWS, WHOLE
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer


class Orders(NamedTuple):
    """What the host says about one step."""

    # bool: this slot is given something of prompt `indices.prompt_B` to write from here on
    start_B: Given
    from_B: Given  # int32, tokens of it that are in its pages already
    where_B: Given  # uint8, where it is after them: `Watch`
    copied_B: Given  # bool: its newest page has some of them (`state.copy_newest`)
    go_B: Given  # bool: stop waiting
    forced_B: Given  # int32: write this token instead of a drawn one; -1: draw
    limit_B: Given  # int32, tokens of the solution at which the row is over
    row_Q: Given  # int32, the row that each lane follows; B: none
    joins_Q: Given  # bool: from this step on
    rank_Q: Given  # int32, of the token that the lane takes, the most likely first; 0: it draws
    keys_Q2: Given  # uint32, one raw key a sample; token t is drawn with fold_in(key, t)
    column: Given  # int32, the column of the newest pages to write
    temperature: Given  # float32


class Watch(NamedTuple):
    """What the host must see before a row goes on, by where the row is.

    The first index is OUTSIDE an annotation, maybe INSIDE one, or BEHIND its first `=`. Where rows
    think before steps, these are six: BEGINS more where the next token begins one.
    """

    # uint8: 0 nothing, WAIT after the token is written, HOLD it back: the host may write another
    # instead.
    event_3V: Given
    where_3V: Given  # uint8, where the row is after the token


WAIT, HOLD = 1, 2
OUTSIDE, INSIDE, BEHIND = 0, 1, 2
BEGINS = 3


class Drawn(NamedTuple):
    """What the host reads of every step.

    A row goes on with what the first of its lanes draws; lanes that draw something else leave it.
    Of a token that is held back nobody knows yet what is written instead: lanes whose tokens are
    all to be held back stay together.
    """

    token_B: Given  # int32
    logprob_B: Given  # float32, the model's own log-probability (temperature 1) of that token
    # bool: the token was written; otherwise the row is idle, waits, or holds it back.
    written_B: Given
    look_B: Given  # bool: the row waits for the host's word on this token
    token_Q: Given  # int32, what each lane has drawn
    logprob_Q: Given  # float32, of that
    follows_Q: Given  # bool: the lane goes on with its row
    # Of what the lanes of each row draw from, U the likeliest ids, int32, and their
    # log-probabilities, float32, as above. None: not asked for.
    top_id_BU: Given | None = None
    top_logprob_BU: Given | None = None


class _Choice(NamedTuple):
    """What is to be written next, if nothing is held back; as in `Drawn`."""

    token_B: jax.Array
    logprob_B: jax.Array
    token_Q: jax.Array
    logprob_Q: jax.Array
    follows_Q: jax.Array  # bool: lanes that have a row now
    top_BU: tuple[jax.Array, jax.Array] | tuple[()]  # the likeliest ids, how likely; or nothing


_ORDERS = Orders(*[ROWS] * 11, *[WHOLE] * 2)


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
    model = backbone_of(static.graphdef.merge(weights))
    hidden_NSD, new = model.prefill(tokens_NS, length_N)
    last_ND = jnp.take_along_axis(hidden_NSD, (new.length_P - 1)[:, None, None], axis=1)[:, 0]
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
    whole = static.graphdef.merge(weights)
    model, start_B = backbone_of(whole), orders.start_B
    runs_B = state.runs_B | start_B
    active_B = runs_B & (start_B | orders.go_B | ~state.waits_B)
    where_B = jnp.where(start_B, orders.where_B, state.where_B)
    written_B = jnp.where(start_B, orders.from_B, state.written_B)
    hidden_BD = jnp.where(
        start_B[:, None], state.prompt_hidden_PD[indices.prompt_B], state.hidden_BD
    )

    from_BD = hidden_BD
    if static.thinking is not None:
        assert isinstance(whole, Thinker)
        thinks_B = active_B & ((where_B >= BEGINS) | (static.thinking.every == "token"))
        thinks = Thinks(thinks_B, _keys_of_rows(orders, state.follows_Q), written_B)
        rows = _read_rows(_emptied(state.cache, orders), indices, written_B)
        from_BD = heed(static.thinking, whole, hidden_BD, rows, thinks, static.vocab_size)
    choice = _draw(static, model, from_BD, written_B, orders, state.follows_Q)
    token_B, row_Q = choice.token_B, jnp.minimum(orders.row_Q, len(start_B) - 1)
    free_B = orders.forced_B < 0
    event_B = jnp.where(free_B, watch.event_3V[where_B, token_B], 0)
    held_B = active_B & (event_B == HOLD)
    writes_B = active_B & ~held_B
    look_B = held_B | (writes_B & (event_B == WAIT))
    ended_B = writes_B & ((token_B == static.end_id) | (written_B + 1 >= orders.limit_B))
    held_Q = held_B[row_Q] & (watch.event_3V[where_B[row_Q], choice.token_Q] == HOLD)
    leaves_Q = (active_B & free_B)[row_Q] & (choice.token_Q != token_B[row_Q]) & ~held_Q
    follows_Q = choice.follows_Q & ~leaves_Q

    cache = _emptied(state.cache, orders)
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
        follows_Q=follows_Q,
    )
    return state, Drawn(
        token_B,
        choice.logprob_B,
        writes_B,
        look_B,
        choice.token_Q,
        choice.logprob_Q,
        follows_Q,
        *choice.top_BU,
    )


def _draw(
    static: DecodeStatic,
    model: Transformer,
    hidden_BD: jax.Array,
    written_B: jax.Array,
    orders: Orders,
    follows_Q: jax.Array,
) -> _Choice:
    """Every lane's next token, and every row's: forced, or that of the first of its lanes."""
    rows = len(hidden_BD)
    logits_BV = model.logits(hidden_BD)
    if static.among:
        among_V = np.isin(np.arange(logits_BV.shape[-1]), static.among)
        logits_BV = jnp.where(among_V, logits_BV, -jnp.inf)
    row_Q = jnp.minimum(orders.row_Q, rows - 1)
    token_Q, logprob_Q = sampling.draw(
        logits_BV,
        sampling.uniforms(orders.keys_Q2, written_B[row_Q]),
        orders.temperature,
        row_Q,
        orders.rank_Q,
        top_k=static.top_k,
        top_p=static.top_p,
        vocab_size=static.vocab_size,
    )
    follows_Q = follows_Q | orders.joins_Q
    first_B = _first_lanes(orders, follows_Q)
    forced_B = orders.forced_B
    token_B = jnp.where(forced_B >= 0, forced_B, token_Q[first_B]).astype(jnp.int32)
    # Most steps force nothing: only the others pay for a second pass over the vocabulary.
    logprob_B = jax.lax.cond(
        jnp.any(forced_B >= 0),
        lambda: jnp.where(
            forced_B >= 0, _logprob(logits_BV, token_B, static.vocab_size), logprob_Q[first_B]
        ),
        lambda: logprob_Q[first_B],
    )
    top_BU: tuple[jax.Array, jax.Array] | tuple[()] = ()
    if count := min(static.top_logprobs, static.vocab_size):
        top_BU = sampling.likeliest(logits_BV, count, vocab_size=static.vocab_size)
    return _Choice(token_B, logprob_B, token_Q, logprob_Q, follows_Q, top_BU)


def _first_lanes(orders: Orders, follows_Q: jax.Array) -> jax.Array:
    """The first of each row's lanes; of a row without any the last of all."""
    rows, lanes = len(orders.start_B), len(follows_Q)
    followed_Q = jnp.where(follows_Q, orders.row_Q, rows)
    return jnp.full(rows, lanes - 1).at[followed_Q].min(jnp.arange(lanes), mode="drop")


def _keys_of_rows(orders: Orders, follows_Q: jax.Array) -> jax.Array:
    """The key of each row's first lane: where rows think, it has no other."""
    return orders.keys_Q2[_first_lanes(orders, follows_Q | orders.joins_Q)]


def _read_rows(
    cache: cache_lib.Cache, indices: cache_lib.CacheIndices, written_B: jax.Array
) -> Rows:
    """What rows have read that have written so much."""
    return Rows(cache, indices, cache.prompts.length_P[indices.prompt_B] + written_B - 1)


def _emptied(cache: cache_lib.Cache, orders: Orders) -> cache_lib.Cache:
    """Forgets what the last solutions of slots have left in which others start."""
    fresh_B, newest = orders.start_B & ~orders.copied_B, cache.newest
    position_BW = jnp.where(fresh_B[:, None], -1, newest.position_NW)
    newest = dataclasses.replace(newest, position_NW=position_BW)
    return dataclasses.replace(cache, newest=newest)


def _logprob(logits_xV: jax.Array, token_x: jax.Array, vocab_size: int) -> jax.Array:
    """The log-probability of `token_x` at temperature 1 among the ids that may be written."""
    logits_xV = logits_xV[..., :vocab_size].astype(jnp.float32)
    chosen_x = jnp.take_along_axis(logits_xV, token_x[..., None], axis=-1)[..., 0]
    return chosen_x - jax.nn.logsumexp(logits_xV, axis=-1)
