"""What a step makes smaller: sums over positions together with their weights. Knows no optimiser and no loop.

A loss returns named terms, each a sum and the weight that it is to be divided by. Divisors are the weights of the *whole step's* batch, so
neither the number of micro-batches nor the order of rows changes a step. A sum over tokens divided by rows would weigh long solutions more
without saying so; here the weights in the batch say it (see `normalise` in `config.VerifyConfig`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from verifier.data.batches import Batch
    from verifier.model.heads import Verifier
    from verifier.model.transformer import Transformer

CHUNK_LOGITS = 2**24  # logits that are alive at once, 64 MiB in float32


@functools.partial(jax.tree_util.register_dataclass, data_fields=["sum", "weight"], meta_fields=["coefficient"])
@dataclasses.dataclass(frozen=True)
class Term:
    """One number of a batch: `sum / weight` is its mean. Coefficient 0: reported, never differentiated."""

    sum: jax.Array  # float32 scalar
    weight: jax.Array  # float32 scalar
    coefficient: float = 0.0


Terms = dict[str, Term]


def divisors(batch: Batch) -> dict[str, jax.Array]:
    """Returns what the terms "lm" and "value" are divided by: the total weights of the batch, 1 where it has none."""
    weights = {"lm": batch.lm_weight_BT.sum(), "value": batch.value_weight_BT.sum()}
    return {name: jnp.where(weight > 0, weight, 1.0) for name, weight in weights.items()}


def total(terms: Terms, by: Mapping[str, jax.Array]) -> jax.Array:
    """Returns the loss: coefficient * sum / divisor, summed over the terms that have a coefficient."""
    return sum((term.coefficient * term.sum / by[name] for name, term in terms.items() if term.coefficient), jnp.float32(0))


def lm(
    transformer: Transformer, batch: Batch, *, vocab_size: int, dropout_rate: float = 0.0, dropout_key: jax.Array | None = None
) -> Terms:
    """Next-token cross-entropy in nats (Cobbe et al. 2021, section 4.1).

    The softmax runs over the first `vocab_size` ids only: the reserved id behind them belongs to the value head and is no text. A reserved
    logit that the language model pushes down would be a poor start for a value.

    Args:
        transformer: the decoder.
        batch: packed rows; position t is weighed by lm_weight_BT[:, t] and predicts tokens_BT[:, t + 1].
        vocab_size: ids that text can have.
        dropout_rate: of the residual dropout; 0 when evaluating.
        dropout_key: needed where the rate is above 0.

    Returns:
        "lm", and "lm_share": the share of the batch's tokens whose prediction counts.
    """
    hidden_BTD = _hidden(transformer, batch, dropout_rate, dropout_key)
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
) -> Terms:
    """Value loss plus `lm_weight` times language-model loss, in one pass (Cobbe et al. 2021, section 4.2 and Appendix B).

    Labelled samples carry value weights, ground truth carries language-model weights; both lie packed in the same rows.

    Args:
        verifier: decoder and value head.
        batch: packed rows; the value that is read after token t is weighed by value_weight_BT[:, t], its target is 0 or 1.
        vocab_size: ids that text can have; see `lm`.
        value_loss: "mse": squared error of the raw value. "bce": the value is a logit, its sigmoid is the probability of being right;
            scores of such a verifier pass through the sigmoid.
        lm_weight: 0 leaves the language model out altogether.
        dropout_rate: as in `lm`.
        dropout_key: as in `lm`.

    Returns:
        "value" and "lm" with their coefficients; "value_accuracy" (a probability above one half says right), "value_right" and
        "value_wrong" (mean value on right and on wrong solutions), "value_share" and "lm_share" (of tokens that count).

    Raises:
        ValueError: for an unknown value_loss.
    """
    kinds = {"mse": (_squared, lambda value: value), "bce": (_binary, jax.nn.sigmoid)}
    if value_loss not in kinds:
        raise ValueError(f"value_loss is {value_loss!r}, not one of {', '.join(kinds)}")
    error, probability = kinds[value_loss]
    hidden_BTD = _hidden(verifier.backbone, batch, dropout_rate, dropout_key)
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


def _hidden(transformer: Transformer, batch: Batch, dropout_rate: float, dropout_key: jax.Array | None) -> jax.Array:
    """The decoder's last hidden states of packed rows, [B, T, D]."""
    tokens_BT, segment_ids_BT, positions_BT = (jnp.asarray(array) for array in batch[:3])
    return transformer.hidden(tokens_BT, positions_BT, segment_ids_BT, dropout_rate=dropout_rate, dropout_key=dropout_key)


