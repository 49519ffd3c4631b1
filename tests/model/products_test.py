"""Products of narrow numbers are exact up to the rounding of a float32 sum, in gradients too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verifier.model import products

NARROW = jnp.bfloat16


def numbers(seed, *shape, dtype=NARROW):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def wide(array):
    return np.asarray(array, np.float64)


def close(found, expected):
    """As near as float32 sums come; what was rounded to bfloat16 is 1,000 times as far."""
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("batch", [(), (2, 3)])
@pytest.mark.parametrize("dtype", [NARROW, jnp.float32])
def test_products_are_those_of_the_formulas(batch, dtype):
    a, b = (numbers(n, *batch, 24, 40, dtype=dtype) for n in range(2))
    c = numbers(2, *batch, 40, 16, dtype=dtype)
    across = wide(a).swapaxes(-1, -2)
    close(jax.jit(products.matmul)(a, c), wide(a) @ wide(c))
    close(jax.jit(products.matmul_nt)(a, b), wide(a) @ wide(b).swapaxes(-1, -2))
    close(jax.jit(products.matmul_tn)(a, b), across @ wide(b))
    # where the operands themselves come from transpositions
    close(jax.jit(lambda a, c: products.matmul_tn(a.mT, c))(a, c), wide(a) @ wide(c))
    close(jax.jit(lambda a, c: products.matmul_nt(a, c.mT))(a, c), wide(a) @ wide(c))


def test_an_operand_in_order_is_itself():
    a = numbers(0, 3, 5, 7)
    np.testing.assert_array_equal(jax.jit(lambda a: products.in_order(a.mT))(a), a.mT)
    one = jax.grad(lambda a: products.in_order(a.mT).astype(jnp.float32)[2, 3, 1])(a)
    assert one[2, 1, 3] == 1 and jnp.abs(one).sum() == 1


def slopes(x, kernel, slope):
    """Of `linear` at x and kernel."""
    return jax.jit(lambda *at: jax.vjp(products.linear, *at)[1](slope))(x, kernel)


def test_gradients_of_a_layer_multiply_what_was_rounded_and_are_rounded_no_more():
    x, kernel = numbers(0, 64, 24), numbers(1, 24, 40, dtype=jnp.float32)
    slope = numbers(2, 64, 40, dtype=jnp.float32)
    close(products.linear(x, kernel), wide(x) @ wide(kernel.astype(NARROW)))
    x_slope, kernel_slope = slopes(x, kernel, slope)
    assert x_slope.dtype == NARROW
    rounded = wide(slope.astype(NARROW))
    expected = rounded @ wide(kernel.astype(NARROW)).T
    np.testing.assert_allclose(wide(x_slope), expected, rtol=2**-8, atol=1e-4)
    close(kernel_slope, wide(x).T @ rounded)


def test_float32_layers_keep_the_gradients_that_jax_gives():
    x, kernel, slope = (
        numbers(n, *shape, dtype=jnp.float32)
        for n, shape in enumerate([(64, 24), (24, 40), (64, 40)])
    )
    plain = jax.jit(lambda *at: jax.vjp(jnp.matmul, *at)[1](slope))(x, kernel)
    for found, expected in zip(slopes(x, kernel, slope), plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_layer_that_is_narrow_already_has_a_narrow_gradient():
    x, kernel = numbers(0, 8, 24), numbers(1, 24, 40)
    assert {each.dtype for each in slopes(x, kernel, jnp.ones((8, 40)))} == {jnp.dtype(NARROW)}
