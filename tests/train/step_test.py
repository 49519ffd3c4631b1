"""One step: micro-batches, dropout keys, the program's single compilation."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from tests import operands
from tests.train import fakes
from verifier import config as config_lib
from verifier.model import keys
from verifier.model.arch import Arch
from verifier.model.transformer import Transformer
from verifier.train import step
from verifier.train.losses import lm, value
from verifier.train.losses.contract import Term

LOSS = value.loss(fakes.VOCAB)
VALUE_LOSS = value.loss(fakes.VOCAB, lm_weight=0.0)
CONFIG = config_lib.VerifyConfig(batch_rows=4, learning_rate=1e-2, warmup_share=0.2)


def compiled(config, loss=LOSS, put=lambda params: params, seed=0, job="verify", made=fakes.Judge):
    """The programs of a small job, and how to make its first state."""
    graph, _, constants = step.split_model(made())
    programs, optimizer = step.compile_steps((graph, constants), loss, config, 3, seed, job)

    def start():
        _, params, _ = step.split_model(made())
        return step.first_state(put(params), optimizer)

    return programs, start


def test_dropout_differs_by_step_and_micro_batch_and_not_by_run():
    """One row for ever and rate 0: dropout alone can make two steps or micro-batches differ."""
    programs, start = compiled(
        dataclasses.replace(CONFIG, dropout=0.5, learning_rate=0.0, accumulate=2), VALUE_LOSS
    )
    batch = jax.tree.map(lambda array: np.repeat(array, 2, axis=0), fakes.random_batch(0, rows=1))
    losses = []
    for _ in range(2):
        state, run = start(), []
        for _ in range(3):
            state, numbers = programs.step(state, batch)
            run.append(float(numbers["loss"]))
        losses.append(run)
    assert losses[0] == losses[1] and len(set(losses[0])) == 3
    key = jax.random.fold_in(keys.key_of(0, "verify"), 0)
    row = jax.tree.map(lambda array: array[:1], batch)
    terms_of = jax.jit(
        lambda m: VALUE_LOSS.terms(
            fakes.Judge(),
            row,
            dropout=0.5,
            dropout_key=jax.random.fold_in(key, m),
            remat=False,
        )
    )
    each = [terms_of(m) for m in (0, 1)]
    sums = [float(terms["value"].sum) for terms in each]
    assert sums[0] != sums[1]
    by = VALUE_LOSS.divisors(batch)
    np.testing.assert_allclose(
        losses[0][0], sum(float(VALUE_LOSS.total(terms, by)) for terms in each), rtol=1e-5
    )


def dropping(model, batch, *, dropout, dropout_key, remat):
    """A table's squared error over what dropout leaves of it."""
    kept = jax.random.bernoulli(dropout_key, 1 - dropout, batch.tokens_BT.shape)
    weight = batch.targets["value_weight"] * kept
    error = (model.value[...][batch.tokens_BT] - 1) ** 2
    return {"value": Term((weight * error).sum(), weight.sum())}


def test_dropout_differs_by_job_and_by_all_bits_of_the_seed():
    config, batch = dataclasses.replace(CONFIG, dropout=0.5), fakes.random_batch(0)
    losses = []
    for seed, job in (
        (0, "verify"),
        (0, "finetune"),
        (0, "pretrain"),
        (2**32, "verify"),
        (2**62, "verify"),
        (0, "verify"),
    ):
        programs, start = compiled(
            config, fakes.made_loss(dropping), seed=seed, job=job, made=fakes.Table
        )
        losses.append(float(programs.step(start(), batch)[1]["loss"]))
    assert losses[0] == losses[-1] and len(set(losses)) == 5


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_that_rows_are_missing_from_weighs_by_those_it_has(accumulate):
    programs, start = compiled(
        dataclasses.replace(CONFIG, accumulate=accumulate), fakes.TABLE_LOSS, made=fakes.Table
    )
    half = fakes.random_batch(0, rows=2)
    full = jax.tree.map(lambda array: np.concatenate([array, array]), half)
    partial = jax.tree.map(lambda array: np.concatenate([array, np.zeros_like(array)]), half)
    (_, whole), (_, part) = programs.step(start(), full), programs.step(start(), partial)
    np.testing.assert_allclose(float(part["loss"]), float(whole["loss"]), rtol=1e-6)
    np.testing.assert_allclose(
        float(part["gradient_norm"]), float(whole["gradient_norm"]) / 2, rtol=1e-6
    )


