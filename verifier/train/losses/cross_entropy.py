"""Cross-entropy over a large vocabulary, in chunks of positions."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from verifier.model.products import matmul, matmul_nt, matmul_tn

CHUNK_LOGITS = 2**24  # logits that are alive at once, 64 MiB in float32


class Aims(NamedTuple):
    """What each position is to predict: ids with their chances, the text's own id first.

    An id whose chance is 0 may be any; chances need not sum to 1.
    """

    ids_BTC: jax.Array  # int32
    chances_BTC: jax.Array  # float32


class Losses(NamedTuple):
    """Of every position that counts, float32 [B, T]; 0 elsewhere."""

    aimed_BT: jax.Array  # sum_c chance_c * -log softmax[id_c]
    own_BT: jax.Array  # -log softmax[the text's own id]


class _Slopes(NamedTuple):
    """Derivatives of the weighted sum of `aimed_BT`."""

    hidden_BTD: jax.Array
    output_VD: jax.Array  # float32


class _Total(NamedTuple):
    """Losses, with their derivatives where they are asked for."""

    losses: Losses
    slopes: _Slopes | None


class _Read(NamedTuple):
    """What is read of some positions."""

    hidden_BTD: jax.Array
    ids_BTC: jax.Array
    chances_BTC: jax.Array
    weight_BT: jax.Array  # of each position in the sum that is differentiated
    counts_BT: jax.Array  # bool: what stands elsewhere may be anything, even infinite


def cross_entropy(
    hidden_BTD: jax.Array,
    output_VD: jax.Array,
    target_BT: jax.Array,
    weight_BT: jax.Array,
    vocab_size: int,
) -> jax.Array:
    """Sum of weight * -log softmax(hidden . output)[target], in float32.

    Args:
        hidden_BTD: what the output matrix is multiplied with, in its dtype.
        output_VD: float32; rows behind the first vocab_size have no part in the softmax and no
            gradient.
        target_BT: int32, below vocab_size wherever a weight stands.
        weight_BT: float32, at least 0; it has no gradient.
        vocab_size: ids of the softmax.
    """
    return aimed_cross_entropy(hidden_BTD, output_VD, _certain(target_BT), weight_BT, vocab_size)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def aimed_cross_entropy(
    hidden_BTD: jax.Array, output_VD: jax.Array, aims: Aims, weight_BT: jax.Array, vocab_size: int
) -> tuple[jax.Array, jax.Array]:
    """Sum of weight * sum_c chance_c * -log softmax(hidden . output)[id_c], in float32.

    Only CHUNK_LOGITS logits are alive at once: 4,096 tokens x 49,152 ids would be 800 MB a copy.
    The gradient is taken chunk by chunk while its logits are there, so that none is computed twice;
    the output layer is a fifth of a 135M model's work. Positions that count move to the front of
    their row, and chunks of masked positions (questions, samples that train the value alone) are
    never read.

    Args:
        hidden_BTD: as `cross_entropy`, and so the others.
        output_VD: float32.
        aims: ids below vocab_size wherever a weight and a chance stand. They have no gradient.
        weight_BT: float32, at least 0.
        vocab_size: ids of the softmax.

    Returns:
        The sum, and -log softmax[the text's own id] of every position with a weight, float32
        [B, T], which has no gradient; 0 elsewhere.
    """
    return _aimed(hidden_BTD, output_VD, aims, weight_BT, vocab_size, slopes=False)[0]


def _aimed(
    hidden_BTD: jax.Array,
    output_VD: jax.Array,
    aims: Aims,
    weight_BT: jax.Array,
    vocab_size: int,
    slopes: bool = True,
) -> tuple[tuple[jax.Array, jax.Array], _Slopes | None]:
    read = _Read(hidden_BTD, *aims, weight_BT, weight_BT > 0)
    total = _over_chunks(read, output_VD, vocab_size, slopes=slopes)
    return ((weight_BT * total.losses.aimed_BT).sum(), total.losses.own_BT), total.slopes


def _aimed_backward(
    vocab_size: int, slopes: _Slopes, slope: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, None, None]:
    hidden_BTD, output_VD = ((part * slope[0]).astype(part.dtype) for part in slopes)
    return hidden_BTD, output_VD, None, None


aimed_cross_entropy.defvjp(_aimed, _aimed_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def token_losses(
    hidden_BTD: jax.Array,
    output_VD: jax.Array,
    target_BT: jax.Array,
    counts_BT: jax.Array,
    vocab_size: int,
) -> jax.Array:
    """-log softmax(hidden . output)[target] of every position that counts, float32 [B, T].

    For losses that are no weighted sum over positions: what each weighs is known when all have been
    read, so that the gradient computes the logits anew, again chunk by chunk.

    Args:
        hidden_BTD: as `cross_entropy`, and so the others.
        output_VD: float32.
        target_BT: int32, below vocab_size wherever a position counts.
        counts_BT: bool; elsewhere the loss is 0.
        vocab_size: ids of the softmax.
    """
    return _tokens(hidden_BTD, output_VD, target_BT, counts_BT, vocab_size)[0]


def _tokens(
    hidden_BTD: jax.Array,
    output_VD: jax.Array,
    target_BT: jax.Array,
    counts_BT: jax.Array,
    vocab_size: int,
) -> tuple[jax.Array, tuple[_Read, jax.Array]]:
    unweighted_BT = jnp.zeros(target_BT.shape, jnp.float32)
    read = _Read(hidden_BTD, *_certain(target_BT), unweighted_BT, counts_BT)
    total = _over_chunks(read, output_VD, vocab_size, slopes=False)
    return total.losses.own_BT, (read, output_VD)


def _tokens_backward(
    vocab_size: int, kept: tuple[_Read, jax.Array], slope_BT: jax.Array
) -> tuple[jax.Array, jax.Array, None, None]:
    read, output_VD = kept
    total = _over_chunks(read._replace(weight_BT=slope_BT), output_VD, vocab_size, slopes=True)
    assert total.slopes is not None  # as asked for
    return *total.slopes, None, None


token_losses.defvjp(_tokens, _tokens_backward)


def _certain(target_BT: jax.Array) -> Aims:
    """The text's own ids, and nothing else."""
    ids_BTC = target_BT[..., None]
    return Aims(ids_BTC, jnp.ones(ids_BTC.shape, jnp.float32))


def _over_chunks(read: _Read, output_VD: jax.Array, vocab_size: int, *, slopes: bool) -> _Total:
    """Chunk by chunk until the last position that counts.

    Rows stay whole, because a mesh shards them.
    """
    rows, length = read.counts_BT.shape
    size = -(-length // min(-(-length * rows * vocab_size // CHUNK_LOGITS), length))
    narrow_VD = output_VD.astype(read.hidden_BTD.dtype)
    if size == length:
        return _chunk(read, narrow_VD, vocab_size, slopes)
    order_BT = jnp.argsort(~read.counts_BT, axis=1, stable=True)
    parts = jax.tree.map(lambda each: _sorted_rows(each, order_BT, size), read)

    def step(chunk: jax.Array, so_far: _Total) -> _Total:
        first = chunk * size
        here = jax.tree.map(
            lambda part: jax.lax.dynamic_slice_in_dim(part, first, size, axis=1), parts
        )

        def put(whole: jax.Array, part: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(whole, part, first, axis=1)

        own = _chunk(here, narrow_VD, vocab_size, slopes)
        losses = jax.tree.map(put, so_far.losses, own.losses)
        if so_far.slopes is None or own.slopes is None:
            return _Total(losses, None)
        hidden_BTD = put(so_far.slopes.hidden_BTD, own.slopes.hidden_BTD)
        return _Total(losses, _Slopes(hidden_BTD, so_far.slopes.output_VD + own.slopes.output_VD))

    no_loss_BT = jnp.zeros(parts.counts_BT.shape, jnp.float32)
    nothing = _Slopes(jnp.zeros_like(parts.hidden_BTD), jnp.zeros_like(output_VD))
    start = _Total(Losses(no_loss_BT, no_loss_BT), nothing if slopes else None)
    used = -(-read.counts_BT.sum(axis=1).max() // size)
    total = jax.lax.fori_loop(0, used, step, start)
    back_BT = jnp.argsort(order_BT, axis=1)

    def unsorted(sorted_BT: jax.Array) -> jax.Array:
        index = back_BT.reshape(rows, length, *(1,) * (sorted_BT.ndim - 2))
        return jnp.take_along_axis(sorted_BT[:, :length], index, axis=1)

    losses = jax.tree.map(unsorted, total.losses)
    if total.slopes is None:
        return _Total(losses, None)
    return _Total(losses, total.slopes._replace(hidden_BTD=unsorted(total.slopes.hidden_BTD)))


def _sorted_rows(array: jax.Array, order_BT: jax.Array, size: int) -> jax.Array:
    """Each row of [B, T, ...] in an order of its own, padded to whole chunks of `size`."""
    rows, length = order_BT.shape
    index = order_BT.reshape(rows, length, *(1,) * (array.ndim - 2))
    return jnp.pad(
        jnp.take_along_axis(array, index, axis=1),
        [(0, 0), (0, -length % size)] + [(0, 0)] * (array.ndim - 2),
    )


def _chunk(read: _Read, output_VD: jax.Array, vocab_size: int, slopes: bool) -> _Total:
    """Losses of some positions and their derivatives by hidden states and output matrix."""
    counts_M = read.counts_BT.reshape(-1)
    hidden_MD, ids_MC, chances_MC, weight_M = (
        jnp.where(counts_M.reshape(-1, *(1,) * (each.ndim - 2)), _flat(each), 0)
        for each in (read.hidden_BTD, read.ids_BTC, read.chances_BTC, read.weight_BT)
    )
    ids_MC = ids_MC.at[:, 1:].set(jnp.where(chances_MC[:, 1:] > 0, ids_MC[:, 1:], 0))
    logits_MV = matmul_nt(hidden_MD, output_VD)
    ids = jnp.arange(output_VD.shape[0])
    if vocab_size < output_VD.shape[0]:
        logits_MV = jnp.where(ids < vocab_size, logits_MV, -jnp.inf)
    top_M1 = logits_MV.max(axis=1, keepdims=True)
    total_M1 = jnp.exp(logits_MV - top_M1).sum(axis=1, keepdims=True)
    each_MC = top_M1 + jnp.log(total_M1) - jnp.take_along_axis(logits_MV, ids_MC, axis=1)
    own_M = jnp.where(counts_M, each_MC[:, 0], 0)
    losses = Losses((chances_MC * each_MC).sum(axis=1), own_M)
    losses = jax.tree.map(lambda loss_M: loss_M.reshape(read.counts_BT.shape), losses)
    if not slopes:
        return _Total(losses, None)
    # Of the weighted sum by the logits: weight * (sum_c chance_c * softmax - chances at their ids).
    # A comparison an id is done while the softmax is written, and is split as the vocabulary is.
    mass_M1 = chances_MC.sum(axis=1, keepdims=True) * weight_M[:, None]
    slope_MV = jnp.exp(logits_MV - top_M1) * (mass_M1 / total_M1)
    aimed_MC = weight_M[:, None] * chances_MC
    for column in range(ids_MC.shape[1]):
        is_here_MV = ids == ids_MC[:, column, None]
        slope_MV -= jnp.where(is_here_MV, aimed_MC[:, column, None], 0.0)
    slope_MV = slope_MV.astype(hidden_MD.dtype)
    hidden_slope = matmul(slope_MV, output_VD).astype(read.hidden_BTD.dtype)
    output_slope = matmul_tn(slope_MV, hidden_MD)
    return _Total(losses, _Slopes(hidden_slope.reshape(read.hidden_BTD.shape), output_slope))


def _flat(array: jax.Array) -> jax.Array:
    """[B, T, ...] -> [B * T, ...]."""
    return array.reshape(-1, *array.shape[2:])
