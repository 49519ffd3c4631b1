"""What a step makes smaller: sums over positions together with their weights.

Knows no optimiser and no loop.

A loss returns named terms, each a sum and the weight that it is to be divided by. Divisors are the
weights of the *whole step's* batch, so neither the number of micro-batches nor the order of rows
changes a step. A sum over tokens divided by rows would weigh long solutions more without saying so;
here the weights in the batch say it (see `normalise` in `config.VerifyConfig`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from verifier.train.cross_entropy import cross_entropy

if TYPE_CHECKING:
    from verifier.data.batches import Batch
    from verifier.model.heads import Verifier
    from verifier.model.transformer import Transformer


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["sum", "weight"], meta_fields=["coefficient"]
)
@dataclasses.dataclass(frozen=True)
class Term:
    """One number of a batch: `sum / weight` is its mean.

    Coefficient 0: reported, never differentiated.
    """

    sum: jax.Array  # float32 scalar
    weight: jax.Array  # float32 scalar
    coefficient: float = 0.0


Terms = dict[str, Term]


def divisors(batch: Batch) -> dict[str, jax.Array]:
    """Returns what the terms "lm" and "value" are divided by: the total weights of the batch, 1
    where it has none.
    """
    weights = {"lm": batch.lm_weight_BT.sum(), "value": batch.value_weight_BT.sum()}
    return {name: jnp.where(weight > 0, weight, 1.0) for name, weight in weights.items()}


def total(terms: Terms, by: Mapping[str, jax.Array]) -> jax.Array:
    """Returns the loss: coefficient * sum / divisor, summed over the terms that have a
    coefficient.
    """
    return sum(
        (
            term.coefficient * term.sum / by[name]
            for name, term in terms.items()
            if term.coefficient
        ),
        jnp.float32(0),
    )


def lm(
    transformer: Transformer,
    batch: Batch,
    *,
    vocab_size: int,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
    remat: bool = False,
) -> Terms:
    """Next-token cross-entropy in nats (Cobbe et al. 2021, section 4.1).

    The softmax runs over the first `vocab_size` ids only: the reserved id behind them belongs to
    the value head and is no text. A reserved logit that the language model pushes down would be a
    poor start for a value.

    Args:
        transformer: the decoder.
        batch: packed rows; position t is weighed by lm_weight_BT[:, t] and predicts tokens_BT[:, t
            + 1].
        vocab_size: ids that text can have.
        dropout_rate: of the residual dropout; 0 when evaluating.
        dropout_key: needed where the rate is above 0.
        remat: hold only the layers' inputs for the backward pass.

    Returns:
        "lm", and "lm_share": the share of the batch's tokens whose prediction counts.
    """
    hidden_BTD = _hidden(transformer, batch, dropout_rate, dropout_key, remat)
    return _lm_terms(transformer, hidden_BTD, batch, vocab_size, 1.0)


def verifier_joint(
    verifier: Verifier,
    batch: Batch,
    *,
    vocab_size: int,
    value_loss: str = "mse",
    lm_weight: float = 1.0,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
    remat: bool = False,
) -> Terms:
    """Value loss plus `lm_weight` times language-model loss, in one pass (Cobbe et al. 2021,
    section 4.2 and Appendix B).

    Labelled samples carry value weights, ground truth carries language-model weights; both lie
    packed in the same rows.

    Args:
        verifier: decoder and value head.
        batch: packed rows; the value that is read after token t is weighed by value_weight_BT[:,
            t], its target is 0 or 1.
        vocab_size: ids that text can have; see `lm`.
        value_loss: "mse": squared error of the raw value. "bce": the value is a logit, its sigmoid
            is the probability of being right; scores of such a verifier pass through the sigmoid.
        lm_weight: 0 leaves the language model out altogether.
        dropout_rate: as in `lm`.
        dropout_key: as in `lm`.
        remat: as in `lm`.

    Returns:
        "value" and "lm" with their coefficients; "value_accuracy" (a probability above one half
        says right), "value_right" and "value_wrong" (mean value on right and on wrong solutions),
        "value_share" and "lm_share" (of tokens that count).

    Raises:
        ValueError: for an unknown value_loss.
    """
    kinds = {"mse": (_squared, lambda value: value), "bce": (_binary, jax.nn.sigmoid)}
    if value_loss not in kinds:
        raise ValueError(f"value_loss is {value_loss!r}, not one of {', '.join(kinds)}")
    error, probability = kinds[value_loss]
    hidden_BTD = _hidden(verifier.backbone, batch, dropout_rate, dropout_key, remat)
    values_BT = verifier.values(hidden_BTD).astype(jnp.float32)
    weight_BT, target_BT = jnp.asarray(batch.value_weight_BT), jnp.asarray(batch.value_target_BT)
    guess_BT = jax.lax.stop_gradient(probability(values_BT))
    right_BT = weight_BT * (target_BT > 0.5)
    wrong_BT = weight_BT * (target_BT <= 0.5)
    terms = {
        "value": _term(error(values_BT, target_BT), weight_BT, 1.0),
        "value_accuracy": _term((guess_BT > 0.5) == (target_BT > 0.5), weight_BT),
        "value_right": _term(guess_BT, right_BT),
        "value_wrong": _term(guess_BT, wrong_BT),
        "value_share": _share(weight_BT, batch),
    }
    if lm_weight:
        terms |= _lm_terms(verifier.backbone, hidden_BTD, batch, vocab_size, lm_weight)
    return terms


def _hidden(
    transformer: Transformer,
    batch: Batch,
    dropout_rate: float,
    dropout_key: jax.Array | None,
    remat: bool,
) -> jax.Array:
    """The decoder's last hidden states of packed rows, [B, T, D]."""
    tokens_BT, segment_ids_BT, positions_BT = (jnp.asarray(array) for array in batch[:3])
    return transformer.hidden(
        tokens_BT,
        positions_BT,
        segment_ids_BT,
        dropout_rate=dropout_rate,
        dropout_key=dropout_key,
        remat=remat,
    )


