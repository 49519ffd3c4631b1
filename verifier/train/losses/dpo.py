"""Which of two solutions is likelier (DPO, Rafailov et al. 2023, equation 7; as a verifier in
V-STaR, Hosseini et al. 2024, section 3.2).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verifier.data.batches import Batch
from verifier.data.examples import Target
from verifier.model.transformer import Transformer
from verifier.train.losses.contract import Loss, LossPart, Terms
from verifier.train.losses.cross_entropy import token_losses
from verifier.train.losses.terms import hidden, share, weighted

# As `data.preferences.pair_example` fills them.
TARGETS: Mapping[str, Target] = {
    "lm_target": Target(np.int32),
    "pair_start": Target(np.int32),
    "pair_sign": Target(),
    "pair_weight": Target(),
    "right_reference": Target(),
    "wrong_reference": Target(),
}


def loss(vocab_size: int, beta: float) -> Loss:
    """-log sigmoid(beta (r - w)), the mean over pairs, of a `Transformer`.

    r and w are log(pi(y) / pi_ref(y)) of the right and of the wrong solution y, in nats, summed
    over their counted tokens. What the reference model pi_ref gives them is data: each solution is
    in many pairs and read in every pass over them, but by the reference once, before; so training
    holds one model and reads no second one.

    The terms are "dpo"; "dpo_accuracy", the share of pairs whose right solution has gained more, a
    tie counting half; "right_gain" and "wrong_gain", the means of r and w: both fall where the
    model moves away from all that is known; and "pair_share" of tokens that count.

    Args:
        vocab_size: ids that text can have; see `lm.loss`.
        beta: how far the model may leave the reference.
    """
    terms = functools.partial(_terms, vocab_size=vocab_size, beta=beta)
    return Loss(TARGETS, {"dpo": LossPart(1.0, "pair_weight")}, "dpo", terms)


def _terms(
    transformer: Transformer, batch: Batch, *, vocab_size: int, beta: float, **how: Any
) -> Terms:
    sign_BT = jnp.asarray(batch.targets["pair_sign"])
    weight_BT = jnp.asarray(batch.targets["pair_weight"])
    logp_BT = -token_losses(
        hidden(transformer, batch, **how),
        transformer.output_rows(),
        jnp.asarray(batch.targets["lm_target"]),
        sign_BT != 0,
        vocab_size,
    )
    pair_BT = jnp.maximum(jnp.cumsum(batch.targets["pair_start"], axis=1) - 1, 0)
    gains = {}
    for side, is_side_BT in (("right", sign_BT > 0), ("wrong", sign_BT < 0)):
        own_BT = _pair_sums(jnp.where(is_side_BT, logp_BT, 0.0), pair_BT)
        gains[side] = own_BT - batch.targets[f"{side}_reference"]
    margin_BT = gains["right"] - gains["wrong"]
    is_won_BT = jnp.where(margin_BT == 0, 0.5, margin_BT > 0)
    return {
        "dpo": weighted(jax.nn.softplus(-beta * margin_BT), weight_BT),
        "dpo_accuracy": weighted(is_won_BT, weight_BT),
        "right_gain": weighted(jax.lax.stop_gradient(gains["right"]), weight_BT),
        "wrong_gain": weighted(jax.lax.stop_gradient(gains["wrong"]), weight_BT),
        "pair_share": share(jnp.abs(sign_BT), batch),
    }


def _pair_sums(each_BT: jax.Array, pair_BT: jax.Array) -> jax.Array:
    """At every token the sum over all tokens of its pair, in a row of its own."""

    def of_row(each_T: jax.Array, pair_T: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(each_T, pair_T, num_segments=len(pair_T))[pair_T]

    return jax.vmap(of_row)(each_BT, pair_BT)
