"""The losses of trees against those of the same samples and worked solutions one by one."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from flax import nnx

from tests.data.labelled_trees_test import samples_of, worked
from tests.hf.families import FAMILIES, build, quick_jit
from tests.train import fakes
from verifier.data import labelled_trees, order
from verifier.data.batches import Batch, BatchSpec, BatchStream
from verifier.model.heads import ReservedLogitHead, Verifier
from verifier.train.losses import value

SHARES = {"value_share", "lm_share"}  # of tokens as they are read


def both(seed: int, loss, question=False, **how) -> tuple[Batch, Batch]:
    """The same samples, each with a worked solution, one by one and in trees."""
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(5, 7, rng.integers(1, 6)).tolist() for _ in range(12)]
    solutions = [("aaaaaaaabbcc"[n], ids, bool(rng.integers(2))) for n, ids in enumerate(drawn)]
    samples = samples_of(solutions, **how)
    truth = worked(loss_on_question=question, loss_on_forced=how.get("loss_on_forced", True))
    readings = np.bincount(order.partners(len(samples), len(truth), 0))
    grown = labelled_trees.grown(samples, truth, readings, 5, 20)
    spec = BatchSpec(16, 20, loss.targets)
    apart, together = (
        next(BatchStream(examples, 0, spec)) for examples in (order.mix(samples, truth, 0), grown)
    )
    assert (together.ends_BT > 0).sum() < 0.6 * (apart.ends_BT > 0).sum()
    return apart, together


def same(loss, model, apart: Batch, together: Batch, **named) -> None:
    """All terms but the shares, and the gradients of the loss."""
    how = {"dropout": 0.0, "dropout_key": None, "remat": False} | named
    graph, params, constants = nnx.split(model, nnx.Param, ...)

    @quick_jit
    def slopes_and_terms(params, batch):
        def total(params):
            terms = loss.terms(nnx.merge(graph, params, constants), batch, **how)
            return loss.total(terms, loss.divisors(batch)), terms

        return jax.grad(total, has_aux=True)(params)

    (slopes, terms), (other, others) = (slopes_and_terms(params, b) for b in (apart, together))
    assert terms.keys() == others.keys() >= {"value", "lm", "value_accuracy", *SHARES}
    for name in terms.keys() - SHARES:
        np.testing.assert_allclose(others[name], terms[name], rtol=1e-5, err_msg=name)
        assert terms[name].weight > 0
    for one, two in zip(jax.tree.leaves(slopes), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-5 * max(1, np.abs(one).max()))
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(slopes)) > 1e-2


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_a_tree_has_the_losses_and_gradients_of_its_samples(kind):
    loss = value.loss(fakes.VOCAB, kind, 0.5)
    knobs = itertools.product(["token", "solution"], ["tokens", "solutions"], [True, False])
    for seed, (level, normalise, forced) in enumerate(knobs):
        how = {"level": level, "normalise": normalise, "loss_on_forced": forced}
        same(loss, fakes.Judge(seed), *both(seed, loss, question=bool(seed % 2), **how))


@pytest.mark.parametrize("family", FAMILIES)
def test_so_it_has_in_every_family(family):
    arch = FAMILIES[family]
    verifier = Verifier(build(arch), ReservedLogitHead(arch.vocab_size - 1))
    loss = value.loss(arch.vocab_size - 1)
    same(loss, verifier, *both(1, loss), remat=True)
