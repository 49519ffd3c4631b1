"""One layer over packed rows, kept for the backward pass or computed again in it."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.model import attention


class Layer(NamedTuple):
    """What is static about a layer that reads packed rows."""

    graph: nnx.GraphDef
    dropout: float


def read_layer(
    static: Layer, weights: nnx.State, x: jax.Array, given: tuple[Any, ...]
) -> jax.Array:
    """One block over packed rows.

    given: rotation, what each token sees, dropout key, none of which has a gradient.
    """
    cos_sin, see, key = given
    block = nnx.merge(static.graph, weights)
    q, k, v = block.project(x, cos_sin)
    return block.join(x, attention.within_rows(q, k, v, see), static.dropout, key)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def read_layer_remat(
    static: Layer, weights: nnx.State, x: jax.Array, given: tuple[Any, ...]
) -> jax.Array:
    """`read_layer`, whose backward pass starts from the layer's input alone.

    jax.checkpoint would do where the compiler minds its barriers. XLA's CPU compiler drops them and
    then recomputes all layers at once, so that what they hold is alive together again.
    """
    return read_layer(static, weights, x, given)


def _remat_forward(
    static: Layer, weights: nnx.State, x: jax.Array, given: tuple[Any, ...]
) -> tuple[jax.Array, tuple[Any, ...]]:
    return read_layer(static, weights, x, given), (weights, x, given)


def _remat_backward(
    static: Layer, kept: tuple[Any, ...], slope: jax.Array
) -> tuple[Any, jax.Array, None]:
    weights, x, given = kept

    def pull(x: jax.Array, slope: jax.Array) -> tuple[Any, jax.Array]:
        return jax.vjp(lambda weights, x: read_layer(static, weights, x, given), weights, x)[1](
            slope
        )

    if jax.default_backend() != "cpu":
        return *pull(*jax.lax.optimization_barrier((x, slope))), None
    # A branch is one unit that waits for its operands. The other one is as true: of a gradient that
    # is no number none comes.
    first = slope.reshape(-1)[0]
    lost = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), (weights, x))
    return *jax.lax.cond(first == first, pull, lambda *_: lost, x, slope), None


read_layer_remat.defvjp(_remat_forward, _remat_backward)
