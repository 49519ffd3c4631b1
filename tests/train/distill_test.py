"""What a student learns from a teacher: each loss against hand-written numpy, and where it is 0."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes
from verifier.config import DistillConfig
from verifier.train import meter
from verifier.train.losses import cross_entropy, distill, lm

HOW = {"dropout": 0.0, "dropout_key": None, "remat": False}
BATCH = fakes.random_batch(3)
WEIGHT, OWN = BATCH.targets["lm_weight"], BATCH.targets["lm_target"]
IS_NUMBER = OWN % 2 == 0
BATCH = fakes.with_targets(BATCH, number_weight=np.where(IS_NUMBER, WEIGHT, 0))
SHAPE = WEIGHT.shape
GRAPHDEF, PARAMS = nnx.split(fakes.Decoder())


def terms_of(loss, batch, params=PARAMS):
    run = jax.jit(lambda params: loss.terms(nnx.merge(GRAPHDEF, params), batch, **HOW))
    return run(params)


def gradient(loss, batch, params=PARAMS):
    def total(params):
        terms = loss.terms(nnx.merge(GRAPHDEF, params), batch, **HOW)
        return loss.total(terms, loss.divisors(batch))

    return jax.tree.leaves(jax.jit(jax.grad(total))(params))


def student_logprobs(batch=BATCH):
    """log softmax of the fake decoder over the ids of text, float64 [B, T, V]."""
    model = nnx.merge(GRAPHDEF, PARAMS)
    hidden = model.hidden(batch.tokens_BT, batch.positions_BT, batch.ends_BT)
    logits = np.asarray(model.logits(hidden), np.float64)[..., : fakes.VOCAB]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def told(alternatives, seed=0):
    """Random distributions over some ids, the text's own among them, and what is left untold."""
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.broadcast_to(np.arange(fakes.VOCAB), (*SHAPE, fakes.VOCAB)), axis=-1)
    rest = order[order != OWN[..., None]].reshape(*SHAPE, -1)[..., : alternatives - 1]
    ids = np.concatenate([OWN[..., None], rest], axis=-1).astype(np.int32)
    chances = rng.dirichlet(np.ones(alternatives + 1), SHAPE)[..., :alternatives]
    return ids, chances


def with_told(ids, chances):
    with np.errstate(divide="ignore"):
        logprobs = np.log(chances).astype(np.float32)
    return fakes.with_targets(BATCH, top_ids=ids, top_logprobs=logprobs)


# Distributions.


