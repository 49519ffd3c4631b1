"""Adapters: what they compute, that nothing else is trained, and what they learn at full rank."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes
from verifier import config as config_lib
from verifier.config import ModelConfig
from verifier.errors import ConfigError
from verifier.model import lora, names
from verifier.model.arch import scratch_arch
from verifier.model.heads import LinearHead, Verifier
from verifier.model.transformer import Transformer
from verifier.train import loop, step
from verifier.train.losses import lm, value

SIZES = ModelConfig(
    layers=1, width=8, heads=2, kv_heads=2, mlp_width=8, context=16, lora_rank=2, lora_alpha=4.0
)
BATCH = fakes.random_batch(0)
TEXT = BATCH[:3]  # tokens, positions, ends


def made(rank=2, **fields):
    """A small decoder, with adapters where rank is above 0."""
    model = Transformer(scratch_arch(SIZES, fakes.VOCAB + 1), rngs=nnx.Rngs(0))
    sizes = dataclasses.replace(SIZES, lora_rank=rank, **fields)
    lora.attach(model, sizes, jax.random.key(1))
    return model


def leaves(model):
    return names.named_leaves(nnx.state(model, nnx.Param))


def logits(model):
    return np.asarray(model.logits(model.hidden(*TEXT)))


def moved(model):
    """With other numbers in B, as training would leave there."""
    for name, linear in lora._linears(model, lora.MATRICES["all"]).items():
        if linear.lora_scale:
            shape = linear.lora_b[...].shape
            linear.lora_b[...] = jax.random.normal(jax.random.key(len(name)), shape)
    return model


def test_it_begins_as_its_base_and_merged_is_what_it_was_beside_it():
    base, model = made(0), made()
    before = logits(base)
    assert np.array_equal(logits(model), before)
    moved(model)
    beside, whole = logits(model), model
    lora.merge(whole)
    assert leaves(whole).keys() == leaves(base).keys()
    assert np.abs(beside - before).max() > 0.1
    np.testing.assert_allclose(logits(whole), beside, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_b_is_that_of_the_kernel_seen_through_a():
    """Of W + scale A B: dL/dB = scale A^T dL/dW, so at full rank any direction of W is reached."""
    loss = lm.loss(fakes.VOCAB)

    def gradient(model):
        graph, params, constants = step.split_model(model)

        def total(params):
            how = {"dropout": 0.0, "dropout_key": None, "remat": False}
            terms = loss.terms(nnx.merge(graph, params, constants), BATCH, **how)
            return loss.total(terms, loss.divisors(BATCH))

        return names.named_leaves(jax.jit(jax.grad(total))(params))

    model = made()
    of_base, of_adapted, params = gradient(made(0)), gradient(model), leaves(model)
    adapted = [name for name in params if name.endswith("lora_a")]
    assert len(adapted) == 7
    for name in adapted:
        end = name.removesuffix("lora_a")
        wanted = 2.0 * params[name].T @ of_base[f"{end}kernel"]
        np.testing.assert_allclose(of_adapted[f"{end}lora_b"], wanted, rtol=1e-3, atol=1e-6)
        assert not np.any(of_adapted[name])  # B is zero


def test_at_full_rank_it_is_training_the_kernels_themselves():
    """With A held at the identity and scale 1, W + B takes the same steps as W alone would.

    Whatever else either side trains is put back after every step.
    """
    config = config_lib.TrainConfig(learning_rate=1e-2, warmup_share=0.1, clip_norm=0)
    width, steps = SIZES.width, 12
    of_base, of_adapted = made(0), made(width, lora_alpha=float(width))
    for linear in lora._linears(of_adapted, lora.MATRICES["all"]).values():
        linear.lora_a[...] = jnp.eye(width)
    before = jax.tree.map(np.array, leaves(of_base))
    losses, ended = [], []
    for model, moving in ((of_base, "kernel"), (of_adapted, "lora_b")):
        graph, params, constants = step.split_model(model)
        loss = lm.loss(fakes.VOCAB)
        programs, rule = step.compile_steps((graph, constants), loss, config, steps, 0, "finetune")
        state = step.first_state(params, rule)
        held = jax.tree.map(np.array, params)  # copies: the state is donated
        own = []
        for _ in range(steps):
            state, numbers = programs.step(state, BATCH)
            own.append(float(numbers["loss"]))
            kept = jax.tree_util.tree_map_with_path(
                functools.partial(_moving, moving), state.params, held
            )
            state = state._replace(params=kept)
        losses.append(own)
        ended.append(names.named_leaves(state.params))
    assert losses[0][0] - losses[0][-1] > 0.05  # far more than the two may differ by
    np.testing.assert_allclose(*losses, rtol=1e-3)
    for name, kernel in before.items():
        if not name.endswith("kernel"):
            continue
        learned = ended[0][name] - kernel
        apart = ended[1][name.replace("kernel", "lora_b")] - learned
        assert np.abs(apart).mean() < 0.02 * np.abs(learned).mean(), name


def _moving(end, path, new, held):
    return new if names.path_name(path).endswith(end) else jnp.asarray(held)


def test_only_adapters_and_head_are_trained_kept_and_resumed(tmp_path):
    config = config_lib.VerifyConfig(
        batch_rows=4, learning_rate=1e-2, dropout=0.1, remat=True, checkpoint_every=2
    )

    def judge():
        return Verifier(made(), LinearHead(SIZES.width))

    def fit(model, folder, **dies):
        job = loop.TrainJob("verify", folder / "logs", folder / "checkpoints")
        loop.fit(model, fakes.Stream(1, 5, **dies), value.loss(fakes.VOCAB), config, job)
        return leaves(model)

    with pytest.raises(KeyboardInterrupt):
        fit(judge(), tmp_path / "parts", die_after=3)
    ended, before = fit(judge(), tmp_path / "parts"), leaves(judge())
    whole = fit(judge(), tmp_path / "whole")
    changed = {name for name in ended if not np.array_equal(ended[name], before[name])}
    own = {name for name in ended if "lora_" in name or name.startswith("head/")}
    assert changed == own and own < ended.keys()
    assert all(np.array_equal(ended[name], whole[name]) for name in ended)
    state = nnx.state(judge(), nnx.Param)
    assert names.named_leaves(lora.trained(state)).keys() == own
    rule = step.compile_steps(
        step.split_model(judge())[::2], value.loss(fakes.VOCAB), config, 5, 0, "verify"
    )[1]
    moments = step.first_state(state, rule).optimiser
    of_own = sum(ended[name].size for name in own)
    assert 2 * of_own <= sum(jnp.size(leaf) for leaf in jax.tree.leaves(moments)) <= 2 * of_own + 8


@pytest.mark.parametrize("fields", [{"rank": 9}, {"rank": 9, "lora_matrices": "attention"}])
def test_a_rank_above_the_sides_of_a_matrix_is_refused(fields):
    with pytest.raises(ConfigError, match=r"model\.lora_rank=9: the matrix .* at most"):
        made(**fields)


def test_attention_alone_can_be_adapted():
    params = leaves(made(lora_matrices="attention"))
    assert {name.split("/")[-2] for name in params if "lora_" in name} == set(lora.ATTENTION)
