"""One model, two tasks: a label, and the rationale behind it (Hsieh et al. 2023, section 3.2)."""

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

TASKS = ("predict", "explain")
# Position t predicts the id lm_target[t]; which task it is part of is said by whose weight it has.
TARGETS: Mapping[str, Target] = {
    "lm_target": Target(np.int32),
    **{f"{task}_weight": Target() for task in TASKS},
}


def loss(vocab_size: int, alpha: float) -> Loss:
    """alpha * CE(label) + (1 - alpha) * CE(rationale), in nats, of a `Transformer`.

    Each is the mean over its own tokens of a step's batch, so that long rationales do not outweigh
    labels. The paper adds them with a weight lambda = (1 - alpha) / alpha, its code as here; at
    alpha = .5 that is half of the paper's sum. A task whose coefficient is 0 is not read at all.

    The terms are "predict" and "explain", and the share of the batch's tokens that each counts.

    Args:
        vocab_size: ids that text can have.
        alpha: weight of the label, 0 to 1.
    """
    coefficients = {"predict": alpha, "explain": 1 - alpha}
    parts = {
        task: LossPart(coefficient, f"{task}_weight")
        for task, coefficient in coefficients.items()
        if coefficient
    }
    terms = functools.partial(_terms, vocab_size=vocab_size, tasks=tuple(parts))
    # Of held-out problems a rationale may not be known: then "explain" has no mean.
    watch = "predict" if alpha else "loss"
    return Loss(TARGETS, parts, watch, terms)


def _terms(
    transformer: Transformer,
    batch: Batch,
    *,
    vocab_size: int,
    tasks: tuple[str, ...],
    dropout: DropoutRate,
    dropout_key: jax.Array | None,
    remat: bool,
) -> Terms:
    hidden_BTD = hidden(transformer, batch, dropout=dropout, dropout_key=dropout_key, remat=remat)
    terms: Terms = {}
    for task in tasks:
        weight_BT = jnp.asarray(batch.targets[f"{task}_weight"])
        target_BT = jnp.asarray(batch.targets["lm_target"])
        total = cross_entropy(
            hidden_BTD, transformer.output_rows(), target_BT, weight_BT, vocab_size
        )
        terms |= {task: Term(total, weight_BT.sum()), f"{task}_share": share(weight_BT, batch)}
    return terms
