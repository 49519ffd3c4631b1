"""The rate step by step, what decays, and the head's own rate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from verifier import config as config_lib
from verifier.model import names
from verifier.train import optimizer


class Model(nnx.Module):
    """One of each kind of parameter."""

    def __init__(self):
        self.blocks = nnx.List([nnx.Linear(2, 2, rngs=nnx.Rngs(0))])
        self.norm = nnx.Param(jnp.ones(2))
        self.head = nnx.Linear(2, 1, rngs=nnx.Rngs(1))


PARAMS = nnx.state(Model(), nnx.Param)


def test_schedule_rises_and_falls():
    rate = optimizer.make_schedule(config_lib.TrainConfig(learning_rate=2.0, warmup_share=0.4), 10)
    np.testing.assert_allclose(
        [rate(step) for step in range(11)],
        [0.5, 1, 1.5, 2, 2, 5 / 3, 4 / 3, 1, 2 / 3, 1 / 3, 0],
        rtol=1e-6,
    )


@pytest.mark.parametrize(("share", "expected"), [(0.0, [3, 2, 1, 0]), (1.0, [1, 2, 3])])
def test_schedule_at_the_ends_of_warmup_share(share, expected):
    rate = optimizer.make_schedule(config_lib.TrainConfig(learning_rate=3.0, warmup_share=share), 3)
    np.testing.assert_allclose([rate(step) for step in range(len(expected))], expected, rtol=1e-6)


def test_matrices_decay_and_nothing_else():
    assert names.named_leaves(optimizer.decays(PARAMS)) == {
        "blocks/0/bias": False,
        "blocks/0/kernel": True,
        "head/bias": False,
        "head/kernel": False,
        "norm": False,
    }


def updated(config, gradient, params=PARAMS):
    chain = optimizer.make_optimizer(config, 100)
    grads = jax.tree.map(lambda leaf: jnp.full_like(leaf, gradient), params)
    return names.named_leaves(jax.jit(lambda: chain.update(grads, chain.init(params), params)[0])())


def test_decay_is_decoupled_from_the_gradient():
    config = config_lib.TrainConfig(learning_rate=0.1, warmup_share=0.0, weight_decay=0.5)
    for name, update in updated(config, 0.0).items():
        expected = -0.1 * 0.5 * names.named_leaves(PARAMS)[name] if name == "blocks/0/kernel" else 0
        np.testing.assert_allclose(update, expected * np.ones_like(update), rtol=1e-6)


def test_head_has_its_own_peak():
    config = config_lib.VerifyConfig(learning_rate=0.1, warmup_share=0.0, head_learning_rate=0.7)
    for name, update in updated(config, 1e-2).items():
        np.testing.assert_allclose(update, -0.7 if name.startswith("head/") else -0.1, rtol=1e-4)
    same = config_lib.VerifyConfig(learning_rate=0.1, warmup_share=0.0)
    assert all(np.allclose(update, -0.1, rtol=1e-4) for update in updated(same, 1e-2).values())


def test_two_steps_are_adam_by_hand():
    config = config_lib.TrainConfig(learning_rate=0.1, warmup_share=0.0, clip_norm=1.0)
    chain = optimizer.make_optimizer(config, 4)
    params = {"w": jnp.zeros((1, 1))}
    state, m, v, w = chain.init(params), 0.0, 0.0, 0.0
    update = jax.jit(chain.update)
    for step, raw in enumerate([5.0, -0.5]):
        updates, state = update({"w": jnp.full((1, 1), raw)}, state, params)
        params = optax.apply_updates(params, updates)
        g = max(min(raw, 1.0), -1.0)  # the norm of one number is its size
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
        w -= (
            0.1
            * (1 - step / 4)
            * (m / (1 - 0.9 ** (step + 1)))
            / (np.sqrt(v / (1 - 0.95 ** (step + 1))) + 1e-8)
        )
    np.testing.assert_allclose(params["w"], w, rtol=1e-5)