@pytest.mark.parametrize("renormalise", [False, True])
@pytest.mark.parametrize("chunk_logits", [2**24, 200])
def test_the_divergence_is_the_naive_sum(monkeypatch, renormalise, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    ids, chances = told(4)
    ids[:, 1::2, 3] = -1  # an alternative that the student has not
    batch = with_told(ids, chances)
    logprobs, wanted, crossed = student_logprobs(), 0.0, 0.0
    for b, t in np.argwhere(WEIGHT > 0):
        kept = ids[b, t] >= 0
        p = chances[b, t][kept] / (chances[b, t][kept].sum() if renormalise else 1)
        wanted += WEIGHT[b, t] * (p * (np.log(p) - logprobs[b, t, ids[b, t][kept]])).sum()
        crossed -= WEIGHT[b, t] * logprobs[b, t, OWN[b, t]]
    terms = terms_of(distill.match_distribution(fakes.VOCAB, 4, renormalise), batch)
    np.testing.assert_allclose(terms["match_distribution"].sum, wanted, rtol=1e-5)
    np.testing.assert_allclose(terms["lm"].sum, crossed, rtol=1e-5)
    np.testing.assert_allclose(terms["match_distribution"].weight, WEIGHT.sum(), rtol=1e-6)


def dense_divergence(params, batch, chances_BTV):
    """The same with logits and chances of the whole vocabulary, differentiated by JAX alone."""
    model = nnx.merge(GRAPHDEF, params)
    hidden = model.hidden(batch.tokens_BT, batch.positions_BT, batch.ends_BT)
    logq_BTV = jax.nn.log_softmax(model.logits(hidden)[..., : fakes.VOCAB])
    log_BTV = jnp.log(jnp.where(chances_BTV > 0, chances_BTV, 1))
    return (WEIGHT * (chances_BTV * (log_BTV - logq_BTV)).sum(-1)).sum() / WEIGHT.sum()


def test_gradients_are_those_of_the_whole_vocabulary():
    ids, chances = told(4)
    batch, dense = with_told(ids, chances), np.zeros((*SHAPE, fakes.VOCAB))
    np.put_along_axis(dense, ids, chances, axis=-1)
    wanted = jax.tree.leaves(jax.jit(jax.grad(dense_divergence))(PARAMS, batch, dense))
    found = gradient(distill.match_distribution(fakes.VOCAB, 4), batch)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("renormalise", [False, True])
def test_a_one_hot_teacher_is_cross_entropy(renormalise):
    ids = np.full((*SHAPE, 3), -1, np.int32)
    ids[..., 0] = OWN
    batch = with_told(ids, np.broadcast_to([1.0, 0.0, 0.0], ids.shape))
    loss, plain = distill.match_distribution(fakes.VOCAB, 3, renormalise), lm.loss(fakes.VOCAB)
    terms = terms_of(loss, batch)
    wanted = terms_of(plain, BATCH)["lm"].sum
    np.testing.assert_allclose(terms["match_distribution"].sum, wanted, rtol=1e-6)
    for one, other in zip(gradient(loss, batch), gradient(plain, BATCH), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_teacher_that_is_the_student_has_nothing_to_teach():
    """Told of the whole vocabulary, the loss is 0 and so is its gradient."""
    ids = np.broadcast_to(np.arange(fakes.VOCAB, dtype=np.int32), (*SHAPE, fakes.VOCAB))
    batch = with_told(ids, np.exp(student_logprobs()))
    loss = distill.match_distribution(fakes.VOCAB, fakes.VOCAB)
    assert abs(float(terms_of(loss, batch)["match_distribution"].sum)) < 1e-4
    assert max(np.abs(leaf).max() for leaf in gradient(loss, batch)) < 1e-5
    moved = jax.tree.map(
        lambda leaf: leaf + 0.1 * jnp.sin(jnp.arange(leaf.size).reshape(leaf.shape)), PARAMS
    )
    assert float(terms_of(loss, batch, moved)["match_distribution"].sum) > 0.01


@pytest.mark.parametrize("renormalise", [False, True])
def test_gradients_are_finite_where_the_teacher_or_the_student_is_sure(renormalise):
    ids, chances = told(3)
    chances[:, ::2, 1:] = 0  # log-probabilities of -inf
    chances[:, 1, :] = 0  # nothing at all is told
    batch = with_told(ids, chances)
    sure = jax.tree.map(lambda leaf: 40 * leaf, PARAMS)  # whose probabilities are 0 in float32
    loss = distill.match_distribution(fakes.VOCAB, 3, renormalise)
    assert np.isfinite(terms_of(loss, batch, sure)["match_distribution"].sum)
    assert all(np.isfinite(leaf).all() for leaf in gradient(loss, batch, sure))


# Spans.


def spans():
    """Four spans a row, each (row, positions, weight, teacher's logprob), and a batch of them."""
    rng = np.random.default_rng(5)
    targets = {
        "lm_weight": np.zeros(SHAPE, np.float32),
        "span_weight": np.zeros(SHAPE, np.float32),
        "span_start": np.zeros(SHAPE, np.int32),
        "span_logprob": np.zeros(SHAPE, np.float32),
    }
    found = []
    for row in range(SHAPE[0]):
        for places in ([0, 1], [2], [5, 6, 7], [8]):
            weight, logprob = rng.uniform(0.5, 1.5), -rng.uniform(0.01, 30)
            targets["span_weight"][row, places] = weight / len(places)
            targets["span_start"][row, places[0]] = 1
            targets["span_logprob"][row, places] = logprob
            found.append((row, places, weight, logprob))
    return found, fakes.with_targets(BATCH, **targets)


@pytest.mark.parametrize("tau", [100.0, 5.0])
@pytest.mark.parametrize("chunk_logits", [2**24, 200])
def test_the_loss_of_spans_is_the_naive_sum(monkeypatch, tau, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    found, batch = spans()
    logprobs, wanted, gaps, total = student_logprobs(), 0.0, 0.0, 0.0
    for row, places, weight, logprob in found:
        own = sum(logprobs[row, t, OWN[row, t]] for t in places)
        teacher, student = (np.exp(each / tau - 1e-6) for each in (logprob, own))
        crossed = teacher * np.log(student) + (1 - teacher) * np.log(1 - student)
        wanted, total = wanted - weight * crossed, total + weight
        gaps += weight * abs(logprob - own)
    terms = terms_of(distill.match_spans(fakes.VOCAB, tau), batch)
    np.testing.assert_allclose(terms["match_spans"].sum, wanted, rtol=1e-5)
    np.testing.assert_allclose(terms["match_spans"].weight, total, rtol=1e-5)
    np.testing.assert_allclose(terms["span_gap"].sum, gaps, rtol=1e-5)
    assert terms["lm"].weight == terms["span_share"].sum == 7 * SHAPE[0]


@pytest.mark.parametrize("chunk_logits", [2**24, 200])
def test_gradients_of_spans_are_those_of_all_logits(monkeypatch, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    found, batch = spans()

    def dense(params):
        model = nnx.merge(GRAPHDEF, params)
        hidden = model.hidden(batch.tokens_BT, batch.positions_BT, batch.ends_BT)
        logq_BTV = jax.nn.log_softmax(model.logits(hidden)[..., : fakes.VOCAB])
        loss = 0.0
        for row, places, weight, logprob in found:
            own = sum(logq_BTV[row, t, OWN[row, t]] for t in places)
            teacher, student = (jnp.exp(each / 5 - 1e-6) for each in (logprob, own))
            loss -= weight * (teacher * jnp.log(student) + (1 - teacher) * jnp.log1p(-student))
        return loss / batch.targets["span_weight"].sum()

    wanted = jax.tree.leaves(jax.jit(jax.grad(dense))(PARAMS))
    for one, other in zip(
        gradient(distill.match_spans(fakes.VOCAB, 5.0), batch), wanted, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_texts_without_spans_are_learned_by_their_cross_entropy():
    _, batch = spans()
    plain = fakes.with_targets(
        BATCH,
        **{
            key: np.zeros_like(batch.targets[key])
            for key in ("span_weight", "span_start", "span_logprob")
        },
    )
    loss, words = distill.match_spans(fakes.VOCAB, 5.0), distill.match_sample(fakes.VOCAB)
    terms = terms_of(loss, plain)
    assert terms["text"].weight > 0 and terms["match_spans"].weight == 0
    # such as held-out problems of which no teacher has told anything, which are evaluated, too
    assert loss.watch in {"loss", *meter.means(terms)}
    np.testing.assert_allclose(terms["text"].sum, terms_of(words, BATCH)["lm"].sum, rtol=1e-5)
    for one, other in zip(gradient(loss, plain), gradient(words, BATCH), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_equal_probabilities_of_spans_are_the_optimum():
    found, batch = spans()
    logprobs = student_logprobs()
    for row, places, _, _ in found:
        own = sum(logprobs[row, t, OWN[row, t]] for t in places)
        batch.targets["span_logprob"][row, places] = own
    loss = distill.match_spans(fakes.VOCAB, 5.0)
    assert max(np.abs(leaf).max() for leaf in gradient(loss, batch)) < 1e-5
    assert terms_of(loss, batch)["span_gap"].sum < 1e-3
    batch.targets["span_logprob"][0, 2] -= 5
    assert max(np.abs(leaf).max() for leaf in gradient(loss, batch)) > 1e-3


@pytest.mark.parametrize("logprob", [0.0, -1e-7, -1e-3, -5.0, -1e4])
def test_spans_are_finite_from_certain_to_impossible(logprob):
    for own in (0.0, -1e-7, -1e-3, -5.0, -1e4):
        at = logprob / 100 - 1e-6, own / 100 - 1e-6
        loss, slope = jax.value_and_grad(distill._binary, argnums=1)(*map(jnp.float32, at))
        teacher, student = (np.exp(np.float64(each)) for each in at)
        wanted = -(teacher * at[1] + (1 - teacher) * np.log1p(-student))
        np.testing.assert_allclose(loss, wanted, rtol=0.05 if own > -1e-2 else 1e-4, atol=1e-30)
        assert np.isfinite(slope)


def test_a_student_that_is_sure_of_a_span_has_a_finite_loss():
    """Its log-probability is 0 in float32, where 1 - p has no logarithm."""
    _, batch = spans()
    sure = jax.tree.map(lambda leaf: 40 * leaf, PARAMS)
    model = nnx.merge(GRAPHDEF, sure)
    hidden = model.hidden(batch.tokens_BT, batch.positions_BT, batch.ends_BT)
    likeliest = np.asarray(model.logits(hidden)[..., : fakes.VOCAB].argmax(-1)).astype(np.int32)
    batch, loss = fakes.with_targets(batch, lm_target=likeliest), distill.match_spans(fakes.VOCAB)
    terms = terms_of(loss, batch, sure)
    assert float(terms["lm"].sum) < 1e-6 and np.isfinite(terms["match_spans"].sum)
    assert all(np.isfinite(leaf).all() for leaf in gradient(loss, batch, sure))


# Numbers apart.


@pytest.mark.parametrize("chunk_logits", [2**24, 200])
@pytest.mark.parametrize("kind", ["match_sample", "match_distribution", "match_spans"])
def test_numbers_are_reported_apart_and_not_learned_apart(monkeypatch, kind, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    batch, counted = with_told(*told(3)), WEIGHT > 0
    if kind == "match_spans":
        found, batch = spans()
        counted = np.zeros(SHAPE, bool)
        for row, places, *_ in found:
            counted[row, places] = True
    weight = np.where(counted & IS_NUMBER, WEIGHT, 0)
    own = -np.take_along_axis(student_logprobs(), OWN[..., None], axis=-1)[..., 0]
    loss = distill.loss(fakes.VOCAB, kind, DistillConfig(), 3)
    term = terms_of(loss, batch)["lm_numbers"]
    np.testing.assert_allclose(term.sum, (weight * own).sum(), rtol=1e-5)
    np.testing.assert_allclose(term.weight, weight.sum(), rtol=1e-6)
    assert 0 < weight.sum() < np.where(counted, WEIGHT, 0).sum()
    without = fakes.with_targets(batch, number_weight=np.zeros(SHAPE, np.float32))
    for one, other in zip(gradient(loss, batch), gradient(loss, without), strict=True):
        np.testing.assert_array_equal(one, other)


# By their name.


def test_the_knob_names_the_loss():
    config, made = DistillConfig(), {}
    for name in ("match_sample", "match_distribution", "match_spans"):
        loss = distill.loss(fakes.VOCAB, name, config, 6)
        made[name] = loss.watch
    assert made == {
        "match_sample": "lm",
        "match_distribution": "match_distribution",
        "match_spans": "loss",
    }
