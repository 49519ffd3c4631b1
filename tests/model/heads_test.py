import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.hf.families import FAMILIES, build
from verifier.model.heads import LinearHead, ReservedLogitHead, Verifier, fresh_row

RESERVED = 28
HIDDEN = jnp.asarray(np.random.default_rng(0).normal(size=(3, 16)), jnp.float32)


def verifier(tied: bool = True, dtype: jax.typing.DTypeLike = jnp.float32) -> Verifier:
    return Verifier(
        build(dataclasses.replace(FAMILIES["llama"], tied=tied), dtype=dtype),
        ReservedLogitHead(RESERVED),
    )


@pytest.mark.parametrize("tied", [True, False])
def test_value_is_gain_times_the_reserved_logit_plus_bias(tied):
    made = verifier(tied)
    logit = made.backbone.logits(HIDDEN)[:, RESERVED]
    # gain 1 and bias 0 at the start
    np.testing.assert_allclose(made.values(HIDDEN), logit, atol=1e-6)
    made.head.gain[...] = jnp.float32(-2.5)
    made.head.bias[...] = jnp.float32(0.75)
    np.testing.assert_allclose(made.values(HIDDEN), -2.5 * logit + 0.75, atol=1e-6)


def test_the_reserved_head_has_two_parameters_and_trains_the_reserved_row():
    made = verifier(tied=False)
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(made.head, nnx.Param))) == 2
    graph, state = nnx.split(made)
    slopes = jax.grad(lambda state: nnx.merge(graph, state).values(HIDDEN).sum())(state)
    touched = np.abs(slopes["backbone"]["unembed"][...]).sum(-1) > 0
    np.testing.assert_array_equal(np.flatnonzero(touched), [RESERVED])
    assert float(slopes["head"]["bias"][...]) == 3.0


def test_values_of_bfloat16_are_float32_and_agree_with_the_logit():
    made = verifier(dtype=jnp.bfloat16)
    hidden = HIDDEN.astype(jnp.bfloat16)[None]
    values = made.values(hidden)
    assert values.dtype == jnp.float32 and values.shape == (1, 3)
    np.testing.assert_allclose(
        values, made.backbone.logits(hidden)[..., RESERVED], rtol=1e-5, atol=1e-5
    )


def test_linear_head_starts_at_its_bias_and_is_linear():
    model = build(FAMILIES["gpt2"])
    made = Verifier(model, LinearHead(16, initial_bias=0.4))
    np.testing.assert_array_equal(made.values(HIDDEN), np.full(3, 0.4, np.float32))
    made.head.kernel[...] = jnp.arange(16.0)
    np.testing.assert_allclose(
        made.values(HIDDEN), np.asarray(HIDDEN) @ np.arange(16.0) + 0.4, rtol=1e-5
    )
    assert float(jnp.abs(LinearHead(16, rngs=nnx.Rngs(0)).kernel[...]).max()) > 0


@pytest.mark.parametrize("tied", [True, False])
def test_a_fresh_row_is_small_and_leaves_all_others_alone(tied):
    made = verifier(tied)
    matrix = made.backbone.embed if tied else made.backbone.unembed
    before, embed_before = np.asarray(matrix[...]), np.asarray(made.backbone.embed[...])
    fresh_row(made.backbone, RESERVED, jax.random.key(3))
    after = np.asarray(matrix[...])
    np.testing.assert_array_equal(after[:RESERVED], before[:RESERVED])
    assert 0 < np.abs(after[RESERVED]).max() < 0.02 < np.abs(before[RESERVED]).max()
    if not tied:
        np.testing.assert_array_equal(made.backbone.embed[...], embed_before)


def test_a_reserved_id_without_a_row_is_refused():
    with pytest.raises(ValueError, match="reserved_id 29 has no row in an embedding of 29"):
        Verifier(build(FAMILIES["llama"]), ReservedLogitHead(29))
