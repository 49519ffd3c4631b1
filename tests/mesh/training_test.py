"""A job ends with the same numbers whatever mesh it runs on."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes, loss_batch, trees_test
from verifier import config as config_lib
from verifier.config import MeshConfig
from verifier.errors import ConfigError
from verifier.model import names, sharding
from verifier.model.arch import Arch
from verifier.model.heads import ReservedLogitHead, Verifier
from verifier.model.transformer import Transformer
from verifier.train import job as job_lib
from verifier.train import loop, parameters
from verifier.train.losses import value

MESHES = [MeshConfig(8, 1, 1), MeshConfig(1, 8, 1), MeshConfig(1, 1, 8), MeshConfig(2, 2, 2)]
ARCH = Arch(
    vocab_size=64,
    layers=2,
    width=32,
    heads=8,
    kv_heads=8,
    head_width=4,
    mlp_width=64,
    context=64,
    qkv_bias=True,
)
CONFIG = config_lib.VerifyConfig(
    batch_rows=16, learning_rate=1e-2, accumulate=2, dropout=0.2, checkpoint_every=2
)
LOSS = value.loss(fakes.VOCAB)


def sizes_of(config: MeshConfig) -> str:
    return f"{config.data}x{config.fsdp}x{config.tensor}"


def train(folder, mesh, die_after=None):
    """Losses and parameters of a few steps on one mesh; None: no mesh."""
    model = Verifier(Transformer(ARCH, rngs=nnx.Rngs(0)), ReservedLogitHead(fakes.VOCAB))
    to_device = job_lib.on_default_device
    if mesh is not None:
        nnx.update(model, sharding.place_parameters(nnx.state(model, nnx.Param), mesh))
        to_device = functools.partial(sharding.place_rows, mesh=mesh)
    job = loop.TrainJob(
        "verify",
        folder / "logs",
        folder / "checkpoints",
        heldout=[fakes.random_batch(99, rows=16)],
        to_device=to_device,
    )
    loop.fit(model, fakes.Stream(1, 4, rows=16, die_after=die_after), LOSS, CONFIG, job)
    lines = [json.loads(line) for line in (folder / "logs/verify.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line], nnx.state(model, nnx.Param)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(tmp_path_factory.mktemp("alone"), None)


@pytest.mark.parametrize("config", MESHES, ids=sizes_of)
def test_every_mesh_gives_the_same_losses_and_parameters(config, alone, tmp_path):
    losses_here, params = train(tmp_path, sharding.make_mesh(config))
    np.testing.assert_allclose(losses_here, alone[0], rtol=2e-5)
    here, there = names.named_leaves(params), names.named_leaves(alone[1])
    for name, leaf in here.items():
        np.testing.assert_allclose(
            np.asarray(leaf), np.asarray(there[name]), atol=2e-4, err_msg=name
        )


@pytest.mark.parametrize("config", MESHES, ids=sizes_of)
def test_no_device_holds_more_than_its_share(config):
    mesh = sharding.make_mesh(config)
    params = sharding.place_parameters(
        nnx.state(Transformer(ARCH, rngs=nnx.Rngs(0)), nnx.Param), mesh
    )
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
    held = sum(
        leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(params) if leaf.ndim > 1
    )
    assert held * config.fsdp * config.tensor == whole


def slopes(batch, mesh):
    """The gradient of a batch's loss by the parameters' names."""
    model = Verifier(Transformer(ARCH, rngs=nnx.Rngs(0)), ReservedLogitHead(fakes.VOCAB))
    graph, params, constants = nnx.split(model, nnx.Param, ...)
    if mesh is not None:
        params = sharding.place_parameters(params, mesh)
        batch = sharding.place_rows(batch, mesh)

    def loss(params, batch):
        terms = LOSS.terms(nnx.merge(graph, params, constants), batch, **loss_batch.HOW)
        return LOSS.total(terms, LOSS.divisors(batch))

    with sharding.using(mesh):
        return names.named_leaves(jax.jit(jax.grad(loss))(params, batch))


def test_on_a_mesh_a_tree_teaches_what_its_samples_do_one_by_one():
    """On the one that splits along every axis: what each alone does to a batch is tested above."""
    apart, together = trees_test.both(0, LOSS)
    alone, there = slopes(apart, None), slopes(together, sharding.make_mesh(MESHES[3]))
    for name, leaf in alone.items():
        np.testing.assert_allclose(
            np.asarray(there[name]), np.asarray(leaf), atol=1e-5, err_msg=name
        )


def test_a_job_goes_on_on_another_mesh(alone, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, sharding.make_mesh(MESHES[1]), die_after=3)
    losses_here, params = train(tmp_path, sharding.make_mesh(MESHES[3]))
    np.testing.assert_allclose(losses_here[-2:], alone[0][-2:], rtol=2e-5)
    assert parameters.tree_id(params)


def test_a_model_that_a_mesh_does_not_divide_is_refused_with_sizes():
    mesh = sharding.make_mesh(MeshConfig(1, 1, 8))
    with pytest.raises(
        ConfigError, match=r"kv_heads=3, which mesh\.tensor=8 does not divide; sizes that do: 1, 3"
    ):
        sharding.check(dataclasses.replace(ARCH, heads=24, kv_heads=3), mesh)
    with pytest.raises(
        ConfigError,
        match=(
            r"embed \(64, 30\): its width of 30 cannot be split evenly over mesh\.fsdp=8 \(8 "
            r"parts\)"
        ),
    ):
        sharding.spec(
            "embed", ("vocab", "width"), (64, 30), sharding.make_mesh(MeshConfig(1, 8, 1))
        )


def test_two_dimensions_over_one_axis_are_refused():
    with pytest.raises(
        ConfigError, match=r"square \(8, 8\): both heads and mlp would be split over mesh\.tensor=8"
    ):
        sharding.spec("square", ("heads", "mlp"), (8, 8), sharding.make_mesh(MeshConfig(1, 1, 8)))


@pytest.mark.parametrize(
    "sizes, whole", [((-1, 2, 2), (2, 2, 2)), ((2, -1, 1), (2, 4, 1)), ((-1, 1, 1), (8, 1, 1))]
)
def test_minus_one_stands_for_what_is_left(sizes, whole):
    assert tuple(sharding.make_mesh(MeshConfig(*sizes)).shape.values()) == whole


@pytest.mark.parametrize("sizes", [(2, 2, 1), (-1, 3, 1), (-1, -1, 1)])
def test_a_mesh_that_is_not_all_devices_is_refused(sizes):
    with pytest.raises(ConfigError, match=r"8 devices"):
        sharding.make_mesh(MeshConfig(*sizes))
