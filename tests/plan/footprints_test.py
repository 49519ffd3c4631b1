"""What a job works, against what it is given."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data.labelled_trees_test import samples_of
from tests.plan import planned
from tests.shrunk import config
from verifier import config as config_lib
from verifier.data import labelled_trees, order
from verifier.data.examples import lm_example
from verifier.plan import amounts, devices
from verifier.plan.published import Text

PROMPTS = {name: [n] * (30 + n) for n, name in enumerate("abc")}
SOLUTION, SAMPLES = 40, 12


@pytest.mark.parametrize("lm_weight", [0, 1])
@pytest.mark.parametrize("group", [1, 2, 3, 4, 0])
def test_tokens_of_the_verifiers_training_are_those_of_its_examples(group, lm_weight):
    """Of three problems with solutions that have nothing in common, two of them sampled from."""
    rng = np.random.default_rng(0)
    ids = rng.integers(5, 10_000, (2 * SAMPLES, SOLUTION)).tolist()
    solutions = [("ab"[n // SAMPLES], each, True) for n, each in enumerate(ids)]
    samples = samples_of(solutions, PROMPTS)
    truth = [
        lm_example(
            prompt,
            rng.integers(5, 10_000, SOLUTION),
            [False] * SOLUTION,
            loss_on_question=False,
            loss_on_forced=True,
            name=name,
        )
        for name, prompt in PROMPTS.items()
    ] * bool(lm_weight)
    verify = config_lib.VerifyConfig(group=group, lm_weight=lm_weight, row_tokens=250)
    if group == 1:
        examples = order.mix(samples, truth, 0) if truth else samples
    else:
        pairs = len(samples) if truth else 0
        readings = np.bincount(order.partners(pairs, len(truth), 0), minlength=len(truth))
        examples = labelled_trees.grown(samples, truth, readings, group, verify.row_tokens)
    tokens = sum(len(each.tokens) for each in examples)
    sample = config_lib.SampleConfig(train_samples=SAMPLES, train_problems=2)
    planned = amounts.labelled_tokens(Text(3, 31, 32, SOLUTION), verify, sample)
    assert planned == pytest.approx(tokens, rel=0.05)


@pytest.mark.parametrize("name", ["finetune", "verify"])
def test_beside_a_frozen_base_only_what_is_learned_has_moments(name):
    found = [planned.read(config(knob)) for knob in ("model.lora_rank=0", "model.lora_rank=2")]
    plain, adapted = (planned.plan(each, name, devices.parse("h100-1")) for each in found)
    # Two moments of four bytes and a few counters; the whole model is learned without adapters.
    assert plain.held["optimiser"] == pytest.approx(2 * plain.held["parameters"], rel=0.01)
    base = plain.held["parameters"]
    learned = adapted.held["parameters"] - base
    assert 0 < learned < base / 4
    assert adapted.held["optimiser"] == pytest.approx(2 * learned, abs=64)
    assert adapted.cost.operations < plain.cost.operations
