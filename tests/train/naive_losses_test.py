"""The losses of text and of values against hand-written numpy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes
from tests.train.loss_batch import BATCH, HOW, compiled, hidden_of
from verifier.train.losses import cross_entropy, lm, value


def naive_lm(model, batch):
    """Sum of weight * -log p(next token), one position after the other, over the ids of text."""
    logits = np.asarray(model.logits(hidden_of(model, batch)), np.float64)[..., : fakes.VOCAB]
    weight_BT, loss = batch.targets["lm_weight"], 0.0
    for b, t in np.argwhere(weight_BT > 0):
        row = logits[b, t]
        loss -= weight_BT[b, t] * (
            row[batch.targets["lm_target"][b, t]] - np.log(np.exp(row).sum())
        )
    return loss


# in one piece, and one position of the 4 rows at a time
@pytest.mark.parametrize("chunk_logits", [2**24, 200])
def test_lm_is_the_naive_sum(monkeypatch, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    model, weight_BT = fakes.Decoder(), BATCH.targets["lm_weight"]
    terms = compiled(lm.loss(fakes.VOCAB), model)(BATCH)
    np.testing.assert_allclose(terms["lm"].sum, naive_lm(model, BATCH), rtol=1e-5)
    np.testing.assert_allclose(terms["lm"].weight, weight_BT.sum(), rtol=1e-6)
    assert terms["lm_share"].sum == (weight_BT > 0).sum() and terms["lm_share"].weight == 40


def lm_sum(graphdef, vocab_size=fakes.VOCAB):
    """Parameters -> the sum of the language-model loss."""
    loss = lm.loss(vocab_size)
    return lambda params: loss.terms(nnx.merge(graphdef, params), BATCH, **HOW)["lm"].sum


def test_chunks_change_no_gradient(monkeypatch):
    graphdef, params = nnx.split(fakes.Decoder())
    whole = jax.jit(jax.grad(lm_sum(graphdef)))(params)
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", 200)
    chunked = jax.jit(jax.grad(lm_sum(graphdef)))(params)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(chunked), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_chunks_of_masked_positions_are_skipped(monkeypatch):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", 1)  # chunks of one position of every row
    ran, plain = [], cross_entropy.matmul_nt

    def counted(hidden, output):
        jax.debug.callback(lambda: ran.append(1))
        return plain(hidden, output)

    monkeypatch.setattr(cross_entropy, "matmul_nt", counted)
    graphdef, params = nnx.split(fakes.Decoder())
    loss = lm_sum(graphdef)
    for run in (loss, jax.grad(loss)):  # the gradient computes no logits a second time
        ran.clear()
        jax.block_until_ready(run(params))
        jax.effects_barrier()
        assert len(ran) == (BATCH.targets["lm_weight"] > 0).sum(axis=1).max() == 2


def test_reserved_id_is_outside_the_softmax():
    model = fakes.Decoder()
    graphdef, before = nnx.split(model)
    model.embed[...] = model.embed[...].at[fakes.VOCAB].set(50.0)
    _, after = nnx.split(model)
    assert lm_sum(graphdef)(before) == lm_sum(graphdef)(after)
    assert lm_sum(graphdef)(before) != lm_sum(graphdef, fakes.VOCAB + 1)(after)


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_value_loss_is_the_naive_sum(kind):
    model, loss = fakes.Judge(), value.loss(fakes.VOCAB, kind, 0.5)
    terms = compiled(loss, model)(BATCH)
    values = np.asarray(model.values(hidden_of(model, BATCH)), np.float64)
    weight, target = BATCH.targets["value_weight"], BATCH.targets["value_target"]
    chance = 1 / (1 + np.exp(-values))
    each = {
        "mse": (values - target) ** 2,
        "bce": -(target * np.log(chance) + (1 - target) * np.log(1 - chance)),
    }[kind]
    np.testing.assert_allclose(terms["value"].sum, (weight * each).sum(), rtol=1e-5)
    guess = {"mse": values, "bce": chance}[kind]
    right = ((guess > 0.5) == (target > 0.5)) * weight
    np.testing.assert_allclose(terms["value_accuracy"].sum, right.sum(), rtol=1e-5)
    expected = (
        terms["value"].sum / weight.sum()
        + 0.5 * naive_lm(model.backbone, BATCH) / BATCH.targets["lm_weight"].sum()
    )
    np.testing.assert_allclose(loss.total(terms, loss.divisors(BATCH)), expected, rtol=1e-5)


def test_unknown_value_loss_is_named():
    with pytest.raises(ValueError, match="'hinge'.*mse, bce"):
        value.loss(fakes.VOCAB, "hinge")


def test_solution_level_reads_the_last_token_alone():
    last = (BATCH.ends_BT == 10) & (BATCH.positions_BT == 4)
    batch = fakes.with_targets(BATCH, value_weight=last.astype(np.float32))
    judge = fakes.Judge()
    values = np.asarray(judge.values(hidden_of(judge, batch)))[last]
    term = compiled(value.loss(fakes.VOCAB), judge)(batch)["value"]
    error = (values - batch.targets["value_target"][last]) ** 2
    np.testing.assert_allclose(term.sum / term.weight, error.mean(), rtol=1e-6)
    assert term.weight == 4


def test_a_masked_target_may_be_any_id():
    hidden, output = (
        np.random.default_rng(0).normal(size=(2, 1, 3, 4)).astype(np.float32)[0],
        np.eye(6, 4, dtype=np.float32),
    )
    weight = jnp.asarray([[1.0, 1.0, 0.0]])
    both = jax.jit(jax.value_and_grad(cross_entropy.cross_entropy, (0, 1)), static_argnums=4)
    first, slopes = both(hidden, output, jnp.asarray([[1, 2, 5]]), weight, 5)
    other, _ = both(hidden, output, jnp.asarray([[1, 2, 0]]), weight, 5)
    assert float(first) == float(other) and all(np.isfinite(slope).all() for slope in slopes)
