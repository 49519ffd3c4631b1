"""Cross-entropy over a large vocabulary, in chunks that carry their own gradient."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from verifier.model.products import matmul, matmul_nt, matmul_tn

CHUNK_LOGITS = 2**24  # logits that are alive at once, 64 MiB in float32


class _Slopes(NamedTuple):
    """Derivatives of a sum of losses."""

    hidden_BTD: jax.Array
    output_VD: jax.Array  # float32


class _Total(NamedTuple):
    """A sum of losses, with its derivatives where they are asked for."""

    loss: jax.Array
    slopes: _Slopes | None


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def cross_entropy(
    hidden_BTD: jax.Array,
    output_VD: jax.Array,
    target_BT: jax.Array,
    weight_BT: jax.Array,
    vocab_size: int,
) -> jax.Array:
    """Sum of weight * -log softmax(hidden . output)[target], in float32.

    Only CHUNK_LOGITS logits are alive at once: 4,096 tokens x 49,152 ids would be 800 MB a copy.
    The gradient is taken chunk by chunk while its logits are there, so that none is computed twice;
    the output layer is a fifth of a 135M model's work. Positions that count move to the front of
    their row, and chunks of masked positions (questions, samples that train the value alone) are
    never read.

    Args:
        hidden_BTD: what the output matrix is multiplied with, in its dtype.
        output_VD: float32; rows behind the first vocab_size have no part in the softmax and no
            gradient.
        target_BT: int32, below vocab_size wherever a weight stands.
        weight_BT: float32, at least 0; it has no gradient.
        vocab_size: ids of the softmax.
    """
    arrays = (hidden_BTD, target_BT, weight_BT)
    return _over_chunks(*arrays, output_VD, vocab_size, slopes=False).loss


def _forward(
    hidden_BTD: jax.Array,
    output_VD: jax.Array,
    target_BT: jax.Array,
    weight_BT: jax.Array,
    vocab_size: int,
) -> tuple[jax.Array, _Slopes | None]:
    arrays = (hidden_BTD, target_BT, weight_BT)
    return _over_chunks(*arrays, output_VD, vocab_size, slopes=True)


def _backward(
    vocab_size: int, slopes: _Slopes, slope: jax.Array
) -> tuple[jax.Array, jax.Array, None, None]:
    hidden_BTD, output_VD = ((part * slope).astype(part.dtype) for part in slopes)
    return hidden_BTD, output_VD, None, None


cross_entropy.defvjp(_forward, _backward)


def _over_chunks(
    hidden_BTD: jax.Array,
    target_BT: jax.Array,
    weight_BT: jax.Array,
    output_VD: jax.Array,
    vocab_size: int,
    *,
    slopes: bool,
) -> _Total:
    """Chunk by chunk until the last position that counts.

    Rows stay whole, because a mesh shards them.
    """
    rows, length = target_BT.shape
    size = -(-length // min(-(-length * rows * vocab_size // CHUNK_LOGITS), length))
    narrow_VD = output_VD.astype(hidden_BTD.dtype)
    if size == length:
        return _chunk(hidden_BTD, narrow_VD, target_BT, weight_BT, vocab_size, slopes)
    order_BT = jnp.argsort(weight_BT <= 0, axis=1, stable=True)
    parts = [_sorted_rows(each, order_BT, size) for each in (hidden_BTD, target_BT, weight_BT)]

    def step(chunk: jax.Array, so_far: _Total) -> _Total:
        hidden, target, weight = (
            jax.lax.dynamic_slice_in_dim(part, chunk * size, size, axis=1) for part in parts
        )
        own = _chunk(hidden, narrow_VD, target, weight, vocab_size, slopes)
        loss = so_far.loss + own.loss
        if so_far.slopes is None or own.slopes is None:
            return _Total(loss, None)
        hidden_BTD = jax.lax.dynamic_update_slice_in_dim(
            so_far.slopes.hidden_BTD, own.slopes.hidden_BTD, chunk * size, axis=1
        )
        return _Total(loss, _Slopes(hidden_BTD, so_far.slopes.output_VD + own.slopes.output_VD))

    nothing = _Slopes(jnp.zeros_like(parts[0]), jnp.zeros_like(output_VD)) if slopes else None
    used = -(-(weight_BT > 0).sum(axis=1).max() // size)
    total = jax.lax.fori_loop(0, used, step, _Total(jnp.float32(0), nothing))
    if total.slopes is None:
        return total
    back_BT1 = jnp.argsort(order_BT, axis=1)[..., None]
    hidden_BTD = jnp.take_along_axis(total.slopes.hidden_BTD[:, :length], back_BT1, axis=1)
    return _Total(total.loss, _Slopes(hidden_BTD, total.slopes.output_VD))


def _sorted_rows(array: jax.Array, order_BT: jax.Array, size: int) -> jax.Array:
    """Each row of [B, T, ...] in an order of its own, padded to whole chunks of `size`."""
    rows, length = order_BT.shape
    index = order_BT.reshape(rows, length, *(1,) * (array.ndim - 2))
    return jnp.pad(
        jnp.take_along_axis(array, index, axis=1),
        [(0, 0), (0, -length % size)] + [(0, 0)] * (array.ndim - 2),
    )


def _chunk(
    hidden_BCD: jax.Array,
    output_VD: jax.Array,
    target_BC: jax.Array,
    weight_BC: jax.Array,
    vocab_size: int,
    slopes: bool,
) -> _Total:
    """Loss of some positions and its derivatives by their hidden states and the output matrix."""
    # What stands at a masked position may be anything, even infinite or an id outside the softmax.
    weight_M = weight_BC.reshape(-1)
    target_M = jnp.where(weight_M > 0, target_BC.reshape(-1), 0)
    hidden_MD = jnp.where(weight_M[:, None] > 0, hidden_BCD.reshape(-1, hidden_BCD.shape[-1]), 0)
    logits_MV = matmul_nt(hidden_MD, output_VD)
    ids = jnp.arange(output_VD.shape[0])
    if vocab_size < output_VD.shape[0]:
        logits_MV = jnp.where(ids < vocab_size, logits_MV, -jnp.inf)
    top_M1 = logits_MV.max(axis=1, keepdims=True)
    total_M1 = jnp.exp(logits_MV - top_M1).sum(axis=1, keepdims=True)
    chosen_M = jnp.take_along_axis(logits_MV, target_M[:, None], axis=1)[:, 0]
    loss = (weight_M * (top_M1[:, 0] + jnp.log(total_M1[:, 0]) - chosen_M)).sum()
    if not slopes:
        return _Total(loss, None)
    share_MV = jnp.exp(logits_MV - top_M1) * (weight_M[:, None] / total_M1)
    slope_MV = (share_MV - jnp.where(ids == target_M[:, None], weight_M[:, None], 0.0)).astype(
        hidden_MD.dtype
    )
    hidden_slope = matmul(slope_MV, output_VD).astype(hidden_BCD.dtype)
    output_slope = matmul_tn(slope_MV, hidden_MD)
    return _Total(loss, _Slopes(hidden_slope.reshape(hidden_BCD.shape), output_slope))