def test_accumulation_equals_one_batch_and_compiles_once():
    ended = []
    mesh = jax.sharding.NamedSharding(
        jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)),
        jax.sharding.PartitionSpec(),
    )
    for accumulate, put in [
        (1, lambda params: params),
        (2, lambda params: jax.device_put(params, mesh)),
    ]:
        programs, start = compiled(
            dataclasses.replace(CONFIG, accumulate=accumulate, clip_norm=0.1), put=put
        )
        state = start()
        # Rows with very different weights: averaging micro-batches in place of summing them would
        # show.
        batch = fakes.random_batch(3)
        weight = batch.targets["value_weight"] * np.asarray([[1], [0], [8], [0.1]], np.float32)
        batch = fakes.with_targets(batch, value_weight=weight)
        state, first = programs.step(state, batch)
        first_norm = float(first["gradient_norm"])
        for _ in range(2):
            state, numbers = programs.step(state, batch)
        assert programs.step._cache_size() == 1  # steps 2 and 3 reuse the program of step 1
        ended.append((state.params, float(numbers["loss"]), float(numbers["gradient_norm"])))
    np.testing.assert_allclose(ended[0][1:], ended[1][1:], rtol=1e-5)
    graph, params, _ = step.split_model(fakes.Judge())

    def whole(params):
        terms = LOSS.terms(
            nnx.merge(graph, params), batch, dropout=0.0, dropout_key=None, remat=False
        )
        return LOSS.total(terms, LOSS.divisors(batch))

    plain = jax.jit(jax.grad(whole))(params)
    np.testing.assert_allclose(first_norm, optax.global_norm(plain), rtol=1e-5)
    for a, b in zip(jax.tree.leaves(ended[0][0]), jax.tree.leaves(ended[1][0]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


ARCH = Arch(
    fakes.VOCAB + 1, layers=2, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=64, context=16
)


def one_step(dtype: str, remat: bool = False):
    """State and numbers after a step of a real, tiny decoder."""
    graph, params, constants = step.split_model(Transformer(ARCH, rngs=nnx.Rngs(0), dtype=dtype))
    config = config_lib.TrainConfig(batch_rows=4, learning_rate=1e-2, dropout=0.3, remat=remat)
    loss = lm.loss(fakes.VOCAB)
    programs, optimizer = step.compile_steps((graph, constants), loss, config, 3, 0, "verify")
    return programs.step(step.first_state(params, optimizer), fakes.random_batch(3))


def test_bfloat16_computes_near_float32_and_keeps_its_masters():
    (wide, wide_numbers), (narrow, numbers) = one_step("float32"), one_step("bfloat16")
    for leaf in jax.tree.leaves((narrow.params, narrow.optimiser)):
        assert leaf.dtype in (np.float32, np.int32)
    for name in ("loss", "gradient_norm", "update_norm"):
        assert numbers[name].dtype == np.float32
    assert numbers["loss"] != wide_numbers["loss"]  # it did compute in bfloat16
    np.testing.assert_allclose(numbers["loss"], wide_numbers["loss"], rtol=5e-3)
    np.testing.assert_allclose(numbers["gradient_norm"], wide_numbers["gradient_norm"], rtol=3e-2)
    moved = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.params)])
        for state in (narrow, wide)
    ]
    start = np.concatenate(
        [
            np.ravel(leaf)
            for leaf in jax.tree.leaves(nnx.state(Transformer(ARCH, rngs=nnx.Rngs(0)), nnx.Param))
        ]
    )
    one, other = (each - start for each in moved)
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.95


@pytest.mark.parametrize("remat", [False, True])
def test_all_products_of_a_step_are_of_narrow_numbers_summed_in_float32(remat):
    graph, params, _ = step.split_model(Transformer(ARCH, rngs=nnx.Rngs(0), dtype="bfloat16"))
    config = config_lib.TrainConfig(remat=remat)
    objective = step._Objective(graph, {}, lm.loss(fakes.VOCAB), config)
    batch = fakes.random_batch(3)
    gradient = functools.partial(objective.gradient, dropout=0.0)
    found = operands.of_products(gradient, params, batch, jax.random.key(0))
    assert found == {("bfloat16", "bfloat16", "float32")}


def test_remat_changes_no_step():
    (kept, numbers), (again, again_numbers) = one_step("float32"), one_step("float32", remat=True)
    for name in ("loss", "gradient_norm", "update_norm"):
        np.testing.assert_allclose(numbers[name], again_numbers[name], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(kept.optimiser), jax.tree.leaves(again.optimiser), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
