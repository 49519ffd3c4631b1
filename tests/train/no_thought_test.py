"""What a decoder learns in the place of thoughts: the expected slope is the one that is stated."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from verifier.config import QuietConfig
from verifier.data.batches import Batch
from verifier.train.losses import no_thought

VOCAB, T = 4, 3
CONFIG = QuietConfig(policy_weight=1.0, no_thought_token="drawn")
TOKENS_BT = np.array([[1, 3, 0]], np.int32)
HOW = {"dropout": 0.0, "dropout_key": None, "remat": False, "draw_key": jax.random.key(0)}


class Scores(nnx.Module):
    """Logits of each position, and nothing else."""

    @property
    def backbone(self):
        return self

    def __init__(self):
        self.logits_BTV = nnx.Param(jax.random.normal(jax.random.key(1), (1, T, VOCAB)))

    def hidden(self, *_, **__):
        return self.logits_BTV[...]

    def output_rows(self):
        return jnp.eye(VOCAB)

    def logits(self, hidden):
        return hidden


def batch(teacher_T):
    targets = {
        "lm_weight": np.array([[1, 1, 0]], np.float32),
        "lm_target": np.roll(TOKENS_BT, -1),
        "teacher_loss": np.array([teacher_T], np.float32),
    }
    return Batch(TOKENS_BT, np.arange(T)[None], np.full((1, T), T), targets)


def slope(config, teacher_T):
    graph, state = nnx.split(Scores())
    terms = no_thought.loss(VOCAB, config).terms

    def policy(state):
        found = terms(nnx.merge(graph, state), batch(teacher_T), **HOW)
        return found["policy"].sum, found

    slope, found = jax.grad(policy, has_aux=True)(state)
    return np.asarray(slope["logits_BTV"][...])[0], found


def test_the_expected_slope_of_drawn_tokens_makes_surer(monkeypatch):
    """Over all tokens by their chances; the first position alone is ahead of its teacher."""
    scores_TV = Scores().logits_BTV[...][0]
    chance_TV = np.asarray(jax.nn.softmax(scores_TV))
    own_T = -np.log(chance_TV[np.arange(T), np.roll(TOKENS_BT[0], -1)])
    expected = np.zeros((T, VOCAB))
    for token in range(VOCAB):
        drawn = jnp.full((1, T), token, jnp.int32)
        monkeypatch.setattr(no_thought, "_drawn", lambda *_, drawn=drawn: drawn)
        own, found = slope(CONFIG, [own_T[0] + 0.7, own_T[1] - 0.7, 9.0])
        expected += chance_TV[:, token, None] * own
    softer = np.asarray(jax.nn.softmax(scores_TV / 3.0))
    wanted = np.zeros((T, VOCAB))
    wanted[0] = 0.7 / 3.0 * (softer[0] - chance_TV[0])
    np.testing.assert_allclose(expected, wanted, atol=1e-6)
    assert float(found["reward"].sum) == pytest.approx(0.7, abs=1e-5)
    assert wanted[0][chance_TV[0].argmax()] < 0  # downhill, the likeliest token rises


def test_the_texts_own_token_is_learned_by_its_reward():
    config = dataclasses.replace(CONFIG, no_thought_token="text", reinforce_temperature=1.0)
    own, _ = slope(config, [99.0, 0.0, 99.0])
    found = slope(config, [99.0, 0.0, 99.0])[1]
    chance_V = np.asarray(jax.nn.softmax(Scores().logits_BTV[...][0, 0]))
    np.testing.assert_allclose(
        own[0], float(found["reward"].sum) * (chance_V - np.eye(VOCAB)[3]), rtol=1e-5
    )
    assert (own[1:] == 0).all()


def test_drawn_tokens_are_drawn_by_their_chances():
    scores = Scores()
    hidden_BTD = jnp.broadcast_to(scores.logits_BTV[...][0], (2000, T, VOCAB))
    drawn = np.asarray(no_thought._drawn(scores, hidden_BTD, jax.random.key(0), VOCAB - 1))
    for t in range(T):
        shares = np.bincount(drawn[:, t], minlength=VOCAB) / 2000
        wanted = np.asarray(jax.nn.softmax(scores.logits_BTV[...][0, t, : VOCAB - 1]))
        np.testing.assert_allclose(shares, [*wanted, 0], atol=0.05)
