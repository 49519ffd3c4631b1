"""How much a prediction heeds a thought, and what it is then."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.model.layers import Linear


class MixingHead(nnx.Module):
    """How much a prediction heeds a thought, by what the model holds without and with it.

    Three layers, no squashing; the last one is 0 at first, so that no thought counts.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike):
        how: Any = {"dtype": dtype, "param_dtype": jnp.float32, "rngs": rngs}
        self.first = Linear(2 * width, width, **how)
        self.second = Linear(width, width, **how)
        zeros = nnx.initializers.zeros
        self.last = Linear(width, 1, use_bias=False, kernel_init=zeros, **how)

    def __call__(self, base: jax.Array, thought: jax.Array) -> jax.Array:
        """The thought's weight, float32 [...], of hidden states [..., D] of equal shape."""
        x = jax.nn.relu(self.first(jnp.concatenate([base, thought], axis=-1)))
        return self.last(jax.nn.relu(self.second(x)))[..., 0]


def mix(base: jax.Array, thought: jax.Array, weight: jax.Array) -> jax.Array:
    """(1 - weight) * base + weight * thought, in the type of these; with weight 0 base itself."""
    weight = weight[..., None]
    return ((1 - weight) * base + weight * thought).astype(base.dtype)
