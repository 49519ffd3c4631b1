"""A label and its rationale: two means by one weight (Hsieh et al. 2023)."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes
from verifier.train.losses import lm, two_tasks

GRAPHDEF, PARAMS = nnx.split(fakes.Decoder())
HOW = {"dropout": 0.0, "dropout_key": None, "remat": False}


def batch(rows):
    """Odd rows explain, even rows predict; of `rows` the weights stand."""
    made = fakes.random_batch(3)
    weight = made.targets["lm_weight"].copy()
    predicts = (np.arange(len(weight)) % 2 == 0)[:, None]
    kept = np.isin(np.arange(len(weight)), rows)[:, None]
    return fakes.with_targets(
        made,
        predict_weight=np.where(predicts & kept, weight, 0),
        explain_weight=np.where(~predicts & kept, weight, 0),
    )


EVERY = batch(range(fakes.random_batch(3).tokens_BT.shape[0]))


def value_and_slopes(loss, given):
    def total(params):
        terms = loss.terms(nnx.merge(GRAPHDEF, params), given, **HOW)
        return loss.total(terms, loss.divisors(given))

    value, slopes = jax.jit(jax.value_and_grad(total))(PARAMS)
    return float(value), jax.tree.leaves(slopes)


def mean_alone(task):
    given = fakes.with_targets(EVERY, lm_weight=EVERY.targets[f"{task}_weight"])
    return value_and_slopes(lm.loss(fakes.VOCAB), given)


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.2, 0.0])
def test_the_loss_is_the_weighted_sum_of_two_means(alpha):
    value, slopes = value_and_slopes(two_tasks.loss(fakes.VOCAB, alpha), EVERY)
    (label, label_slopes), (why, why_slopes) = map(mean_alone, two_tasks.TASKS)
    np.testing.assert_allclose(value, alpha * label + (1 - alpha) * why, rtol=1e-5)
    for own, one, other in zip(slopes, label_slopes, why_slopes, strict=True):
        np.testing.assert_allclose(own, alpha * one + (1 - alpha) * other, rtol=1e-4, atol=1e-6)


def test_one_task_alone_knows_nothing_of_the_other_batch():
    odd, even = batch([1, 3]), batch([0, 2])
    both = batch([0, 1, 2, 3])
    for alpha, other in ((1.0, even), (0.0, odd)):
        loss = two_tasks.loss(fakes.VOCAB, alpha)
        value, slopes = value_and_slopes(loss, both)
        wanted, wanted_slopes = value_and_slopes(loss, other)
        assert value == wanted
        assert all((a == b).all() for a, b in zip(slopes, wanted_slopes, strict=True))


def test_longer_rationales_do_not_outweigh_labels():
    twice = fakes.with_targets(EVERY, explain_weight=2 * EVERY.targets["explain_weight"])
    loss = two_tasks.loss(fakes.VOCAB, 0.5)
    np.testing.assert_allclose(
        value_and_slopes(loss, twice)[0], value_and_slopes(loss, EVERY)[0], rtol=1e-6
    )


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.0])
def test_what_is_watched_needs_no_rationale(alpha):
    """Nobody may have explained the held-out problems; then "explain" has no mean."""
    assert two_tasks.loss(fakes.VOCAB, alpha).watch in ("predict", "loss")
