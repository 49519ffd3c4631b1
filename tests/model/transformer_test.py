import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.hf.families import FAMILIES, build, call, quick_jit, read
from verifier.model.transformer import Transformer

FIRST, SECOND = [3, 1, 4, 1, 5], [9, 2, 6, 5, 3]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_gradient_flows_from_later_tokens_and_none_from_beyond_the_window(family):
    model = build(FAMILIES[family])
    graph, state = nnx.split(model)
    tokens = jnp.arange(8)[None]  # every id once, so that a row of the embedding is a token's input

    @quick_jit
    @jax.grad
    def slope(embed: jax.Array, t: jax.Array) -> jax.Array:
        moved = nnx.merge(graph, {**state, "embed": state["embed"].replace(embed)})
        return (moved.hidden(tokens, tokens, None)[0, t] ** 3).sum()

    for t in (0, 3, 7):
        reached = np.abs(slope(model.embed[...], t)[:8]).sum(-1) > 0
        windows = model.arch.windows
        # each layer looks window - 1 further back
        span = t + 1 if None in windows else 1 + sum(window - 1 for window in windows)
        np.testing.assert_array_equal(reached, [max(0, t + 1 - span) <= s <= t for s in range(8)])


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_examples_read_as_if_alone(family):
    model = build(FAMILIES[family])
    ends = np.asarray([[5] * 5 + [10] * 5 + [0] * 2] * 4)
    positions = np.asarray([[*range(5), *range(5), 0, 1]] * 4)
    rows = np.asarray([FIRST + SECOND + padding for padding in ([0, 0], [7, 8], [0, 28], [1, 1])])
    packed = np.asarray(call(model, "hidden", rows, positions, ends))
    first, second = read(model, FIRST, SECOND)
    np.testing.assert_allclose(packed[0, :5], first, atol=1e-5)
    np.testing.assert_allclose(packed[0, 5:10], second, atol=1e-5)
    for other_padding in packed[1:]:
        np.testing.assert_array_equal(packed[0, :10], other_padding[:10])


def test_remat_changes_no_number_and_holds_less():
    model = build(dataclasses.replace(FAMILIES["llama"], layers=4, mlp_width=128))
    graph, state = nnx.split(model)
    row = jnp.asarray(np.arange(64).reshape(2, 32) % 29)
    arguments = row, jnp.arange(32) + 0 * row, None

    def loss(state: nnx.State, remat: bool) -> jax.Array:
        dropping = {"dropout": 0.3, "dropout_key": jax.random.key(0)}
        return (nnx.merge(graph, state).hidden(*arguments, **dropping, remat=remat) ** 3).sum()

    def compiled(remat: bool):
        return (
            jax.jit(jax.value_and_grad(functools.partial(loss, remat=remat))).lower(state).compile()
        )

    kept, again = compiled(False), compiled(True)
    (one, slopes), (other, other_slopes) = kept(state), again(state)
    np.testing.assert_allclose(one, other, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(slopes), jax.tree.leaves(other_slopes), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(a).max())
    assert (
        again.memory_analysis().temp_size_in_bytes < 0.6 * kept.memory_analysis().temp_size_in_bytes
    )


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_order_matters(family):
    one, other = read(build(FAMILIES[family]), [5, 6, 7], [6, 5, 7])
    assert not np.allclose(one[-1], other[-1], atol=1e-3)


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_bfloat16_is_near_float32(family):
    wide, narrow = build(FAMILIES[family]), build(FAMILIES[family], dtype=jnp.bfloat16)
    row = np.asarray([SECOND])
    hidden = call(narrow, "hidden", row, np.arange(5)[None], None)
    assert hidden.dtype == jnp.bfloat16 and narrow.logits(hidden).dtype == jnp.float32
    expected = read(wide, SECOND)[0]
    difference = np.asarray(hidden[0], np.float32) - expected
    assert (
        np.isfinite(difference).all() and np.abs(difference).mean() < 0.03 * np.abs(expected).mean()
    )
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(narrow, nnx.Param)))


@functools.partial(quick_jit, static_argnums=(0, 2))
def _dropped(
    graph: nnx.GraphDef, state: nnx.State, rate: float, key: jax.Array | None
) -> jax.Array:
    row = jnp.asarray([SECOND])
    return nnx.merge(graph, state).hidden(
        row, jnp.arange(5)[None], None, dropout=rate, dropout_key=key
    )[0]


def dropped(model: Transformer, rate: float, key: jax.Array | None) -> np.ndarray:
    return np.asarray(_dropped(*nnx.split(model), rate, key))


