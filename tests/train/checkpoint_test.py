"""Checkpoints come back bit for bit, half ones are not seen, and wrong ones are told by name."""

from __future__ import annotations

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes
from verifier import errors
from verifier.train import checkpoint, parameters

PARAMS = {
    "blocks": [{"kernel": jnp.arange(6.0).reshape(2, 3)}, {"kernel": jnp.ones((3,), jnp.bfloat16)}],
    "step": jnp.int32(7),
}
OPTIMISER = (jnp.zeros(()), {"mu": jnp.full((2,), 0.1)})


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(
        x.dtype == y.dtype and np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_what_is_saved_comes_back(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(3, PARAMS, OPTIMISER, {"best": 0.25, "list": [1]})
        assert checkpoints.latest() == 3 and checkpoints.note(3) == {"best": 0.25, "list": [1]}
    with checkpoint.Checkpoints(tmp_path) as again:
        shapes = jax.eval_shape(lambda: (PARAMS, OPTIMISER))
        params, optimiser = again.restore(3, *shapes)
        assert (
            same(params, PARAMS)
            and same(optimiser, OPTIMISER)
            and same(again.restore_params(3, PARAMS), PARAMS)
        )


def test_newest_and_the_protected_one_stay(tmp_path):
    with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(step, PARAMS, OPTIMISER, {}, protect=2 if step >= 2 else None)
    assert sorted(folder.name for folder in tmp_path.iterdir() if folder.is_dir()) == [
        "2",
        "5",
        "6",
    ]


def test_the_protected_one_outlives_a_kill(tmp_path):
    killed = checkpoint.Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        killed.save(step, PARAMS, OPTIMISER, {}, protect=1)
    assert killed.latest() == 3  # and nothing is closed
    with checkpoint.Checkpoints(tmp_path, keep=2) as unused:
        assert unused.latest() == 3
    with checkpoint.Checkpoints(tmp_path, keep=2) as again:
        again.save(4, PARAMS, OPTIMISER, {}, protect=1)
        assert same(again.restore_params(1, PARAMS), PARAMS)
    assert sorted(folder.name for folder in tmp_path.iterdir() if folder.is_dir()) == [
        "1",
        "3",
        "4",
    ]
    with checkpoint.Checkpoints(tmp_path, keep=1) as told:
        told.protect(4, 3)
    assert sorted(folder.name for folder in tmp_path.iterdir() if folder.is_dir()) == ["3", "4"]
    lost = pytest.raises(
        errors.CheckpointError, match=r"has no checkpoint of step 1 \(there: 3, 4\); put it back"
    )
    with checkpoint.Checkpoints(tmp_path) as last, lost:
        last.restore_params(1, PARAMS)


def test_a_save_that_fails_costs_no_checkpoint_that_the_one_before_protects(tmp_path, monkeypatch):
    with checkpoint.Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, PARAMS, OPTIMISER, {}, protect=1)
        checkpoints.save(2, PARAMS, OPTIMISER, {}, protect=1)
        # killed before anything of it is on disk
        monkeypatch.setattr(checkpoints._manager, "save", lambda *_, **__: None)
        checkpoints.save(3, PARAMS, OPTIMISER, {}, protect=3)
    assert sorted(folder.name for folder in tmp_path.iterdir() if folder.is_dir()) == ["1", "2"]


def test_checkpoints_are_removed_whole_or_left(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "job"
    with checkpoint.Checkpoints(folder) as checkpoints:
        checkpoints.save(1, PARAMS, OPTIMISER, {})
    (folder / "2.orbax-checkpoint-tmp-17").mkdir()
    (folder / "thesis.tex").write_text("mine")
    checkpoint.remove_checkpoints(folder)
    assert (folder / "1/params").is_dir() and "thesis.tex in it is no checkpoint" in "".join(
        capsys.readouterr()
    )
    (folder / "thesis.tex").unlink()

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        checkpoint.remove_checkpoints(folder)
    assert not folder.exists() and len(list(tmp_path.iterdir())) == 1
    for _ in range(2):  # the second time there is nothing
        checkpoint.remove_checkpoints(folder)
        assert list(tmp_path.iterdir()) == []
    far, link = tmp_path / "far", tmp_path / "link"
    with checkpoint.Checkpoints(far) as checkpoints:
        checkpoints.save(1, PARAMS, OPTIMISER, {})
    link.symlink_to(far)
    checkpoint.remove_checkpoints(link)
    assert list(tmp_path.iterdir()) == []


def test_arrays_may_be_donated_as_soon_as_save_returns(tmp_path):
    double = jax.jit(lambda x: x * 2, donate_argnums=0)
    array = jnp.ones((256, 256))
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": array}, OPTIMISER, {})
        array = double(array)
        np.testing.assert_array_equal(
            checkpoints.restore_params(1, {"w": array})["w"], np.ones((256, 256))
        )


def test_half_a_checkpoint_is_not_seen(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, PARAMS, OPTIMISER, {})
    half = tmp_path / "2.orbax-checkpoint-tmp-1700000000"
    shutil.copytree(tmp_path / "1", half)
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1


def test_a_changed_byte_is_named_and_the_checkpoint_not_used(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, PARAMS, OPTIMISER, {"step": step})
    files = sorted(
        path for path in (tmp_path / "2").rglob("*") if path.is_file() and path.stat().st_size
    )
    for path in (*files, tmp_path / "2.sums.json"):
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        with checkpoint.Checkpoints(tmp_path) as checkpoints:
            assert checkpoints.latest() == 2
            for read in (
                lambda: checkpoints.restore(2, PARAMS, OPTIMISER),
                lambda: checkpoints.note(2),
            ):
                with pytest.raises(
                    errors.Damaged,
                    match=(
                        rf"{path} .*has changed since .*remove {tmp_path / '2'} .*earlier "
                        r"checkpoint"
                    ),
                ):
                    read()
            assert checkpoints.note(1) == {"step": 1}
        path.write_bytes(whole)
    path = files[0]
    path.unlink()
    with (
        checkpoint.Checkpoints(tmp_path) as checkpoints,
        pytest.raises(errors.Damaged, match=f"{path} is missing"),
    ):
        checkpoints.note(2)
    shutil.rmtree(tmp_path / "2")
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1


def test_a_checkpoint_without_sums_was_not_finished(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, PARAMS, OPTIMISER, {"step": step})
    (tmp_path / "2.sums.json").unlink()
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 1
        checkpoints.save(2, PARAMS, OPTIMISER, {"step": 2})
    assert (tmp_path / "2.sums.json").exists()


@pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt", "_sharding"])
def test_every_damaged_file_is_one_line_of_advice(tmp_path, name):
    parameters.save_params(tmp_path / "params", PARAMS)
    (tmp_path / "params" / name).write_text('{"x')
    with pytest.raises(
        errors.CheckpointError,
        match=r"params (cannot be read \(.+\)|is no complete checkpoint); remove it and run",
    ):
        parameters.load_params(tmp_path / "params", PARAMS)


def test_truncated_parameters_are_told(tmp_path):
    parameters.save_params(
        tmp_path / "params", {"w": jnp.asarray(np.random.default_rng(0).normal(size=9000))}
    )
    largest = max(
        (file for file in (tmp_path / "params").rglob("*") if file.is_file()),
        key=lambda file: file.stat().st_size,
    )
    largest.write_bytes(largest.read_bytes()[:1000])
    with pytest.raises(
        errors.CheckpointError,
        match=r"params cannot be read \(.+\); remove it and run its stage again",
    ):
        parameters.load_params(tmp_path / "params", {"w": jnp.zeros(9000)})


def test_a_lack_of_memory_is_no_fault_of_the_checkpoint(tmp_path, monkeypatch):
    def full(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")

    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, PARAMS, OPTIMISER, {})
        checkpoints.latest()
        monkeypatch.setattr(checkpoints._manager, "restore", full)
        with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
            checkpoints.restore(1, PARAMS, OPTIMISER)


def test_params_of_a_module(tmp_path):
    model = fakes.Judge(seed=1)
    state = nnx.state(model, nnx.Param)
    (tmp_path / "tokenizer.json").write_text("{}")
    parameters.save_params(tmp_path / "params", jax.tree.map(jnp.zeros_like, state))
    parameters.save_params(tmp_path / "params", state)
    assert (tmp_path / "tokenizer.json").exists()
    other = nnx.eval_shape(lambda: fakes.Judge(seed=2))
    nnx.update(other, parameters.load_params(tmp_path / "params", nnx.state(other, nnx.Param)))
    assert parameters.tree_id(nnx.state(other, nnx.Param)) == parameters.tree_id(state)
    half = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), state)
    assert {
        leaf.dtype for leaf in jax.tree.leaves(parameters.load_params(tmp_path / "params", half))
    } == {jnp.dtype(jnp.bfloat16)}


