"""Every bit of a seed counts, and small seeds keep the keys that they have always had."""

import itertools

import jax
import numpy as np
from flax import nnx

from verifier.model.keys import key_of

SEEDS = (0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**62, 2**63 - 1)


def test_keys_below_32_bits_are_those_of_jax_and_all_others_differ():
    words = {seed: tuple(jax.random.key_data(key_of(seed)).tolist()) for seed in SEEDS}
    for seed in SEEDS[:4]:
        assert words[seed] == tuple(jax.random.key_data(jax.random.key(np.uint32(seed))).tolist())
    assert len(set(words.values())) == len(SEEDS)
    # a model of random weights stays the same
    drawn = [nnx.Rngs(seed).params() for seed in (7, key_of(7))]
    assert (jax.random.key_data(drawn[0]) == jax.random.key_data(drawn[1])).all()


def test_jobs_have_keys_of_their_own():
    jobs = ("", "pretrain", "finetune", "verify")
    words = [
        tuple(jax.random.key_data(key_of(seed, job)).tolist())
        for seed, job in itertools.product(SEEDS, jobs)
    ]
    assert len(set(words)) == len(SEEDS) * len(jobs)
    # Written down: a job that goes on must drop what it would have dropped, on any machine.
    assert jax.random.key_data(key_of(0, "verify")).tolist() == [1275319591, 2411610398]