def test_dropout_of_rate_0_or_without_a_key_changes_nothing():
    model = build(FAMILIES["llama"])
    plain = dropped(model, 0.0, None)
    np.testing.assert_array_equal(dropped(model, 0.0, jax.random.key(0)), plain)
    np.testing.assert_array_equal(dropped(model, 0.3, None), plain)
    one, again, other = (dropped(model, 0.3, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, plain, atol=1e-3) and not np.allclose(one, other, atol=1e-3)


class Identity(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return x


def test_dropout_at_both_sites_of_every_layer_has_masks_of_its_own():
    """With all weights 0 and every output bias 1 the stream counts, entry by entry, which of the 2
    L sites let it through.
    """
    arch = dataclasses.replace(FAMILIES["gpt2"], layers=3, width=128)
    model = build(arch)
    nnx.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model)))
    for place, block in enumerate(model.blocks):
        block.attention.out.bias[...] += 2.0 ** (2 * place)
        block.mlp.down.bias[...] += 2.0 ** (2 * place + 1)
    model.final_norm = Identity()
    # 2: what is kept is scaled by 1 / (1 - rate)
    sums = dropped(model, 0.5, jax.random.key(0)) / 2.0
    kept = (sums.astype(int)[..., None] >> np.arange(6)) & 1
    assert np.array_equal(sums, sums.astype(int)) and 0.4 < kept.mean() < 0.6
    agreement = np.corrcoef(kept.reshape(-1, 6).T)
    assert np.abs(agreement - np.eye(6)).max() < 0.2


def test_what_attention_and_mlp_put_out_is_normed_before_dropout_and_joining():
    """Each entry that joins is 0 or that of the normed output, scaled up: were it normed later,
    what was dropped would move the others.
    """
    arch = dataclasses.replace(FAMILIES["gemma3"], layers=1, sliding_window_pattern=None)
    for silent in ("attention_post_norm", "mlp_post_norm"):
        model = build(arch)
        getattr(model.blocks[0], silent).scale[...] = jnp.zeros(arch.width)
        model.final_norm = Identity()
        embedded = np.asarray(model.embed[...])[np.asarray(SECOND)] * np.sqrt(arch.width)
        joined, thinned = (
            dropped(model, 0.0, None) - embedded,
            dropped(model, 0.5, jax.random.key(0)) - embedded,
        )
        assert 0.2 < np.isclose(thinned, 0.0, atol=1e-6).mean() < 0.8
        np.testing.assert_allclose(
            thinned, np.where(np.isclose(thinned, 0.0, atol=1e-6), 0.0, 2.0 * joined), atol=1e-5
        )
        scale = (
            model.blocks[0].mlp_post_norm
            if silent == "attention_post_norm"
            else model.blocks[0].attention_post_norm
        ).scale[...]
        np.testing.assert_allclose(np.sqrt(((joined / scale) ** 2).mean(-1)), 1.0, rtol=1e-3)


def test_embeddings_are_scaled_in_the_type_of_the_activations():
    """transformers rounds the root of the width to it: of 24 that is 4.90625 in bfloat16, not
    4.8990.
    """
    arch = dataclasses.replace(FAMILIES["gemma3"], width=24)
    model = build(arch, dtype=jnp.bfloat16)
    for block in model.blocks:
        block.attention_post_norm.scale[...] = block.mlp_post_norm.scale[...] = jnp.zeros(24)
    model.final_norm = Identity()
    rows = model.embed[...][np.asarray(SECOND)].astype(jnp.bfloat16)
    np.testing.assert_array_equal(dropped(model, 0.0, None), rows * jnp.bfloat16(4.90625))


@pytest.mark.parametrize("tied", [True, False])
def test_logits_come_from_the_output_matrix(tied):
    model = build(dataclasses.replace(FAMILIES["llama"], tied=tied))
    assert hasattr(model, "unembed") != tied
    hidden = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    matrix = model.embed if tied else model.unembed
    np.testing.assert_allclose(
        model.logits(jnp.asarray(hidden)), hidden @ np.asarray(matrix[...]).T, rtol=1e-4, atol=1e-5
    )


def test_a_model_from_scratch_starts_near_even_odds():
    model = Transformer(FAMILIES["llama"], rngs=nnx.Rngs(0))
    logits = model.logits(read(model, FIRST)[0])
    assert np.isfinite(logits).all() and np.abs(logits).max() < 1.0


def test_frames_of_equal_models_are_equal_and_hashable():
    one, other = (
        nnx.split(build(FAMILIES["qwen2"], seed=1)),
        nnx.split(build(FAMILIES["qwen2"], seed=2)),
    )
    assert one[0] == other[0] and hash(one[0]) == hash(other[0])
    np.testing.assert_array_equal(
        read(nnx.merge(*one), FIRST)[0], read(build(FAMILIES["qwen2"], seed=1), FIRST)[0]
    )


def test_rows_longer_than_the_context_are_refused():
    model = build(FAMILIES["gpt2"])
    long = jnp.zeros((1, 33), jnp.int32)
    with pytest.raises(ValueError, match="33 tokens do not fit the model's context of 32"):
        model.hidden(long, long, long)
    with pytest.raises(ValueError, match="context of 32"):
        model.prefill(long, jnp.asarray([2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [(dict(norm="batch"), "norm 'batch'.*rms"), (dict(activation="sine"), "'sine'.*silu")],
)
def test_unknown_choices_name_the_known_ones(change, message):
    with pytest.raises(ValueError, match=message):
        Transformer(dataclasses.replace(FAMILIES["llama"], **change), rngs=nnx.Rngs(0))
