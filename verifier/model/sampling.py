"""From logits to a token and its log-probability, and the random numbers for it.

One uniform number a row and an inverse CDF in two levels, since noise for every id of a large
vocabulary costs a third of a CPU's step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

_BLOCK = 256  # ids of one block of the inverse CDF's upper level
MOST_LOGITS = 2**24  # alive at once while texts are drawn from, 64 MiB in float32
MOST_RANK = 20  # of a token that is asked for by its rank


def sample_key(seed: int, problem_id: str, sample_id: int) -> np.ndarray:
    """The key of one sample: uint32 [2], raw threefry key data.

    A hash of all three, so no two of them shift into each other: streams of seed s and sample j + 1
    and of seed s + 1 and sample j have nothing in common. Token t is drawn with `uniforms(key, t)`.
    """
    # numbers first: any text may follow without ambiguity
    text = f"{int(seed)} {int(sample_id)} {problem_id}"
    return np.frombuffer(
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "<u4"
    ).astype(np.uint32)


@jax.jit
def uniforms(keys_B2: jax.Array, t: jax.Array) -> jax.Array:
    """One number in [0, 1) a row, float32 [B], from fold_in(key, t).

    keys_B2: uint32 raw keys; t: int32 scalar or [B].
    """
    keys_B = jax.random.wrap_key_data(keys_B2, impl="threefry2x32")
    t_B = jnp.broadcast_to(jnp.asarray(t, jnp.int32), keys_B.shape)
    return jax.vmap(
        lambda key, t: jax.random.uniform(jax.random.fold_in(key, t), dtype=jnp.float32)
    )(keys_B, t_B)


def draw(
    logits_BV: jax.Array,
    uniform_Q: jax.Array,
    temperature: jax.Array | float,
    row_Q: jax.Array | None = None,
    rank_Q: jax.Array | None = None,
    *,
    top_k: int = 0,
    top_p: float = 1.0,
    vocab_size: int,
) -> tuple[jax.Array, jax.Array]:
    """Draws tokens, Q in all, each from the scores of a row.

    Args:
        logits_BV: scores; V may be more than vocab_size.
        uniform_Q: float32 in [0, 1), one a token (see `uniforms`).
        temperature: traced scalar; 0 gives the most likely token.
        row_Q: int32, below B, whose scores each is drawn from; None: one token a row.
        rank_Q: int32; r from 1 to MOST_RANK: the r-th most likely id, of equal ones the lower
            first, whatever number and settings say; 0: one is drawn. None: all are drawn.
        top_k: static; only the k most likely ids; 0: off.
        top_p: static; then only the fewest most likely ids whose share reaches top_p at this
            temperature; 1: off.
        vocab_size: static; ids from here on (the reserved one, padding rows) are never drawn and
            lie outside the softmax.

    Returns:
        token_Q int32, and logprob_Q float32: the model's own log-probability of it, at temperature
        1 and without top_k and top_p.

    Raises:
        ValueError: settings that leave nothing to draw from.
    """
    _refuse(top_k, top_p, vocab_size, logits_BV.shape[-1])
    logits_BV = logits_BV[:, :vocab_size].astype(jnp.float32)
    best_B = jnp.max(logits_BV, axis=-1)
    row_Q = jnp.arange(len(logits_BV)) if row_Q is None else row_Q
    given = (uniform_Q, row_Q, temperature)

    def likeliest() -> jax.Array:
        return jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)[row_Q]

    def drawn() -> jax.Array:
        if 0 < top_k < vocab_size:
            return _draw_sorted(logits_BV, *given, top_k, top_p)
        if top_p < 1.0:
            kept_BV = _nucleus(jnp.exp((logits_BV - best_B[:, None]) / temperature), top_p)
            return _draw_all(jnp.where(kept_BV, logits_BV, -jnp.inf), best_B, *given)
        return _draw_all(logits_BV, best_B, *given)

    token_Q = jax.lax.cond(jnp.asarray(temperature) > 0, drawn, likeliest)
    if rank_Q is not None:
        token_Q = _by_rank(logits_BV, row_Q, rank_Q, token_Q)
    total_B = jnp.sum(jnp.exp(logits_BV - best_B[:, None]), axis=-1)
    return token_Q, logits_BV[row_Q, token_Q] - best_B[row_Q] - jnp.log(total_B)[row_Q]


def draw_everywhere(
    logits: Callable[[jax.Array], jax.Array],
    hidden_BTD: jax.Array,
    uniform_BT: jax.Array,
    *,
    vocab_size: int,
) -> tuple[jax.Array, jax.Array]:
    """A token of every position of rows at temperature 1, and its log-probability, [B, T].

    So many positions at a time that MOST_LOGITS scores are alive. Rows stay whole, because a mesh
    shards them.

    Args:
        logits: from states [Q, D] to their scores [Q, V].
        hidden_BTD: states.
        uniform_BT: as in `draw`, and so the last one.
        vocab_size: static.
    """

    def of_some(some: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        hidden_BCD, uniform_BC = some
        flat = hidden_BCD.reshape(-1, hidden_BCD.shape[-1])
        drawn = draw(logits(flat), uniform_BC.reshape(-1), 1.0, vocab_size=vocab_size)
        token_BC, logprob_BC = (each.reshape(uniform_BC.shape) for each in drawn)
        return token_BC, logprob_BC

    B, T = uniform_BT.shape
    size = max(MOST_LOGITS // (B * vocab_size), 1)
    if size >= T:
        return of_some((hidden_BTD, uniform_BT))

    def parted(each: jax.Array) -> jax.Array:
        padded = jnp.pad(each, ((0, 0), (0, -T % size)) + ((0, 0),) * (each.ndim - 2))
        return jnp.moveaxis(padded.reshape(B, -1, size, *each.shape[2:]), 1, 0)

    drawn = jax.lax.map(of_some, (parted(hidden_BTD), parted(uniform_BT)))
    token_BT, logprob_BT = (jnp.moveaxis(each, 0, 1).reshape(B, -1)[:, :T] for each in drawn)
    return token_BT, logprob_BT


def likeliest(logits_BV: jax.Array, count: int, *, vocab_size: int) -> tuple[jax.Array, jax.Array]:
    """The likeliest ids of each row, of equal ones the lower first.

    Args:
        logits_BV: as in `draw`.
        count: static; U, at most vocab_size.
        vocab_size: as in `draw`.

    Returns:
        id_BU int32, and logprob_BU float32, at temperature 1 and without top_k and top_p.
    """
    logits_BV = logits_BV[:, :vocab_size].astype(jnp.float32)
    best_B = jnp.max(logits_BV, axis=-1)
    total_B = jnp.sum(jnp.exp(logits_BV - best_B[:, None]), axis=-1)
    logits_BU, id_BU = jax.lax.top_k(logits_BV, count)
    return id_BU.astype(jnp.int32), logits_BU - (best_B + jnp.log(total_B))[:, None]


def _refuse(top_k: int, top_p: float, vocab_size: int, logits: int) -> None:
    """Settings that leave nothing to draw from."""
    if not 0 < vocab_size <= logits:
        raise ValueError(
            f"vocab_size {vocab_size} must lie in 1..{logits}, the number of logits a row"
        )
    if not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p is {top_p}; it must lie in (0, 1], 1 turns it off")
    if top_k < 0:
        raise ValueError(f"top_k is {top_k}; it must be at least 0, 0 turns it off")


def _by_rank(
    logits_BV: jax.Array, row_Q: jax.Array, rank_Q: jax.Array, token_Q: jax.Array
) -> jax.Array:
    """The tokens that are asked for by rank; the others as they are."""
    most = min(MOST_RANK, logits_BV.shape[-1])

    def ranked() -> jax.Array:
        ids_BR = jax.lax.top_k(logits_BV, most)[1]
        best_Q = ids_BR[row_Q, jnp.clip(rank_Q - 1, 0, most - 1)]
        return jnp.where(rank_Q > 0, best_Q.astype(jnp.int32), token_Q)

    def likeliest() -> jax.Array:
        best_B = jnp.argmax(logits_BV, axis=-1).astype(jnp.int32)
        return jnp.where(rank_Q > 0, best_B[row_Q], token_Q)

    # most steps ask for none, and few for more than the first
    asked = jnp.clip(jnp.max(rank_Q), 0, 2)
    return jax.lax.switch(asked, [lambda: token_Q, likeliest, ranked])


def _draw_all(
    logits_BV: jax.Array,
    best_B: jax.Array,
    uniform_Q: jax.Array,
    row_Q: jax.Array,
    temperature: jax.Array | float,
) -> jax.Array:
    """Inverse CDF over all ids: a block by the blocks' sums, then an id within it.

    Writes no weights of all ids to memory.
    """
    vocab_size = logits_BV.shape[-1]
    block = min(_BLOCK, vocab_size)
    blocks = -(-vocab_size // block)

    def weigh(logits: jax.Array, best: jax.Array) -> jax.Array:
        return jnp.exp((logits - best) / temperature)

    weights_BV = weigh(logits_BV, best_B[:, None])
    padded_BV = jnp.pad(weights_BV, ((0, 0), (0, blocks * block - vocab_size)))
    sums_BC = padded_BV.reshape(-1, blocks, block).sum(axis=-1)
    cumulative_BC = jnp.cumsum(sums_BC, axis=-1)
    target_Q = uniform_Q * cumulative_BC[row_Q, -1]
    chosen_Q = _first_beyond(sums_BC[row_Q], cumulative_BC[row_Q], target_Q)
    before_Q = (cumulative_BC - sums_BC)[row_Q, chosen_Q]
    # a slice of the logits as they lie; at the end of a row it starts earlier, and ids of the block
    # before are masked
    start_Q = jnp.minimum(chosen_Q * block, vocab_size - block)
    ids_Qb = start_Q[:, None] + jnp.arange(block)
    inside_Qb = jax.vmap(
        lambda row, start: jax.lax.dynamic_slice(logits_BV, (row, start), (1, block))[0]
    )(row_Q, start_Q)
    ours_Qb = ids_Qb >= chosen_Q[:, None] * block
    weights_Qb = jnp.where(ours_Qb, weigh(inside_Qb, best_B[row_Q][:, None]), 0.0)
    index_Q = _first_beyond(weights_Qb, jnp.cumsum(weights_Qb, axis=-1), target_Q - before_Q)
    return (start_Q + index_Q).astype(jnp.int32)


def _draw_sorted(
    logits_BV: jax.Array,
    uniform_Q: jax.Array,
    row_Q: jax.Array,
    temperature: jax.Array | float,
    top_k: int,
    top_p: float,
) -> jax.Array:
    """Inverse CDF over the top_k most likely ids, cut off behind the share top_p."""
    logits_Bk, ids_Bk = jax.lax.top_k(logits_BV, min(top_k, logits_BV.shape[-1]))
    weights_Bk = jnp.exp((logits_Bk - logits_Bk[:, :1]) / temperature)
    cumulative_Bk = jnp.cumsum(weights_Bk, axis=-1)
    if top_p < 1.0:
        # 0 for the most likely id, which therefore always stays
        before_Bk = cumulative_Bk - weights_Bk
        weights_Bk = jnp.where(before_Bk < top_p * cumulative_Bk[:, -1:], weights_Bk, 0.0)
        cumulative_Bk = jnp.cumsum(weights_Bk, axis=-1)
    cumulative_Qk = cumulative_Bk[row_Q]
    index_Q = _first_beyond(weights_Bk[row_Q], cumulative_Qk, uniform_Q * cumulative_Qk[:, -1])
    return ids_Bk[row_Q, index_Q].astype(jnp.int32)


def _nucleus(weights_BV: jax.Array, top_p: float) -> jax.Array:
    """The fewest heaviest ids of a row whose share reaches top_p, bool [B, V].

    Of equal weights the lower id comes first.

    Sorting a large vocabulary takes a CPU minutes, so the lightest weight that stays is found by
    bisection: weights are not negative, and so they order as their bits do.
    """
    bits_BV = jax.lax.bitcast_convert_type(weights_BV, jnp.int32)
    target_B = top_p * weights_BV.sum(axis=-1)

    def total(chosen_BV: jax.Array) -> jax.Array:
        return jnp.where(chosen_BV, weights_BV, 0.0).sum(axis=-1)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        # what is as heavy as `low` reaches the target, what is as heavy as `high` does not
        low_B, high_B = ends
        middle_B = low_B + (high_B - low_B) // 2
        reached_B = total(bits_BV >= middle_B[:, None]) >= target_B
        return jnp.where(reached_B, middle_B, low_B), jnp.where(reached_B, high_B, middle_B)

    zero_B = jnp.zeros_like(bits_BV[:, 0])
    # 1 is the weight of the likeliest id
    above_one_B = zero_B + int(np.float32(1).view(np.int32)) + 1
    lightest_B, _ = jax.lax.fori_loop(0, 31, halve, (zero_B, above_one_B))
    weight_B = jax.lax.bitcast_convert_type(lightest_B, jnp.float32)
    heavier_BV, alike_BV = bits_BV > lightest_B[:, None], bits_BV == lightest_B[:, None]
    missing_B = jnp.ceil(
        (target_B - total(heavier_BV)) / jnp.maximum(weight_B, jnp.finfo(jnp.float32).tiny)
    )
    return heavier_BV | (
        alike_BV & (jnp.cumsum(alike_BV, axis=-1) <= jnp.maximum(missing_B, 1)[:, None])
    )


def _first_beyond(
    weights_BC: jax.Array, cumulative_BC: jax.Array, target_B: jax.Array
) -> jax.Array:
    """The first index of positive weight whose cumulative weight exceeds the target.

    The last of them where rounding leaves none.

    The weight is asked for by itself because a parallel cumulative sum may rise by a rounding error
    where the weight is 0.
    """
    positive_BC = weights_BC > 0
    beyond_BC = positive_BC & (cumulative_BC > target_B[:, None])
    last_B = weights_BC.shape[-1] - 1 - jnp.argmax(positive_BC[:, ::-1], axis=-1)
    return jnp.where(beyond_BC.any(axis=-1), jnp.argmax(beyond_BC, axis=-1), last_B)
