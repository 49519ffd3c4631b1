"""Checkpoints come back bit for bit, half ones are not seen, and wrong ones are told by name."""

from __future__ import annotations

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes
from verifier.train import checkpoint

PARAMS = {"blocks": [{"kernel": jnp.arange(6.0).reshape(2, 3)}, {"kernel": jnp.ones((3,), jnp.bfloat16)}], "step": jnp.int32(7)}
OPTIMISER = (jnp.zeros(()), {"mu": jnp.full((2,), 0.1)})


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_what_is_saved_comes_back(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(3, PARAMS, OPTIMISER, {"best": 0.25, "list": [1]})
        assert checkpoints.latest() == 3 and checkpoints.note(3) == {"best": 0.25, "list": [1]}
    with checkpoint.Checkpoints(tmp_path) as again:
        shapes = jax.eval_shape(lambda: (PARAMS, OPTIMISER))
        params, optimiser = again.restore(3, *shapes)
        assert same(params, PARAMS) and same(optimiser, OPTIMISER) and same(again.restore_params(3, PARAMS), PARAMS)


def test_newest_and_the_protected_one_stay(tmp_path):
    with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(step, PARAMS, OPTIMISER, {}, protect=2 if step >= 2 else None)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["2", "5", "6"]


def test_arrays_may_be_donated_as_soon_as_save_returns(tmp_path):
    double = jax.jit(lambda x: x * 2, donate_argnums=0)
    array = jnp.ones((256, 256))
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": array}, OPTIMISER, {})
        array = double(array)
        np.testing.assert_array_equal(checkpoints.restore_params(1, {"w": array})["w"], np.ones((256, 256)))


def test_half_a_checkpoint_is_not_seen(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, PARAMS, OPTIMISER, {})
    half = tmp_path / "2.orbax-checkpoint-tmp-1700000000"
    shutil.copytree(tmp_path / "1", half)
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1


def test_damage_is_named_with_the_way_out(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": jnp.asarray(np.random.default_rng(0).normal(size=9000))}, OPTIMISER, {})
        checkpoints.latest()
        largest = max((file for file in (tmp_path / "1/params").rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:1000])
        with pytest.raises(Exception) as caught:  # noqa: B017, PT011 - Orbax raises a bare Exception
            checkpoints.restore_params(1, {"w": jnp.zeros(9000)})
        assert f"{tmp_path / '1'} cannot be read; remove that folder" in caught.value.__notes__[0]
        shutil.rmtree(tmp_path / "1/optimiser")
        with pytest.raises(checkpoint.CheckpointError, match="no complete optimiser"):
            checkpoints.restore(1, {"w": jnp.zeros(9000)}, OPTIMISER)


def test_params_of_a_module(tmp_path):
    model = fakes.Judge(seed=1)
    state = nnx.state(model, nnx.Param)
    (tmp_path / "tokenizer.json").write_text("{}")
    checkpoint.save_params(tmp_path / "params", jax.tree.map(jnp.zeros_like, state))
    checkpoint.save_params(tmp_path / "params", state)
    assert (tmp_path / "tokenizer.json").exists()
    other = nnx.eval_shape(lambda: fakes.Judge(seed=2))
    nnx.update(other, checkpoint.load_params(tmp_path / "params", nnx.state(other, nnx.Param)))
    assert checkpoint.tree_id(nnx.state(other, nnx.Param)) == checkpoint.tree_id(state)
    half = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), state)
    assert {leaf.dtype for leaf in jax.tree.leaves(checkpoint.load_params(tmp_path / "params", half))} == {jnp.dtype(jnp.bfloat16)}


def test_what_does_not_fit_is_told_by_name(tmp_path):
    checkpoint.save_params(tmp_path / "params", {"a": jnp.ones((2, 3)), "b": {"c": jnp.ones(1)}})
    with pytest.raises(
        checkpoint.CheckpointError, match=r"3 arrays differ: a has shape \(2, 3\), wanted \(2, 4\); b/c is not wanted; d is missing"
    ):
        checkpoint.load_params(tmp_path / "params", {"a": jnp.ones((2, 4)), "d": jnp.ones(1)})
    with pytest.raises(checkpoint.CheckpointError, match="no such folder"):
        checkpoint.load_params(tmp_path / "nowhere", PARAMS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(checkpoint.CheckpointError, match="no complete checkpoint"):
        checkpoint.load_params(tmp_path / "empty", PARAMS)


def test_tree_id_sees_values_names_types_and_shapes():
    base = {"a": jnp.zeros((2, 2)), "b": jnp.ones(2)}
    others = [
        {"a": base["a"].at[1, 1].set(1e-30), "b": base["b"]},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].astype(jnp.int32), "b": base["b"]},
        {"a": base["a"].reshape(4), "b": base["b"]},
    ]
    assert len({checkpoint.tree_id(tree) for tree in [base, *others]}) == 5
    assert checkpoint.tree_id(base) == checkpoint.tree_id(jax.tree.map(np.asarray, base))
