"""What losses have in common: hidden states of packed rows, weighted sums, shares of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from verifier.train.losses.contract import Term

if TYPE_CHECKING:
    from verifier.data.batches import Batch
    from verifier.model.transformer import Transformer


def hidden_states(
    transformer: Transformer,
    batch: Batch,
    dropout: float,
    dropout_key: jax.Array | None,
    remat: bool,
) -> jax.Array:
    """The decoder's last hidden states of packed rows, [B, T, D]."""
    return transformer.hidden(
        jnp.asarray(batch.tokens_BT),
        jnp.asarray(batch.positions_BT),
        jnp.asarray(batch.segment_ids_BT),
        dropout=dropout,
        dropout_key=dropout_key,
        remat=remat,
    )


def weighted(each_BT: jax.Array, weight_BT: jax.Array) -> Term:
    """A weighted sum.

    `where`, not the product alone: what stands at a masked position may be anything, even infinite.
    """
    each_BT = jnp.where(weight_BT > 0, each_BT.astype(jnp.float32), 0.0)
    return Term((weight_BT * each_BT).sum(), weight_BT.sum())


def share(weight_BT: jax.Array, batch: Batch) -> Term:
    """The share of real tokens with a weight: a mask that went wrong shows here first."""
    return Term(
        (weight_BT > 0).sum().astype(jnp.float32),
        (batch.segment_ids_BT > 0).sum().astype(jnp.float32),
    )
