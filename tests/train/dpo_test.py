"""The loss of preferences: against hand-written numpy, at its start, and on a planted task."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.train import fakes
from verifier.data import batches, preferences
from verifier.data.preferences import Solution
from verifier.evaluate import calibration
from verifier.train.losses import cross_entropy, dpo

HOW = {"dropout": 0.0, "dropout_key": None, "remat": False}
BETA = 0.3
LOSS = dpo.loss(fakes.VOCAB, BETA)
GRAPHDEF, PARAMS = nnx.split(fakes.Decoder())
PROMPT = [3, 9]
LONGEST = 5  # tokens of a solution


def solutions(count, seed=0):
    """Of one problem, half of them right, the calculator's tokens left out here and there."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(count):
        tokens = rng.integers(0, fakes.VOCAB, rng.integers(2, 5)).astype(np.int32)
        counted = rng.random(len(tokens)) < 0.8
        made.append(Solution("p", tokens, counted, n % 2 == 0, float(rng.normal(-8, 1))))
    return made


def batch_of(some, pairs, rows=3, row_tokens=26):
    examples = preferences.PairExamples(some, pairs, {"p": PROMPT})
    spec = batches.BatchSpec(rows, row_tokens, LOSS.targets)
    (batch,) = batches.BatchStream(examples, 0, spec)
    return batch


@jax.jit
def padded_likelihoods(params, tokens_NT, counted_NT):
    """Of texts behind the prompt, each read alone; what stands behind them changes nothing."""
    prompt_NS = jnp.broadcast_to(jnp.array(PROMPT), (len(tokens_NT), len(PROMPT)))
    text_NT = jnp.concatenate([prompt_NS, tokens_NT], axis=1)
    model, where = nnx.merge(GRAPHDEF, params), jnp.arange(text_NT.shape[1])
    positions_NT = jnp.broadcast_to(where, text_NT.shape)
    hidden = model.hidden(text_NT, positions_NT, jnp.full_like(text_NT, len(where)))
    logp_NTV = jax.nn.log_softmax(model.logits(hidden)[..., : fakes.VOCAB])[:, len(PROMPT) - 1 : -1]
    own_NT = jnp.take_along_axis(logp_NTV, tokens_NT[..., None], axis=-1)[..., 0]
    return (own_NT * counted_NT).sum(axis=1)


def likelihoods(some, params=PARAMS):
    tokens, counted = np.zeros((2, len(some), LONGEST), np.int32)
    for n, each in enumerate(some):
        tokens[n, : len(each.tokens)], counted[n, : len(each.tokens)] = each.tokens, each.counted
    return padded_likelihoods(params, tokens, counted)


def total(params, batch):
    terms = LOSS.terms(nnx.merge(GRAPHDEF, params), batch, **HOW)
    return LOSS.total(terms, LOSS.divisors(batch)), terms


def referred(some):
    """The same solutions, with what the first model gives them as their reference."""
    return [
        each._replace(reference=float(own))
        for each, own in zip(some, likelihoods(some), strict=True)
    ]


@pytest.mark.parametrize("chunk_logits", [2**24, 200])
def test_the_loss_is_the_naive_one_whatever_shares_a_row(monkeypatch, chunk_logits):
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", chunk_logits)
    some = solutions(6)
    pairs = preferences.draw(some, 5, 0, False).pairs
    batch = batch_of(some, pairs)
    assert batch.targets["pair_start"].sum(axis=1).max() > 1  # rows of several pairs
    gains = np.asarray(likelihoods(some)) - [each.reference for each in some]
    margins = np.array([gains[right] - gains[wrong] for right, wrong in pairs])
    value, terms = jax.jit(lambda params: total(params, batch))(PARAMS)
    assert float(value) == pytest.approx(np.log1p(np.exp(-BETA * margins)).mean(), rel=1e-5)
    means = {name: float(term.sum / term.weight) for name, term in terms.items()}
    assert means["dpo_accuracy"] == pytest.approx((margins > 0).mean())
    for side, index in (("right_gain", 0), ("wrong_gain", 1)):
        wanted = np.mean([gains[pair[index]] for pair in pairs])
        assert means[side] == pytest.approx(wanted, rel=1e-5)


def test_at_the_start_it_is_log_2_with_half_of_beta_times_the_difference_of_gradients():
    some = referred(solutions(4, seed=3))
    pairs = preferences.draw(some, 0, 0, False).pairs
    batch = batch_of(some, pairs)
    (value, terms), slope = jax.jit(jax.value_and_grad(total, has_aux=True))(PARAMS, batch)
    assert float(value) == pytest.approx(np.log(2), rel=1e-5)

    def naive(params):
        own = likelihoods(some, params)
        return sum(own[right] - own[wrong] for right, wrong in pairs) / len(pairs)

    wanted = jax.tree.map(lambda each: -BETA / 2 * each, jax.grad(naive)(PARAMS))
    for own, other in zip(jax.tree.leaves(slope), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-6)


def test_a_planted_token_is_found_in_solutions_that_were_not_learned():
    """Right solutions hold the token 10, wrong ones do not."""
    rng = np.random.default_rng(5)
    made = []
    for n in range(440):
        tokens = rng.integers(0, 10, 5).astype(np.int32)
        if n % 2 == 0:
            tokens[rng.integers(5)] = 10
        made.append(Solution("p", tokens, np.ones(5, bool), n % 2 == 0, 0.0))
    made = referred(made)
    learned, others = made[:400], made[400:]
    pairs = preferences.draw(learned, 300, 0, True).pairs
    batch = batch_of(learned, pairs, rows=26, row_tokens=160)
    optimizer = optax.adam(0.1)

    @jax.jit
    def step(params, state):
        slope = jax.grad(lambda params: total(params, batch)[0])(params)
        updates, state = optimizer.update(slope, state)
        return optax.apply_updates(params, updates), state

    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(12):
        params, state = step(params, state)
    gains = np.asarray(likelihoods(others, params)) - [each.reference for each in others]
    right = np.array([each.correct for each in others])
    found = calibration.discrimination(gains, right, np.zeros(len(others), int))
    assert found["auroc"] > 0.9