def test_what_does_not_fit_is_told_by_name(tmp_path):
    parameters.save_params(tmp_path / "params", {"a": jnp.ones((2, 3)), "b": {"c": jnp.ones(1)}})
    with pytest.raises(
        errors.CheckpointError,
        match=(
            r"3 arrays differ: a has shape \(2, 3\), wanted \(2, 4\); b/c is not wanted; d is "
            r"missing"
        ),
    ):
        parameters.load_params(tmp_path / "params", {"a": jnp.ones((2, 4)), "d": jnp.ones(1)})
    with pytest.raises(errors.CheckpointError, match="no such folder"):
        parameters.load_params(tmp_path / "nowhere", PARAMS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.CheckpointError, match="no complete checkpoint"):
        parameters.load_params(tmp_path / "empty", PARAMS)


def test_tree_id_sees_values_names_types_and_shapes():
    base = {"a": jnp.zeros((2, 2)), "b": jnp.ones(2)}
    others = [
        {"a": base["a"].at[1, 1].set(1e-30), "b": base["b"]},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].astype(jnp.int32), "b": base["b"]},
        {"a": base["a"].reshape(4), "b": base["b"]},
    ]
    assert len({parameters.tree_id(tree) for tree in [base, *others]}) == 5
    assert parameters.tree_id(base) == parameters.tree_id(jax.tree.map(np.asarray, base))
