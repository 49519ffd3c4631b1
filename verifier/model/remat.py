"""One layer over packed rows, kept for the backward pass or computed again in it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.model import attention
from verifier.model.layers import Block, DropoutRate
from verifier.model.sharding import constrained
from verifier.model.view import View


class Layer(NamedTuple):
    """What is static about a layer that reads packed rows."""

    graph: nnx.GraphDef
    dropout: float | None  # None: `Given.dropout`
    both_ways: bool = False  # an encoder's, whose tokens see what is behind them


class Stream(NamedTuple):
    """What a layer reads that has a gradient."""

    x: jax.Array  # [B, T, D]
    bias_1NTT: jax.Array | None = None  # of the scores, where positions are relative
    encoded_BSD: jax.Array | None = None  # the prompts that a decoder's layer crosses to


class Given(NamedTuple):
    """What it reads that has none."""

    cos_sin: tuple[jax.Array, jax.Array] | None  # the rotation
    see: View
    key: jax.Array | None  # of the dropout
    crossed_BTS: jax.Array | None = None  # `view.crossed`
    dropout: jax.Array | None = None  # the rate, where that changes from step to step


def read_layer(static: Layer, weights: nnx.State, stream: Stream, given: Given) -> jax.Array:
    """One block over packed rows."""
    x, bias_1NTT, encoded_BSD = stream
    block = nnx.merge(static.graph, weights)
    q, k, v = block.project(x, given.cos_sin)
    if static.both_ways:
        assert given.see.seen_BTS is not None
        mixed = attention.plain(q, k, v, given.see.seen_BTS, bias_1NTT)
    else:
        mixed = attention.within_rows(q, k, v, given.see, bias_1NTT)
    crossed = None
    if encoded_BSD is not None and given.crossed_BTS is not None:
        k, v = block.cross.keys_of(encoded_BSD)
        crossed = attention.crossing(k, v, given.crossed_BTS)
    return block.join(x, mixed, rate_of(static.dropout, given.dropout), given.key, crossed)


def read_block(
    block: Block,
    stream: Stream,
    given: Given,
    *,
    dropout: DropoutRate = 0.0,
    both_ways: bool = False,
    remat: bool = False,
) -> jax.Array:
    """One block over packed rows, [B, T, D]; remat: its inside is computed again going backward."""
    graph, weights = nnx.split(block)
    read = read_layer_remat if remat else read_layer
    static, traced = parted(dropout)
    x = read(Layer(graph, static, both_ways), weights, stream, given._replace(dropout=traced))
    return constrained(x, "rows", None, None)


def parted(rate: DropoutRate) -> tuple[float | None, jax.Array | None]:
    """A dropout's rate as what is static about a layer, and as what it reads; one of them None."""
    return (None, rate) if isinstance(rate, jax.Array) else (rate, None)


def rate_of(static: float | None, traced: jax.Array | None) -> DropoutRate:
    """What `parted` has taken apart."""
    rate = traced if static is None else static
    assert rate is not None
    return rate


def rematerialised(read: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's `read(static, weights, stream, given)` whose backward pass starts from the layer's
    input alone; `stream` and what comes out may be any trees, `given` has no gradient.

    jax.checkpoint would do where the compiler minds its barriers. XLA's CPU compiler drops them and
    then recomputes all layers at once, so that what they hold is alive together again.
    """

    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def again(static: Any, weights: nnx.State, stream: Any, given: Any) -> Any:
        return read(static, weights, stream, given)

    def forward(
        static: Any, weights: nnx.State, stream: Any, given: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        return read(static, weights, stream, given), (weights, stream, given)

    def backward(static: Any, kept: tuple[Any, ...], slope: Any) -> tuple[Any, Any, None]:
        weights, stream, given = kept

        def pull(stream: Any, slope: Any) -> tuple[Any, Any]:
            def own(weights: nnx.State, stream: Any) -> Any:
                return read(static, weights, stream, given)

            return jax.vjp(own, weights, stream)[1](slope)

        if jax.default_backend() != "cpu":
            return *pull(*jax.lax.optimization_barrier((stream, slope))), None
        # A branch is one unit that waits for its operands. The other one is as true: of a gradient
        # that is no number none comes.
        first = jax.tree.leaves(slope)[0].reshape(-1)[0]
        lost = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), (weights, stream))
        return *jax.lax.cond(first == first, pull, lambda *_: lost, stream, slope), None

    again.defvjp(forward, backward)
    return again


read_layer_remat = rematerialised(read_layer)
