"""Matrix products of one element type, summed in float32, and their gradients.

    matmul      ...MK,...KN->...MN
    matmul_nt   ...MK,...NK->...MN   the right one as it lies, read as its transposed
    matmul_tn   ...KM,...KN->...MN   the left one likewise
    linear      MK,KN->MN            the same as `matmul`, with a gradient of narrow products
    einsum      any other of two, in the type of the left one

Where a CPU has instructions for bfloat16 (avx512_bf16, amx_bf16) a product of two narrow operands
into float32 takes half the time of a float32 one. One into bfloat16, or of a float32 and a narrow
operand, is done in float32 after all.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    """left [..., M, K] . right [..., K, N], float32 [..., M, N]."""
    return _dot(left, right, -1, -2)


def matmul_nt(left: jax.Array, right: jax.Array) -> jax.Array:
    """left [..., M, K] . right [..., N, K] transposed, float32 [..., M, N]."""
    return _dot(left, right, -1, -1)


def matmul_tn(left: jax.Array, right: jax.Array) -> jax.Array:
    """left [..., K, M] transposed . right [..., K, N], float32 [..., M, N]."""
    if _by_library(left):  # which wants the left one's rows
        return matmul(in_order(left.swapaxes(-1, -2)), right)
    return _dot(left, right, -2, -2)


def einsum(subscripts: str, left: jax.Array, right: jax.Array) -> jax.Array:
    """A product of two operands by `jnp.einsum`, in the type of the left one, float32."""
    return jnp.einsum(
        subscripts, left, right.astype(left.dtype), preferred_element_type=jnp.float32
    )


def in_order(operand: jax.Array) -> jax.Array:
    """The operand of a product, laid out in memory in the order of its own dimensions.

    XLA's CPU compiler chooses between its library and float32 before it lays out arrays, and takes
    what comes from a transposition for one that lies transposed, which the library does not read.
    Flattened and shaped anew it is not taken so; the barrier keeps the two from cancelling out.
    """
    if not _by_library(operand):
        return operand
    return jax.lax.optimization_barrier(operand.reshape(-1)).reshape(operand.shape)


def on_one_cpu() -> bool:
    """Whether what is traced is for a CPU, with no mesh in use."""
    return jax.default_backend() == "cpu" and jax.sharding.get_abstract_mesh().empty


def linear(x_MK: jax.Array, kernel_KN: jax.Array) -> jax.Array:
    """x . kernel in the type of x, float32 [M, N].

    The gradient's products are of that type, too, and the kernel's is as exact as the kernel.
    Plain differentiation would multiply a float32 slope with narrow operands, and round the
    kernel's gradient to the narrow type.

    Args:
        x_MK: rows.
        kernel_KN: a parameter; as wide as x, or wider.
    """
    if x_MK.dtype == jnp.float32:
        return _dot(x_MK, kernel_KN, -1, -2)
    return _narrow_linear(x_MK, kernel_KN)


@jax.custom_vjp
def _narrow_linear(x_MK: jax.Array, kernel_KN: jax.Array) -> jax.Array:
    return matmul(x_MK, kernel_KN.astype(x_MK.dtype))


def _forward(
    x_MK: jax.Array, kernel_KN: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    narrow_KN = kernel_KN.astype(x_MK.dtype)
    like_kernel = jnp.zeros((0,), kernel_KN.dtype)
    return matmul(x_MK, narrow_KN), (x_MK, narrow_KN, like_kernel)


def _backward(
    kept: tuple[jax.Array, jax.Array, jax.Array], slope_MN: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x_MK, narrow_KN, like_kernel = kept
    slope_MN = slope_MN.astype(x_MK.dtype)
    x_slope = matmul_nt(slope_MN, narrow_KN).astype(x_MK.dtype)
    return x_slope, matmul_tn(x_MK, slope_MN).astype(like_kernel.dtype)


_narrow_linear.defvjp(_forward, _backward)


def _dot(left: jax.Array, right: jax.Array, over_left: int, over_right: int) -> jax.Array:
    """The sum over one dimension of each, counted from the end; those before the last two agree."""
    batch = tuple(range(left.ndim - 2))
    over = (left.ndim + over_left,), (right.ndim + over_right,)
    return jax.lax.dot_general(
        left, right, (over, (batch, batch)), preferred_element_type=jnp.float32
    )


def _by_library(operand: jax.Array) -> bool:
    """Whether XLA's CPU compiler may give a narrow product to the library that is fast in it."""
    return operand.dtype != jnp.float32 and on_one_cpu()
