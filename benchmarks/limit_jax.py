"""What JAX reaches on this machine in plain matrix products and in reading memory."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.jax_worker import device_bytes
from benchmarks.timing import best_seconds
from benchmarks.worker import serve


def load(dtype: str) -> dict[str, Any]:
    """Nothing to load."""
    return {"device": jax.devices()[0].device_kind, "dtype": dtype}


def measure(
    shapes: Sequence[tuple[int, int, int]], read_bytes: int, dtype: str, seconds: float
) -> dict[str, Any]:
    """Operations a second for each shape M x K x N, products of `dtype` summed up in float32, and
    bytes read a second of one large array of float32.
    """
    kind = jnp.dtype(dtype)
    product = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))
    rates = []
    for m, k, n in shapes:
        left, right = jnp.ones((m, k), kind), jnp.ones((k, n), kind)
        best = best_seconds(
            lambda left=left, right=right: jax.block_until_ready(product(left, right)), seconds
        )  # type: ignore[misc]
        rates.append(2 * m * k * n / best)
    large = jnp.ones(read_bytes // 4, jnp.float32)
    total = jax.jit(lambda array: jnp.max(array))
    best = best_seconds(lambda: jax.block_until_ready(total(large)), seconds)
    return {"flops_per_second": rates, "bytes_per_second": large.nbytes / best}


if __name__ == "__main__":
    serve({"load": load, "measure": measure}, ("jax", "jaxlib"), device_bytes)
