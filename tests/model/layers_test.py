import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.hf.families import FAMILIES
from verifier.model.layers import MLP, LayerNorm, RMSNorm, residual_dropout


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_norms_agree_with_their_formulas():
    x = normal(0, 3, 8) * 5 + 2
    scale, bias = normal(1, 8), normal(2, 8)
    rms, layer = RMSNorm(8, 1e-3), LayerNorm(8, 1e-3)
    rms.scale[...] = layer.scale[...] = jnp.asarray(scale)
    layer.bias[...] = jnp.asarray(bias)
    np.testing.assert_allclose(
        rms(jnp.asarray(x)), x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) * scale, rtol=1e-5
    )
    centred = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(layer(jnp.asarray(x)), centred * scale + bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", [RMSNorm, LayerNorm])
def test_norms_of_bfloat16_are_computed_in_float32(norm):
    x = jnp.asarray(normal(0, 4, 64) * 30, jnp.bfloat16)
    wide = norm(64, 1e-6)(x.astype(jnp.float32))
    assert norm(64, 1e-6)(x).dtype == jnp.bfloat16
    np.testing.assert_array_equal(norm(64, 1e-6)(x), wide.astype(jnp.bfloat16))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_mlp_is_gated_only_where_the_arch_says_so(family):
    mlp = MLP(FAMILIES[family], rngs=nnx.Rngs(0), dtype=jnp.float32)
    x = jnp.asarray(normal(0, 3, 16))
    up = np.asarray(x @ mlp.up.kernel[...])
    if family == "llama":
        gate = np.asarray(x @ mlp.gate.kernel[...])
        middle = gate / (1 + np.exp(-gate)) * up
    else:
        assert not hasattr(mlp, "gate")
        middle = 0.5 * up * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
    np.testing.assert_allclose(mlp(x), middle @ np.asarray(mlp.down.kernel[...]), atol=1e-5)


def test_dropout_is_the_identity_at_rate_0_and_without_a_key():
    x = jnp.asarray(normal(0, 4, 5))
    assert residual_dropout(x, 0.0, jax.random.key(0)) is x
    assert residual_dropout(x, 0.5, None) is x


def test_dropout_keeps_the_mean_and_follows_its_key():
    x = jnp.ones((200, 100))
    out = residual_dropout(x, 0.2, jax.random.key(0))
    assert set(np.unique(out)) == {np.float32(0.0), np.float32(1.25)}
    assert float(out.mean()) == pytest.approx(1.0, abs=0.02)  # 5 standard errors
    assert not np.array_equal(out, residual_dropout(x, 0.2, jax.random.key(1)))
    np.testing.assert_array_equal(out, residual_dropout(x, 0.2, jax.random.key(0)))
