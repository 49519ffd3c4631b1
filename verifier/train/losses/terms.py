"""What losses have in common: hidden states of a batch, weighted sums, and shares of tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from verifier.data.batches import Batch
from verifier.model.layers import DropoutRate
from verifier.model.transformer import Transformer
from verifier.train.losses.contract import Term


def hidden(
    transformer: Transformer,
    batch: Batch,
    *,
    dropout: DropoutRate,
    dropout_key: jax.Array | None,
    remat: bool,
) -> jax.Array:
    """hidden_BTD of a batch; where the model has an encoder, that reads the prompts."""
    return transformer.hidden(
        batch.tokens_BT,
        batch.positions_BT,
        batch.ends_BT,
        prompts=batch.prompts,
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
        (batch.ends_BT > 0).sum().astype(jnp.float32),
    )
