"""Cross-entropy over a large vocabulary, in chunks that carry their own gradient.

Knows no batch and no decoder.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

CHUNK_LOGITS = 2**24  # logits that are alive at once, 64 MiB in float32


class _Slopes(NamedTuple):
    """The sum of losses and its derivatives, as a walk over the chunks adds them up."""

    loss: jax.Array
    hidden_BTD: jax.Array | None
    output_VD: jax.Array | None


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
    return _walk(hidden_BTD, output_VD, target_BT, weight_BT, vocab_size, slopes=False).loss


def _forward(
    hidden_BTD: jax.Array,
    output_VD: jax.Array,
    target_BT: jax.Array,
    weight_BT: jax.Array,
    vocab_size: int,
) -> tuple[jax.Array, _Slopes]:
    found = _walk(hidden_BTD, output_VD, target_BT, weight_BT, vocab_size, slopes=True)
    return found.loss, found


def _backward(
    vocab_size: int, found: _Slopes, slope: jax.Array
) -> tuple[jax.Array | None, jax.Array | None, None, None]:
    hidden_BTD, output_VD = (
        (part * slope).astype(part.dtype)
        for part in (found.hidden_BTD, found.output_VD)
        if part is not None
    )
    return hidden_BTD, output_VD, None, None


cross_entropy.defvjp(_forward, _backward)


def _walk(
    hidden_BTD: jax.Array,
    output_VD: jax.Array,
    target_BT: jax.Array,
    weight_BT: jax.Array,
    vocab_size: int,
    *,
    slopes: bool,
) -> _Slopes:
    """Chunk by chunk until the last position that counts.

    Rows stay whole, because a mesh shards them.
    """
    rows, length = target_BT.shape
    size = -(-length // min(-(-length * rows * vocab_size // CHUNK_LOGITS), length))
    chunks = -(-length // size)
    narrow_VD = output_VD.astype(hidden_BTD.dtype)
    if chunks == 1:
        loss, hidden_slope, output_slope = _chunk(
            hidden_BTD, narrow_VD, target_BT, weight_BT, vocab_size, slopes
        )
        return _Slopes(loss, hidden_slope, output_slope)
    order_BT = jnp.argsort(weight_BT <= 0, axis=1, stable=True)

    def sorted_rows(array: jax.Array) -> jax.Array:
        """The positions that count first, padded to whole chunks."""
        index = order_BT.reshape(rows, length, *(1,) * (array.ndim - 2))
        return jnp.pad(
            jnp.take_along_axis(array, index, axis=1),
            [(0, 0), (0, chunks * size - length)] + [(0, 0)] * (array.ndim - 2),
        )

    parts = [sorted_rows(array) for array in (hidden_BTD, target_BT, weight_BT)]

    def step(chunk: jax.Array, so_far: _Slopes) -> _Slopes:
        hidden, target, weight = (
            jax.lax.dynamic_slice_in_dim(part, chunk * size, size, axis=1) for part in parts
        )
        loss, hidden_slope, output_slope = _chunk(
            hidden, narrow_VD, target, weight, vocab_size, slopes
        )
        if (
            hidden_slope is None
            or so_far.hidden_BTD is None
            or output_slope is None
            or so_far.output_VD is None
        ):
            return _Slopes(so_far.loss + loss, None, None)
        placed = jax.lax.dynamic_update_slice_in_dim(
            so_far.hidden_BTD, hidden_slope, chunk * size, axis=1
        )
        return _Slopes(so_far.loss + loss, placed, so_far.output_VD + output_slope)

    start = _Slopes(
        jnp.float32(0),
        jnp.zeros_like(parts[0]) if slopes else None,
        jnp.zeros_like(output_VD) if slopes else None,
    )
    used = -(-(weight_BT > 0).sum(axis=1).max() // size)
    found = jax.lax.fori_loop(0, used, step, start)
    if found.hidden_BTD is None:
        return found
    back_BT1 = jnp.argsort(order_BT, axis=1)[..., None]
    return found._replace(
        hidden_BTD=jnp.take_along_axis(found.hidden_BTD[:, :length], back_BT1, axis=1)
    )


def _chunk(
    hidden_BCD: jax.Array,
    output_VD: jax.Array,
    target_BC: jax.Array,
    weight_BC: jax.Array,
    vocab_size: int,
    slopes: bool,
) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """Loss of some positions and its derivatives by their hidden states and by the output matrix
    (float32).
    """
    # What stands at a masked position may be anything, even infinite or an id outside the softmax.
    weight_M = weight_BC.reshape(-1)
    target_M = jnp.where(weight_M > 0, target_BC.reshape(-1), 0)
    hidden_MD = jnp.where(weight_M[:, None] > 0, hidden_BCD.reshape(-1, hidden_BCD.shape[-1]), 0)
    logits_MV = logits(hidden_MD, output_VD)
    ids = jnp.arange(output_VD.shape[0])
    if vocab_size < output_VD.shape[0]:
        logits_MV = jnp.where(ids < vocab_size, logits_MV, -jnp.inf)
    top_M1 = logits_MV.max(axis=1, keepdims=True)
    total_M1 = jnp.exp(logits_MV - top_M1).sum(axis=1, keepdims=True)
    chosen_M = jnp.take_along_axis(logits_MV, target_M[:, None], axis=1)[:, 0]
    loss = (weight_M * (top_M1[:, 0] + jnp.log(total_M1[:, 0]) - chosen_M)).sum()
    if not slopes:
        return loss, None, None
    share_MV = jnp.exp(logits_MV - top_M1) * (weight_M[:, None] / total_M1)
    slope_MV = (share_MV - jnp.where(ids == target_M[:, None], weight_M[:, None], 0.0)).astype(
        hidden_MD.dtype
    )
    hidden_slope = jnp.matmul(slope_MV, output_VD, preferred_element_type=jnp.float32).astype(
        hidden_BCD.dtype
    )
    output_slope = jax.lax.dot_general(
        slope_MV, hidden_MD, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )
    return loss, hidden_slope.reshape(hidden_BCD.shape), output_slope


def logits(hidden_MD: jax.Array, output_VD: jax.Array) -> jax.Array:
    """Scores of all rows of the output matrix, float32 [M, V]."""
    return jax.lax.dot_general(
        hidden_MD, output_VD, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
    )
