"""Adapters on a mesh: they learn as on one device, and are divided like their kernels."""

import functools

import jax
import numpy as np
from flax import nnx

from tests.mesh.training_test import ARCH
from tests.train import fakes
from verifier import config as config_lib
from verifier.config import MeshConfig, ModelConfig
from verifier.model import lora, names, sharding
from verifier.model.transformer import Transformer
from verifier.train import step
from verifier.train.losses import lm

CONFIG = config_lib.TrainConfig(batch_rows=16, learning_rate=1e-2, accumulate=2)
ADAPTED = ModelConfig(lora_rank=2)


def trained(mesh):
    """Losses of three steps, and the parameters behind them."""
    model = Transformer(ARCH, rngs=nnx.Rngs(0))
    if mesh is not None:
        nnx.update(model, sharding.place_parameters(nnx.state(model, nnx.Param), mesh))
    lora.attach(model, ADAPTED, jax.random.key(0))
    graph, params, constants = step.split_model(model)
    loss, losses = lm.loss(fakes.VOCAB), []
    programs, rule = step.compile_steps((graph, constants), loss, CONFIG, 3, 0, "finetune")
    place = functools.partial(sharding.place_rows, mesh=mesh)
    with sharding.using(mesh):
        state = step.first_state(params, rule)
        for seed in range(3):
            state, numbers = programs.step(state, place(fakes.random_batch(seed, rows=16)))
            losses.append(float(numbers["loss"]))
    assert programs.step._cache_size() == 1
    return losses, names.named_leaves(state.params)


def test_adapters_learn_the_same_on_a_mesh_and_are_divided_like_their_kernels():
    mesh = sharding.make_mesh(MeshConfig(2, 2, 2))
    (losses, params), (alone, theirs) = trained(mesh), trained(None)
    np.testing.assert_allclose(losses, alone, rtol=2e-5)
    for name, leaf in params.items():
        np.testing.assert_allclose(leaf, theirs[name], atol=2e-4, err_msg=name)
    shares = {
        name.split("/", 2)[-1]: leaf.size // leaf.addressable_shards[0].data.size
        for name, leaf in params.items()
        if "lora_" in name
    }
    assert set(shares.values()) == {2}, shares