def _squared(value: jax.Array, target: jax.Array) -> jax.Array:
    """Squared error."""
    return (value - target) ** 2


def _binary(logit: jax.Array, target: jax.Array) -> jax.Array:
    """Binary cross-entropy of a logit, stable at both ends."""
    return jax.nn.softplus(logit) - target * logit


def _term(each_BT: jax.Array, weight_BT: jax.Array, coefficient: float = 0.0) -> Term:
    """A weighted sum. `where`, not the product alone: what stands at a masked position may be anything, even infinite."""
    each_BT = jnp.where(weight_BT > 0, each_BT.astype(jnp.float32), 0.0)
    return Term((weight_BT * each_BT).sum(), weight_BT.sum(), coefficient)


def _share(weight_BT: jax.Array, batch: Batch) -> Term:
    """The share of real tokens with a weight: a mask that went wrong shows here first."""
    return Term((weight_BT > 0).sum().astype(jnp.float32), (batch.segment_ids_BT > 0).sum().astype(jnp.float32))


def _lm_terms(transformer: Transformer, hidden_BTD: jax.Array, batch: Batch, vocab_size: int, coefficient: float) -> Terms:
    """Cross-entropy of the next token from hidden states that are already there."""
    weight_BT = jnp.asarray(batch.lm_weight_BT)
    # The last position of a row predicts nothing and weighs nothing; whatever id stands under a zero weight is replaced by a sound one.
    target_BT = jnp.where(weight_BT > 0, jnp.roll(batch.tokens_BT, -1, axis=1), 0)
    loss_sum = _cross_entropy(transformer, hidden_BTD, target_BT, weight_BT, vocab_size)
    return {"lm": Term(loss_sum, weight_BT.sum(), coefficient), "lm_share": _share(weight_BT, batch)}


def _cross_entropy(
    transformer: Transformer, hidden_BTD: jax.Array, target_BT: jax.Array, weight_BT: jax.Array, vocab_size: int
) -> jax.Array:
    """Weighted sum of cross-entropies. Only `CHUNK_LOGITS` logits are alive at once: 4,096 tokens x 49,152 ids would be 800 MB a copy.

    Where it takes more than one chunk, the positions that count move to the front of their row, so that chunks of masked positions
    (questions, samples that train the value alone) are skipped: the output layer is a fifth of a 135M model's work.
    """

    def chunk_sum(hidden_BCD: jax.Array, target_BC: jax.Array, weight_BC: jax.Array) -> jax.Array:
        logits_BCV = transformer.logits(hidden_BCD)[..., :vocab_size].astype(jnp.float32)
        chosen_BC = jnp.take_along_axis(logits_BCV, target_BC[..., None], axis=-1)[..., 0]
        return _term(jax.nn.logsumexp(logits_BCV, axis=-1) - chosen_BC, weight_BC).sum

    rows, length = target_BT.shape
    chunks = -(-length * rows * vocab_size // CHUNK_LOGITS)
    if chunks <= 1:
        return chunk_sum(hidden_BTD, target_BT, weight_BT)
    size = -(-length // min(chunks, length))
    chunks = -(-length // size)
    order_BT = jnp.argsort(weight_BT <= 0, axis=1, stable=True)

    def split(array_BT: Any) -> jax.Array:
        """[B, T, ...] -> [chunks, B, size, ...]; rows stay whole, because a mesh shards them."""
        index = order_BT.reshape(rows, length, *(1,) * (array_BT.ndim - 2))
        sorted_BT = jnp.take_along_axis(array_BT, index, axis=1)
        padded = jnp.pad(sorted_BT, [(0, 0), (0, chunks * size - length)] + [(0, 0)] * (array_BT.ndim - 2))
        return jnp.moveaxis(padded.reshape(rows, chunks, size, *array_BT.shape[2:]), 1, 0)

    def step(carry: jax.Array, chunk: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        loss = jax.lax.cond((chunk[2] > 0).any(), jax.checkpoint(chunk_sum), lambda *_: jnp.float32(0), *chunk)
        return carry + loss, None

    return jax.lax.scan(step, jnp.float32(0), (split(hidden_BTD), split(target_BT), split(weight_BT)))[0]
