"""The verifier's loss: value and language model in one pass.

Cobbe et al. 2021, section 4.2 and Appendix B.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from verifier.data.batches import Batch
from verifier.data.examples import Target
from verifier.model.heads import Verifier
from verifier.model.layers import DropoutRate
from verifier.train.losses import lm
from verifier.train.losses.contract import Loss, LossPart, Terms
from verifier.train.losses.terms import hidden, share, weighted

# The value that is read after token t is weighed by value_weight[t]; its target is the share of
# right solutions among those that go through there: 0 or 1 where each is read by itself.
TARGETS = {"value_weight": Target(), "value_target": Target()}


def loss(vocab_size: int, value_loss: str = "mse", lm_weight: float = 1.0) -> Loss:
    """Value loss plus `lm_weight` times language-model loss, of a `Verifier`.

    Labelled samples carry value weights, ground truth carries language-model weights; both lie
    packed in the same rows. Terms: "value"; "value_accuracy" (a probability above one half says
    right); "value_right" and "value_wrong" (mean value on right and on wrong solutions);
    "value_share" (of tokens that count); and those of `lm.loss`.

    A prefix that several solutions s have in common, of labels y_s and weights w_s, is read once,
    with the weight w = sum(w_s) and the target t = sum(w_s y_s) / w (`data.labelled_trees`). Of the
    value v that is read there, with y_s 0 or 1,

        sum(w_s (v - y_s)^2)               = w ((v - t)^2 + t (1 - t))
        sum(w_s (softplus(v) - y_s v))     = w (softplus(v) - t v)

    so either loss has the value and the gradient of the solutions read one by one; so have all
    terms, for they are linear in t, but the shares, which count tokens as they are read.

    Args:
        vocab_size: ids that text can have; see `lm.loss`.
        value_loss: "mse": squared error of the raw value. "bce": the value is a logit, its sigmoid
            is the probability of being right; scores of such a verifier pass through the sigmoid.
        lm_weight: coefficient of "lm"; 0 leaves the language model out altogether.

    Raises:
        ValueError: for an unknown value_loss.
    """
    if value_loss not in _KINDS:
        raise ValueError(f"value_loss is {value_loss!r}, not one of {', '.join(_KINDS)}")
    targets, parts = dict(TARGETS), {"value": LossPart(1.0, "value_weight")}
    if lm_weight:
        targets |= lm.TARGETS
        parts["lm"] = LossPart(lm_weight, "lm_weight")
    terms = functools.partial(
        _terms, vocab_size=vocab_size, value_loss=value_loss, with_lm=bool(lm_weight)
    )
    return Loss(targets, parts, "value", terms)


def _terms(
    verifier: Verifier,
    batch: Batch,
    *,
    vocab_size: int,
    value_loss: str,
    with_lm: bool,
    dropout: DropoutRate,
    dropout_key: jax.Array | None,
    remat: bool,
) -> Terms:
    error, probability = _KINDS[value_loss]
    hidden_BTD = hidden(
        verifier.backbone, batch, dropout=dropout, dropout_key=dropout_key, remat=remat
    )
    values_BT = verifier.values(hidden_BTD).astype(jnp.float32)
    weight_BT = jnp.asarray(batch.targets["value_weight"])
    target_BT = jnp.where(weight_BT > 0, batch.targets["value_target"], 0.0)
    guess_BT = jax.lax.stop_gradient(probability(values_BT))
    terms = {
        "value": weighted(error(values_BT, target_BT), weight_BT),
        "value_accuracy": weighted(jnp.where(guess_BT > 0.5, target_BT, 1 - target_BT), weight_BT),
        "value_right": weighted(guess_BT, weight_BT * target_BT),
        "value_wrong": weighted(guess_BT, weight_BT * (1 - target_BT)),
        "value_share": share(weight_BT, batch),
    }
    if with_lm:
        terms |= lm.terms_of_hidden(verifier.backbone, hidden_BTD, batch, vocab_size)
    return terms


def _squared(value: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared error over labels of 0 and 1 whose mean is the target."""
    return (value - target) ** 2 + target * (1 - target)


def _binary(logit: jax.Array, target: jax.Array) -> jax.Array:
    """Binary cross-entropy of a logit, stable at both ends, over labels as above."""
    return jax.nn.softplus(logit) - target * logit


# By the knob `value_loss`: the error of a value, and the probability that the value stands for.
_KINDS = {"mse": (_squared, lambda value: value), "bce": (_binary, jax.nn.sigmoid)}
