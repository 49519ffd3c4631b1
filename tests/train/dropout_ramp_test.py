"""A dropout that rises: its rate by step, one program for all rates, and none where there is no
ramp.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes
from verifier import config as config_lib
from verifier.config import ModelConfig
from verifier.model.arch import scratch_arch
from verifier.model.transformer import Transformer
from verifier.train import optimizer, step
from verifier.train.losses import lm, value

CONFIG = config_lib.TrainConfig(batch_rows=4, dropout=0.2, dropout_ramp=0.5)


def compiled(config, steps=8):
    graph, params, constants = step.split_model(fakes.Judge())
    loss = value.loss(fakes.VOCAB)
    programs, rule = step.compile_steps((graph, constants), loss, config, steps, 0, "verify")
    return programs, step.first_state(params, rule)


def test_the_rate_rises_linearly_over_its_share_of_the_steps_and_stays():
    rate = optimizer.make_dropout(CONFIG, 8)
    rates = [float(rate(jnp.int32(count))) for count in range(8)]
    np.testing.assert_allclose(rates, [0.05, 0.1, 0.15, 0.2, 0.2, 0.2, 0.2, 0.2], rtol=1e-6)


@pytest.mark.parametrize("fields", [{"dropout": 0.0}, {"dropout_ramp": 0.1}])
def test_without_a_ramp_the_rate_is_a_constant_of_the_program(fields):
    config = dataclasses.replace(CONFIG, **fields)
    assert optimizer.make_dropout(config, 8)(jnp.int32(0)) is config.dropout
    texts = []
    for each in (config, dataclasses.replace(config, dropout_ramp=0.0)):  # the very same program
        programs, state = compiled(each)
        texts.append(programs.step.lower(state, fakes.random_batch(0)).as_text())
    assert texts[0] == texts[1]


def test_steps_of_all_rates_share_a_program_and_say_their_rate():
    programs, state = compiled(CONFIG)
    rates = []
    for number in range(5):
        state, numbers = programs.step(state, fakes.random_batch(number))
        rates.append(float(numbers["dropout"]))
    np.testing.assert_allclose(rates, [0.05, 0.1, 0.15, 0.2, 0.2], rtol=1e-6)
    assert programs.step._cache_size() == 1
    programs, state = compiled(dataclasses.replace(CONFIG, dropout_ramp=0.0))
    assert "dropout" not in programs.step(state, fakes.random_batch(0))[1]


@pytest.mark.parametrize("remat", [False, True])
def test_a_traced_rate_drops_what_the_same_static_one_drops(remat):
    sizes = ModelConfig(layers=2, width=16, heads=2, kv_heads=1, mlp_width=24, context=16)
    model = Transformer(scratch_arch(sizes, fakes.VOCAB + 1), rngs=nnx.Rngs(0))
    graph, params, constants = step.split_model(model)
    batch, loss = fakes.random_batch(0), lm.loss(fakes.VOCAB)

    def total(params, rate):
        how = {"dropout": rate, "dropout_key": jax.random.key(1), "remat": remat}
        terms = loss.terms(nnx.merge(graph, params, constants), batch, **how)
        return loss.total(terms, loss.divisors(batch))

    static = jax.jit(jax.value_and_grad(lambda params: total(params, 0.25)))(params)
    traced = jax.jit(jax.value_and_grad(total))
    rising = [traced(params, jnp.float32(rate)) for rate in (0.25, 0.5)]
    for one, other in zip(jax.tree.leaves(static), jax.tree.leaves(rising[0]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert abs(float(rising[1][0]) - float(static[0])) > 1e-3