def _squared(value: jax.Array, target: jax.Array) -> jax.Array:
    """Squared error."""
    return (value - target) ** 2


def _binary(logit: jax.Array, target: jax.Array) -> jax.Array:
    """Binary cross-entropy of a logit, stable at both ends."""
    return jax.nn.softplus(logit) - target * logit


def _term(each_BT: jax.Array, weight_BT: jax.Array, coefficient: float = 0.0) -> Term:
    """A weighted sum.

    `where`, not the product alone: what stands at a masked position may be anything, even infinite.
    """
    each_BT = jnp.where(weight_BT > 0, each_BT.astype(jnp.float32), 0.0)
    return Term((weight_BT * each_BT).sum(), weight_BT.sum(), coefficient)


def _share(weight_BT: jax.Array, batch: Batch) -> Term:
    """The share of real tokens with a weight: a mask that went wrong shows here first."""
    return Term(
        (weight_BT > 0).sum().astype(jnp.float32),
        (batch.segment_ids_BT > 0).sum().astype(jnp.float32),
    )


def _lm_terms(
    transformer: Transformer,
    hidden_BTD: jax.Array,
    batch: Batch,
    vocab_size: int,
    coefficient: float,
) -> Terms:
    """Cross-entropy of the next token from hidden states that are already there."""
    weight_BT = jnp.asarray(batch.lm_weight_BT)
    # The last position of a row predicts nothing and weighs nothing; what id stands under a weight
    # of zero does not matter.
    target_BT = jnp.roll(batch.tokens_BT, -1, axis=1)
    loss_sum = cross_entropy(
        hidden_BTD, transformer.output_rows(), target_BT, weight_BT, vocab_size
    )
    return {
        "lm": Term(loss_sum, weight_BT.sum(), coefficient),
        "lm_share": _share(weight_BT, batch),
    }
