"""A thinker learns on a mesh what it learns on one device."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.mesh.training_test import ARCH, MESHES, sizes_of
from verifier import config as config_lib
from verifier.config import MeshConfig, QuietConfig
from verifier.data.ahead import ahead_targets
from verifier.data.batches import Batch
from verifier.model import names, sampling, sharding
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer
from verifier.train import gains, step
from verifier.train.losses import quiet

VOCAB, ROWS, T = 60, 16, 6
CONFIG = config_lib.TrainConfig(
    batch_rows=ROWS, learning_rate=1e-2, accumulate=2, dropout=0.1, clip_norm=1.0
)
QUIET = QuietConfig(thought_tokens=4, ahead=2, thoughts=2, policy_weight=10.0)


def thinker(mesh, dtype=jnp.float32):
    """One whose head heeds thoughts already."""
    rngs = nnx.Rngs(0)
    arch = dataclasses.replace(ARCH, layers=1)
    made = Thinker(Transformer(arch, rngs=rngs, dtype=dtype), rngs=rngs, embedding_scale=10.0)
    for part, scale in ((made.backbone.embed, 0.5), (made.mixing.last.kernel, 0.5)):
        part[...] = scale * jax.random.normal(rngs.params(), part.shape)
    if mesh is not None:
        nnx.update(made, sharding.place_parameters(nnx.state(made, nnx.Param), mesh))
    return made


def batch(seed):
    """Rows of one text each, but for the last row, which has none."""
    tokens_BT = np.random.default_rng(seed).integers(0, VOCAB, (ROWS, T)).astype(np.int32)
    weight_T = np.array([1] * (T - 1) + [0], np.float32)
    targets = {"lm_weight": weight_T, **ahead_targets(weight_T, QUIET.ahead)}
    there_B = np.arange(ROWS) < ROWS - 1
    targets = {
        key: there_B.reshape(-1, *[1] * each.ndim) * each[None] for key, each in targets.items()
    }
    targets = {key: each.astype(np.float32) for key, each in targets.items()}
    targets["lm_target"] = np.roll(tokens_BT, -1, axis=1)
    order_BT = np.broadcast_to(np.arange(T, dtype=np.int32), (ROWS, T))
    ends_BT = np.where(there_B[:, None], T, 0) * np.ones((1, T), np.int32)
    return Batch(tokens_BT, order_BT, ends_BT.astype(np.int32), targets)


def trained(mesh):
    """Numbers of some steps and of a held-out batch, and the parameters behind them."""
    graph, params, constants = step.split_model(thinker(mesh))
    loss, numbers = quiet.loss(VOCAB, QUIET), []
    programs, rule = step.compile_steps((graph, constants), loss, CONFIG, 3, 0, "finetune")
    place = functools.partial(sharding.place_rows, mesh=mesh)
    with sharding.using(mesh):
        state = step.first_state(params, rule)
        for seed in range(3):
            state, found = programs.step(state, place(batch(seed)))
            numbers.append(jax.device_get((found["loss"], found["terms"])))
        numbers.append(jax.device_get(programs.evaluate(state.params, place(batch(9)))))
    assert programs.step._cache_size() == 1
    return numbers, names.named_leaves(state.params)


@pytest.fixture(scope="module")
def alone():
    return trained(None)


@pytest.mark.parametrize("config", MESHES[1:], ids=sizes_of)
def test_every_mesh_gives_the_same_losses_and_parameters(config, alone, monkeypatch):
    """Where thoughts are drawn at some positions of all rows at a time, too."""
    monkeypatch.setattr(sampling, "MOST_LOGITS", 5 * ROWS // CONFIG.accumulate * VOCAB)
    (numbers, params), (there, theirs) = trained(sharding.make_mesh(config)), alone
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), numbers, there
    )
    for name, leaf in params.items():
        np.testing.assert_allclose(leaf, theirs[name], atol=2e-4, err_msg=name)
    held = params["mixing/first/kernel"]
    assert held.size == config.fsdp * held.addressable_shards[0].data.size


def test_thoughts_gain_on_a_mesh_what_they_gain_alone():
    keys_B = jax.random.split(jax.random.key(0), ROWS)
    here, there = (
        gains.reader(thinker(mesh), QUIET, 2, VOCAB, mesh)(batch(0), keys_B)
        for mesh in (None, sharding.make_mesh(MeshConfig(2, 2, 2)))
    )
    np.testing.assert_array_equal(here.tokens_BTPI, there.tokens_BTPI)
    assert len(np.unique(here.tokens_BTPI)) > VOCAB / 2 and np.abs(here.gain_BTPM).max() > 0.1
    for one, other in zip(here[:-1], there[:-1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
