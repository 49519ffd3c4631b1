"""A model with an encoder: gradients, and what it refuses to read."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.hf import families
from verifier.errors import ConfigError
from verifier.model import attention, heads, relative, sharding
from verifier.model.transformer import Transformer

T5 = families.ENCODERS["t5"]


def test_attention_with_a_bias_has_the_value_and_the_slopes_of_a_naive_one():
    random = np.random.default_rng(0)
    shapes = (2, 5, 4, 6), (2, 2, 5, 6), (2, 2, 5, 6), (1, 4, 5, 5)
    operands = [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]
    seen = jnp.asarray(random.random((2, 5, 5)) < 0.7) | jnp.eye(5, dtype=bool)
    aim = jnp.asarray(random.normal(size=shapes[0]), jnp.float32)

    def naive(query, key, value, bias):
        key, value = (jnp.repeat(part, 2, axis=1) for part in (key, value))
        scores = jnp.einsum("btnh,bnsh->bnts", query, key) / 6**0.5 + bias
        weights = jax.nn.softmax(jnp.where(seen[:, None], scores, -jnp.inf))
        return jnp.einsum("bnts,bnsh->btnh", weights, value)

    def ours(query, key, value, bias):
        return attention.plain(query, key, value, seen, bias)

    @functools.partial(jax.jit, static_argnums=0)
    def both(function, *operands):
        return jax.value_and_grad(lambda *parts: (function(*parts) * aim).sum(), range(4))(
            *operands
        )

    with jax.default_matmul_precision("highest"):
        found, expected = (both(function, *operands) for function in (ours, naive))
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("both_ways", [True, False])
def test_buckets_are_those_of_the_paper(both_ways):
    """Half of a side's buckets hold one distance each; all far ones share the last."""
    place = relative.buckets(32, 128, both_ways)
    at = lambda where: place[128 + where]  # noqa: E731
    side = 16 if both_ways else 32
    assert [at(-far) for far in range(side // 2)] == list(range(side // 2))
    assert at(-128) == at(-127) == side - 1 and (np.diff(place[:129]) <= 0).all()
    assert set(place[:129]) == set(range(side))
    ahead = place[129:]
    assert set(ahead) == (set(range(17, 32)) if both_ways else {0})


@functools.partial(families.quick_jit, static_argnums=(0, 4))
def slopes(graph, state, row, prompts, remat):
    def total(state):
        hidden = nnx.merge(graph, state).hidden(*row, prompts=prompts, remat=remat)
        return (hidden[0, 1:7].astype(jnp.float32) ** 3).sum()

    return jax.grad(total)(state)


def test_layers_computed_again_have_the_same_slopes_and_no_parameter_is_idle():
    model = families.build(families.ENCODERS["t5 1.1"])
    row = (
        np.arange(8)[None],
        np.array([[0, 1, 2, 3, 0, 1, 2, 0]]),
        np.array([[4] * 4 + [7] * 3 + [0]]),
    )
    prompts = np.arange(9, 15)[None], np.array([[4, 4, 4, 7, 7, 0]])
    kept, again = (slopes(*nnx.split(model), row, prompts, remat) for remat in (False, True))
    for (path, one), (_, other) in zip(
        nnx.to_flat_state(kept), nnx.to_flat_state(again), strict=True
    ):
        np.testing.assert_allclose(one[...], other[...], rtol=1e-4, atol=1e-4)
        assert np.abs(one[...]).max() > 0 or path == ("unembed",), path


def test_prompts_are_for_an_encoder_alone_and_an_encoder_needs_them():
    tokens = np.zeros((1, 4), np.int32)
    for family, prompts in ((families.FAMILIES["llama"], (tokens, tokens)), (T5, None)):

        def read(family=family, prompts=prompts):
            model = Transformer(family, rngs=nnx.Rngs(0))
            return model.hidden(tokens, tokens, tokens, prompts=prompts)

        with pytest.raises(ValueError, match="prompts beside them"):
            jax.eval_shape(read)


def test_no_mesh_and_no_value_head_is_for_an_encoder():
    sharding.check(T5, SimpleNamespace(size=1, shape=dict.fromkeys(sharding.MESH_AXES, 1)))
    with pytest.raises(ConfigError, match="works on one device, but the mesh has 2"):
        sharding.check(T5, SimpleNamespace(size=2))
    with pytest.raises(ConfigError, match="verify.init=base"):
        nnx.eval_shape(lambda: heads.Verifier(Transformer(T5, rngs=nnx.Rngs(0)), None))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encoder_layers": 0}, "come together"),
        ({"relative_buckets": 6}, "multiple of 4"),
        ({"relative_distance": 4}, "above half"),
        ({"sliding_window": 3}, "sliding_window"),
    ],
)
def test_an_arch_that_is_not_built_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(T5, **fields)
