"""The losses against hand-written numpy, their masks by gradient, and what must not change them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes
from verifier.train import cross_entropy, losses

BATCH = fakes.random_batch(1)


def hidden_of(model, batch):
    backbone = getattr(model, "backbone", model)
    return np.asarray(backbone.hidden(batch.tokens_BT, batch.positions_BT, batch.segment_ids_BT))


def compiled(loss, model, **options):
    """loss(batch) -> its terms, as one program: one after the other its operations take far longer
    to compile.
    """
    graph, params = nnx.split(model)
    run = jax.jit(
        lambda params, batch: loss(
            nnx.merge(graph, params), batch, vocab_size=fakes.VOCAB, **options
        )
    )
    return lambda batch: run(params, batch)


def naive_lm(model, batch):
    """Sum of weight * -log p(next token), one position after the other, softmax over the ids of
    text alone.
    """
    logits = np.asarray(model.logits(hidden_of(model, batch)), np.float64)[..., : fakes.VOCAB]
    loss = 0.0
    for b, t in np.argwhere(batch.lm_weight_BT > 0):
        row = logits[b, t]
        loss -= batch.lm_weight_BT[b, t] * (
            row[batch.tokens_BT[b, t + 1]] - np.log(np.exp(row).sum())
        )
    return loss


# in one piece, and one position of the 4 rows at a time
@pytest.mark.parametrize("chunk_logits", [2**24, 200])
def test_lm_is_the_naive_sum(monkeypatch, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    model = fakes.Decoder()
    terms = compiled(losses.lm, model)(BATCH)
    np.testing.assert_allclose(terms["lm"].sum, naive_lm(model, BATCH), rtol=1e-5)
    np.testing.assert_allclose(terms["lm"].weight, BATCH.lm_weight_BT.sum(), rtol=1e-6)
    assert (
        terms["lm_share"].sum == (BATCH.lm_weight_BT > 0).sum() and terms["lm_share"].weight == 40
    )


def test_chunks_change_no_gradient(monkeypatch):
    graph, params = nnx.split(fakes.Decoder())

    def loss(params):
        return losses.lm(nnx.merge(graph, params), BATCH, vocab_size=fakes.VOCAB)["lm"].sum

    whole = jax.jit(jax.grad(loss))(params)
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", 200)
    for a, b in zip(
        jax.tree.leaves(whole),
        jax.tree.leaves(jax.jit(jax.grad(lambda params: loss(params)))(params)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_chunks_of_masked_positions_are_skipped(monkeypatch):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", 1)  # chunks of one position of every row
    ran, plain = [], cross_entropy.logits

    def counted(hidden, output):
        jax.debug.callback(lambda: ran.append(1))
        return plain(hidden, output)

    monkeypatch.setattr(cross_entropy, "logits", counted)
    graph, params = nnx.split(fakes.Decoder())

    def loss(params):
        return losses.lm(nnx.merge(graph, params), BATCH, vocab_size=fakes.VOCAB)["lm"].sum

    for run in (loss, jax.grad(loss)):  # the gradient computes no logits a second time
        ran.clear()
        jax.block_until_ready(run(params))
        jax.effects_barrier()
        assert len(ran) == (BATCH.lm_weight_BT > 0).sum(axis=1).max() == 2


def test_reserved_id_is_outside_the_softmax():
    model = fakes.Decoder()
    before = losses.lm(model, BATCH, vocab_size=fakes.VOCAB)["lm"].sum
    model.embed[...] = model.embed[...].at[fakes.VOCAB].set(50.0)
    assert losses.lm(model, BATCH, vocab_size=fakes.VOCAB)["lm"].sum == before
    assert losses.lm(model, BATCH, vocab_size=fakes.VOCAB + 1)["lm"].sum != before


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_value_loss_is_the_naive_sum(kind):
    model = fakes.Judge()
    terms = compiled(losses.verifier_joint, model, value_loss=kind, lm_weight=0.5)(BATCH)
    values = np.asarray(model.values(hidden_of(model, BATCH)), np.float64)
    target = BATCH.value_target_BT
    chance = 1 / (1 + np.exp(-values))
    each = {
        "mse": (values - target) ** 2,
        "bce": -(target * np.log(chance) + (1 - target) * np.log(1 - chance)),
    }[kind]
    np.testing.assert_allclose(terms["value"].sum, (BATCH.value_weight_BT * each).sum(), rtol=1e-5)
    guess = {"mse": values, "bce": chance}[kind]
    right = ((guess > 0.5) == (target > 0.5)) * BATCH.value_weight_BT
    np.testing.assert_allclose(terms["value_accuracy"].sum, right.sum(), rtol=1e-5)
    by = losses.divisors(BATCH)
    expected = (
        terms["value"].sum / BATCH.value_weight_BT.sum()
        + 0.5 * naive_lm(model.backbone, BATCH) / BATCH.lm_weight_BT.sum()
    )
    np.testing.assert_allclose(losses.total(terms, by), expected, rtol=1e-5)


def test_unknown_value_loss_is_named():
    with pytest.raises(ValueError, match="'hinge'.*mse, bce"):
        losses.verifier_joint(fakes.Judge(), BATCH, vocab_size=fakes.VOCAB, value_loss="hinge")


class Given(nnx.Module):
    """A decoder whose hidden states are an argument, so that gradients can be taken at them."""

    def __init__(self, hidden):
        self.given, self.inner = nnx.Param(hidden), fakes.Decoder()

    def hidden(self, *_, **__):
        return self.given[...]

    def output_rows(self):
        return self.inner.output_rows()


@pytest.mark.parametrize("chunk_logits", [2**24, 200])
def test_gradient_is_zero_exactly_where_the_mask_is(monkeypatch, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)

    def loss(hidden, lm_weight, value):
        judge = fakes.Judge()
        judge.backbone = Given(hidden)
        terms = losses.verifier_joint(judge, BATCH, vocab_size=fakes.VOCAB, lm_weight=lm_weight)
        return losses.total(
            {name: term for name, term in terms.items() if value or name != "value"},
            losses.divisors(BATCH),
        )

    start = jnp.asarray(hidden_of(fakes.Judge(), BATCH))
    for lm_weight, value, weight in [
        (0.0, True, BATCH.value_weight_BT),
        (1.0, False, BATCH.lm_weight_BT),
    ]:
        moved = np.abs(
            np.asarray(jax.jit(jax.grad(loss), static_argnums=(1, 2))(start, lm_weight, value))
        ).max(-1)
        assert ((moved > 0) == (weight > 0)).all()


@pytest.mark.parametrize("chunk_logits", [2**24, 200])
def test_padding_says_nothing(monkeypatch, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    padding = BATCH.segment_ids_BT == 0
    other = BATCH._replace(
        tokens_BT=np.where(padding, fakes.VOCAB, BATCH.tokens_BT),
        positions_BT=np.where(padding, 7, BATCH.positions_BT),
        value_target_BT=np.where(padding, np.nan, BATCH.value_target_BT),
    )
    loss = compiled(losses.verifier_joint, fakes.Judge())
    assert loss(BATCH) == loss(other)


def test_row_order_and_number_of_rows_change_nothing():
    loss = compiled(losses.verifier_joint, fakes.Judge())
    turned = jax.tree.map(lambda array: array[::-1], BATCH)
    padded = jax.tree.map(lambda array: np.concatenate([array, np.zeros_like(array)]), BATCH)
    for other in (turned, padded):
        np.testing.assert_allclose(
            losses.total(loss(other), losses.divisors(other)),
            losses.total(loss(BATCH), losses.divisors(BATCH)),
            rtol=1e-6,
        )


def test_solution_level_reads_the_last_token_alone():
    last = (BATCH.segment_ids_BT == 2) & (BATCH.positions_BT == 4)
    batch = BATCH._replace(value_weight_BT=last.astype(np.float32))
    judge = fakes.Judge()
    values = np.asarray(judge.values(hidden_of(judge, batch)))[last]
    terms = compiled(losses.verifier_joint, judge)(batch)
    np.testing.assert_allclose(
        terms["value"].sum / terms["value"].weight,
        ((values - batch.value_target_BT[last]) ** 2).mean(),
        rtol=1e-6,
    )
    assert terms["value"].weight == 4


def test_a_batch_without_weights_has_no_loss_and_no_nan():
    empty = jax.tree.map(np.zeros_like, BATCH)
    terms = compiled(losses.verifier_joint, fakes.Judge())(empty)
    assert losses.total(terms, losses.divisors(empty)) == 0


def test_a_masked_target_may_be_any_id():
    hidden, output = (
        np.random.default_rng(0).normal(size=(2, 1, 3, 4)).astype(np.float32)[0],
        np.eye(6, 4, dtype=np.float32),
    )
    weight = jnp.asarray([[1.0, 1.0, 0.0]])
    both = jax.jit(jax.value_and_grad(cross_entropy.cross_entropy, (0, 1)), static_argnums=4)
    value, slopes = both(hidden, output, jnp.asarray([[1, 2, 5]]), weight, 5)
    other, _ = both(hidden, output, jnp.asarray([[1, 2, 0]]), weight, 5)
    assert float(value) == float(other) and all(np.isfinite(slope).all() for slope in slopes)
