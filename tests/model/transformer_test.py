import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.model.families import FAMILIES, build, read
from verifier.model.transformer import Transformer

FIRST, SECOND = [3, 1, 4, 1, 5], [9, 2, 6, 5, 3, 5, 8]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_gradient_flows_from_later_tokens_and_none_from_beyond_the_window(family):
    model = build(FAMILIES[family])
    graph, state = nnx.split(model)
    tokens = jnp.arange(8)[None]  # every id once, so that a row of the embedding is a token's input

    def outcome(embed: jax.Array, t: int) -> jax.Array:
        moved = nnx.merge(graph, state)
        moved.embed[...] = embed
        return (moved.hidden(tokens, tokens, jnp.ones_like(tokens))[0, t] ** 3).sum()

    slope = jax.jit(jax.grad(outcome), static_argnums=1)
    for t in (0, 3, 7):
        reached = np.abs(slope(model.embed[...], t)[:8]).sum(-1) > 0
        window = model.arch.sliding_window
        span = t + 1 if window is None else 1 + model.arch.layers * (window - 1)  # each layer looks window - 1 further back
        np.testing.assert_array_equal(reached, [max(0, t + 1 - span) <= s <= t for s in range(8)])


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_examples_read_as_if_alone(family):
    model = build(FAMILIES[family])
    row = jnp.asarray([FIRST + SECOND + [0, 0]])
    segments = jnp.asarray([[1] * 5 + [2] * 7 + [0, 0]])
    positions = jnp.asarray([[*range(5), *range(7), 0, 0]])
    packed = model.hidden(row, positions, segments)[0]
    np.testing.assert_allclose(packed[:5], read(model, FIRST), atol=1e-5)
    np.testing.assert_allclose(packed[5:12], read(model, SECOND), atol=1e-5)
    other_padding = model.hidden(row.at[:, 12:].set(7), positions, segments)[0]
    np.testing.assert_array_equal(packed[:12], other_padding[:12])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_order_matters(family):
    model = build(FAMILIES[family])
    assert not np.allclose(read(model, [5, 6, 7])[-1], read(model, [6, 5, 7])[-1], atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_near_float32(family):
    wide, narrow = build(FAMILIES[family]), build(FAMILIES[family], dtype=jnp.bfloat16)
    hidden = read(narrow, SECOND)
    assert hidden.dtype == jnp.bfloat16 and narrow.logits(hidden).dtype == jnp.float32
    expected = np.asarray(read(wide, SECOND))
    difference = np.asarray(hidden, np.float32) - expected
    assert np.abs(difference).mean() < 0.03 * np.abs(expected).mean()
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(narrow, nnx.Param)))


def dropped(model: Transformer, rate: float, key: jax.Array | None) -> np.ndarray:
    row = jnp.asarray([SECOND])
    out = model.hidden(row, jnp.arange(row.shape[1])[None], jnp.ones_like(row), dropout_rate=rate, dropout_key=key)
    return np.asarray(out[0])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_dropout_of_rate_0_or_without_a_key_changes_nothing(family):
    model = build(FAMILIES[family])
    plain = np.asarray(read(model, SECOND))
    np.testing.assert_array_equal(dropped(model, 0.0, jax.random.key(0)), plain)
    np.testing.assert_array_equal(dropped(model, 0.3, None), plain)
    one, again, other = (dropped(model, 0.3, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, plain, atol=1e-3) and not np.allclose(one, other, atol=1e-3)


def test_dropout_at_both_sites_of_every_layer_has_masks_of_its_own():
    """With all weights 0 and every output bias 1 the stream counts, entry by entry, which of the 2 L sites let it through."""
    arch = dataclasses.replace(FAMILIES["gpt2"], layers=3, width=128)
    model = Transformer(arch, rngs=nnx.Rngs(0))
    nnx.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model)))
    for place, block in enumerate(model.blocks):
        block.attention.out.bias[...] += 2.0 ** (2 * place)
        block.mlp.down.bias[...] += 2.0 ** (2 * place + 1)
    model.final_norm = lambda x: x
    sums = dropped(model, 0.5, jax.random.key(0)) / 2.0  # 2: what is kept is scaled by 1 / (1 - rate)
    kept = (sums.astype(int)[..., None] >> np.arange(6)) & 1
    assert np.array_equal(sums, sums.astype(int)) and 0.4 < kept.mean() < 0.6
    agreement = np.corrcoef(kept.reshape(-1, 6).T)
    assert np.abs(agreement - np.eye(6)).max() < 0.2


@pytest.mark.parametrize("tied", [True, False])
def test_logits_come_from_the_output_matrix(tied):
    model = build(dataclasses.replace(FAMILIES["llama"], tied=tied))
    assert hasattr(model, "unembed") != tied
    hidden = read(model, FIRST)
    matrix = model.embed if tied else model.unembed
    np.testing.assert_allclose(model.logits(hidden), np.asarray(hidden) @ np.asarray(matrix[...]).T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_split_and_merge_give_the_same_model(family):
    model = build(FAMILIES[family])
    graph, state = nnx.split(model)
    assert hash(graph) == hash(nnx.split(model)[0])
    np.testing.assert_array_equal(read(nnx.merge(graph, state), FIRST), read(model, FIRST))


def test_rows_longer_than_the_context_are_refused():
    model = build(FAMILIES["gpt2"])
    with pytest.raises(ValueError, match="33 tokens do not fit the model's context of 32"):
        read(model, [1] * 33)
    with pytest.raises(ValueError, match="context of 32"):
        model.prefill(jnp.zeros((1, 33), jnp.int32), jnp.asarray([2]))


@pytest.mark.parametrize(("change", "message"), [(dict(norm="batch"), "norm 'batch'.*rms"), (dict(activation="sine"), "'sine'.*silu")])
def test_unknown_choices_name_the_known_ones(change, message):
    with pytest.raises(ValueError, match=message):
        Transformer(dataclasses.replace(FAMILIES["llama"], **change), rngs=nnx.Rngs(0))
