"""Rows of many tokens: masks against attention written out, gradients against plain
differentiation, the choice of the kernel.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.hf.families import quick_jit
from verifier.model import attention, view

B, T, N, K, H = 3, 7, 4, 2, 8
# Two chains and padding, a tree of two branches and one token more, a chain.
ENDS = np.asarray([[3, 3, 3, 5, 5, 0, 0], [6, 6, 4, 4, 6, 6, 7], [7] * 7], np.int32)
DEPTHS = np.asarray([[0, 1, 2, 0, 1, 0, 0], [0, 1, 2, 3, 2, 3, 0], [*range(7)]], np.int32)


def parts(
    seed: int = 0, dtype: jax.typing.DTypeLike = jnp.float32, tokens: int = T
) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    return tuple(
        jnp.asarray(rng.normal(size=shape), dtype)
        for shape in ((B, tokens, N, H), (B, K, tokens, H), (B, K, tokens, H))
    )


def written_out(
    query: jax.Array, key: jax.Array, value: jax.Array, mask_BTS: np.ndarray
) -> jax.Array:
    """Heads repeated, softmax as jax.nn has it."""
    key, value = (jnp.repeat(part, N // K, axis=1) for part in (key, value))
    scores = jnp.einsum("btnh,bnsh->bnts", query, key) / np.sqrt(H)
    return jnp.einsum(
        "bnts,bnsh->btnh", jax.nn.softmax(jnp.where(mask_BTS[:, None], scores, -1e30)), value
    )


def answer_for_cudnn(monkeypatch):
    """No NVIDIA device here: the call that goes to cuDNN is answered by XLA's reading of the same
    arguments.
    """
    plain = jax.nn.dot_product_attention

    def answered(*arguments, implementation, **named):
        assert implementation == "cudnn"
        return plain(*arguments, implementation="xla", **named)

    monkeypatch.setattr(attention, "_kernel", lambda *_: "cudnn")
    monkeypatch.setattr(jax.nn, "dot_product_attention", answered)


@pytest.fixture
def small_blocks(monkeypatch):
    """Rows of 7 tokens in blocks of 4 and 3; without gradients two of the three rows at a time."""
    monkeypatch.setattr(attention, "BLOCK", 3)
    monkeypatch.setattr(attention, "_SCORES_IN_CACHE", 2 * N * 4 * T)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("ends", [None, ENDS])
def test_values_and_gradients_are_those_of_attention_written_out(ends, window):
    mask = np.zeros((B, T, T), bool)
    depths = np.broadcast_to(np.arange(T), (B, T)) if ends is None else DEPTHS
    for b, t, s in np.ndindex(B, T, T):
        mask[b, t, s] = (
            s <= t
            and (ends is None or t < ends[b, s])
            and (window is None or depths[b, t] - depths[b, s] < window)
        )
    see = view.View(view.seen(jnp.asarray(depths), ends, window))
    # What padding reads is nobody's.
    weight = np.random.default_rng(1).normal(size=(B, T, N, H)) * mask.any(-1)[..., None, None]

    def both(function):
        return quick_jit(
            jax.value_and_grad(lambda *x: (function(*x) * weight).sum(), argnums=(0, 1, 2))
        )(*parts())

    alone = quick_jit(lambda q, k, v: attention.within_rows(q, k, v, see))(*parts())
    whole = quick_jit(lambda q, k, v: written_out(q, k, v, mask))(*parts())
    real = mask.any(-1)
    np.testing.assert_allclose(alone[real], whole[real], rtol=1e-4, atol=1e-5)
    value, slopes = both(lambda q, k, v: attention.within_rows(q, k, v, see))
    expected, expected_slopes = both(lambda q, k, v: written_out(q, k, v, mask))
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    for slope, wanted in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(slope, wanted, atol=2e-5)


@pytest.mark.parametrize("kernel", ["plain", "cudnn"])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_rows_in_blocks_are_as_they_are_whole(monkeypatch, backend, kernel):
    """One block after the other, as on a CPU, and all at once."""
    monkeypatch.setattr(view, "BLOCK", 4)
    depths, ends = (jnp.asarray(np.pad(part, ((0, 0), (0, 1)))) for part in (DEPTHS, ENDS))
    query, key, value = parts(tokens=8)
    before = view.before(ends, 7)
    whole = view.View(view.seen(depths, ends))
    blocks = view.View(view.seen_by_blocks(depths, ends, before), before)
    real = np.asarray(ends) > 0
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    if kernel == "cudnn":
        answer_for_cudnn(monkeypatch)

    def read(see):
        def of(*x):
            mixed = attention.within_rows(*x, see)
            return (mixed * real[..., None, None] * jnp.arange(H)).sum(), mixed

        return quick_jit(jax.value_and_grad(of, argnums=(0, 1, 2), has_aux=True))(query, key, value)

    ((_, found), slopes), ((_, wanted), wanted_slopes) = read(blocks), read(whole)
    np.testing.assert_allclose(found[real], wanted[real], rtol=1e-4, atol=1e-5)
    for slope, expected in zip(slopes, wanted_slopes, strict=True):
        np.testing.assert_allclose(slope, expected, atol=2e-5)


def test_a_row_that_sees_nothing_stays_finite_with_its_gradient():
    nothing = jnp.zeros((1, T, T), bool)
    value, slopes = quick_jit(
        jax.value_and_grad(
            lambda *x: attention.within_rows(*x, view.View(nothing)).sum(), argnums=(0, 1, 2)
        )
    )(*parts())
    assert np.isfinite(value) and all(np.isfinite(slope).all() for slope in slopes)


def test_bfloat16_is_near_float32_and_sums_in_float32():
    see = view.View(view.seen(jnp.asarray(DEPTHS), ENDS))
    wide = quick_jit(attention.within_rows)(*parts(), see)
    narrow = quick_jit(attention.within_rows)(*parts(dtype=jnp.bfloat16), see)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, atol=0.05)
    # 512 equal keys: weights summed in bfloat16 would stop growing at 256
    ones = jnp.ones((1, 1, 512, 8), jnp.bfloat16)
    mixed = quick_jit(attention.plain)(
        ones[:, :, :1].swapaxes(1, 2), ones, ones, jnp.ones((1, 1, 512), bool)
    )
    np.testing.assert_array_equal(mixed, 1.0)


@pytest.mark.parametrize(
    ("platform", "dtype", "head_width", "tokens", "expected"),
    [
        ("cuda", jnp.bfloat16, 64, 512, "cudnn"),
        ("cuda", jnp.float16, 128, 512, "cudnn"),
        ("cuda", jnp.float32, 64, 512, "plain"),
        ("cuda", jnp.bfloat16, 60, 512, "plain"),
        ("cuda", jnp.bfloat16, 136, 512, "plain"),
        ("cuda", jnp.bfloat16, 64, 511, "plain"),
        ("cpu", jnp.bfloat16, 64, 512, "plain"),
        ("tpu", jnp.bfloat16, 64, 512, "plain"),
    ],
)
def test_the_kernel_is_one_that_the_device_has_and_the_rows_fit(
    platform, dtype, head_width, tokens, expected
):
    assert attention.choose(platform, dtype, head_width, tokens, 512) == expected


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("ends", [None, ENDS])
def test_what_cudnn_is_told_means_the_same_mask(monkeypatch, ends, window):
    see = view.View(view.seen(jnp.asarray(DEPTHS), ends, window))
    expected = attention.within_rows(*parts(), see)
    answer_for_cudnn(monkeypatch)
    np.testing.assert_allclose(attention.within_rows(*parts(), see), expected, atol=1e-5)
