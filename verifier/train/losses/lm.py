"""The language-model loss: cross-entropy of the next token (Cobbe et al. 2021, section 4.1)."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from verifier.data.batches import Batch
from verifier.data.examples import Target
from verifier.model.layers import DropoutRate
from verifier.model.transformer import Transformer
from verifier.train.losses.contract import Loss, LossPart, Term, Terms
from verifier.train.losses.cross_entropy import cross_entropy
from verifier.train.losses.terms import hidden, share

# Position t is weighed by lm_weight[t] and predicts the id lm_target[t]: in a tree, the next token
# of the text that is learned.
TARGETS: Mapping[str, Target] = {"lm_weight": Target(), "lm_target": Target(np.int32)}


def loss(vocab_size: int) -> Loss:
    """Next-token cross-entropy in nats, of a `Transformer`.

    The terms are "lm", and "lm_share": the share of the batch's tokens whose prediction counts.

    Args:
        vocab_size: ids that text can have. The softmax runs over these alone: the reserved id
            behind them belongs to the value head and is no text. A reserved logit that the language
            model pushes down would be a poor start for a value.
    """
    parts = {"lm": LossPart(1.0, "lm_weight")}
    return Loss(TARGETS, parts, "lm", functools.partial(_terms, vocab_size=vocab_size))


def terms_of_hidden(
    transformer: Transformer, hidden_BTD: jax.Array, batch: Batch, vocab_size: int
) -> Terms:
    """The same terms from hidden states that are already there."""
    weight_BT = jnp.asarray(batch.targets["lm_weight"])
    target_BT = jnp.asarray(batch.targets["lm_target"])
    loss_sum = cross_entropy(
        hidden_BTD, transformer.output_rows(), target_BT, weight_BT, vocab_size
    )
    return {"lm": Term(loss_sum, weight_BT.sum()), "lm_share": share(weight_BT, batch)}


def _terms(
    transformer: Transformer,
    batch: Batch,
    *,
    vocab_size: int,
    dropout: DropoutRate,
    dropout_key: jax.Array | None,
    remat: bool,
) -> Terms:
    hidden_BTD = hidden(transformer, batch, dropout=dropout, dropout_key=dropout_key, remat=remat)
    return terms_of_hidden(transformer, hidden_BTD, batch, vocab_size)
