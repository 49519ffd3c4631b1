"""What a loss is: the batch's targets it reads, its terms, and which of them it adds up.

A term is a sum over positions together with its weight. What is differentiated is divided by the
weights of the *whole step's* batch, so neither the number of micro-batches nor the order of rows
changes a step. A sum over tokens divided by rows would weigh long solutions more without saying so;
here the weights in the batch say it (see `normalise` in `config.VerifyConfig`).

A new loss is one file beside this one, and examples whose `targets` have the keys it reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from verifier.data.batches import Batch
from verifier.data.examples import Target
from verifier.model.layers import DropoutRate


class Term(NamedTuple):
    """One number of a batch: `sum / weight` is its mean."""

    sum: jax.Array  # float32 scalar
    weight: jax.Array  # float32 scalar


Terms = dict[str, Term]


class LossPart(NamedTuple):
    """A term that is differentiated; all others are only reported."""

    coefficient: float
    weight: str  # key of `Batch.targets`: the weights that the term's sum is divided by


class TermsFunction(Protocol):
    """Terms of a batch, or of a part of its rows: sums, so that those of the parts add up.

    Those of a loss that draws are also given `draw_key`, a key of what is drawn.
    """

    def __call__(
        self,
        model: Any,
        batch: Batch,
        *,
        dropout: DropoutRate,  # of the residual dropout; 0 when evaluating
        dropout_key: jax.Array | None,  # needed where the rate is above 0
        remat: bool,  # hold only the layers' inputs for the backward pass
    ) -> Terms: ...


@dataclasses.dataclass(frozen=True)
class Loss:
    """What a training job makes smaller: the sum of its parts, each coefficient * sum / divisor."""

    targets: Mapping[str, Target]  # keys of `Batch.targets` that `terms` reads, and their arrays
    parts: Mapping[str, LossPart]  # by term
    watch: str  # the term whose held-out mean, or "loss", decides which parameters are best
    terms: TermsFunction
    draws: bool = False  # from a key of its own, which evaluations have, too

    def divisors(self, batch: Batch) -> dict[str, jax.Array]:
        """Returns each part's total weight of a batch, 1 where it has none."""
        weights = {name: batch.targets[part.weight].sum() for name, part in self.parts.items()}
        return {name: jnp.where(weight > 0, weight, 1.0) for name, weight in weights.items()}

    def total(self, terms: Terms, by: Mapping[str, jax.Array]) -> jax.Array:
        """Returns the loss of some terms, float32 scalar; `by` as `divisors` gives it."""
        return sum(
            (part.coefficient * terms[name].sum / by[name] for name, part in self.parts.items()),
            jnp.float32(0),
        )

    def total_of_means(self, means: Mapping[str, float]) -> float:
        """Returns the loss of terms that are divided already; one without a mean adds nothing."""
        return sum(
            (part.coefficient * means.get(name, 0.0) for name, part in self.parts.items()), 0.0
        )
