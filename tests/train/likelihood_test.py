"""Likelihoods of texts: each as if read alone, whatever stands beside it."""

from __future__ import annotations

import jax
import numpy as np
from flax import nnx

from verifier.config import ModelConfig
from verifier.model.arch import scratch_arch
from verifier.model.transformer import Transformer
from verifier.train import likelihood
from verifier.train.likelihood import Texts

VOCAB = 11
SIZES = ModelConfig(layers=1, width=8, heads=1, kv_heads=1, mlp_width=8, context=32)
MODEL = Transformer(scratch_arch(SIZES, VOCAB + 1), rngs=nnx.Rngs(0))


def problems(count, solutions, seed=0):
    """More solutions than a row has room for."""
    rng = np.random.default_rng(seed)
    made = []
    for problem in range(count):
        lengths = rng.integers(1, 12, solutions)
        tokens = [rng.integers(0, VOCAB, length).astype(np.int32) for length in lengths]
        counted = [rng.random(length) < 0.8 for length in lengths]
        prompt = rng.integers(0, VOCAB, 1 + problem % 4).tolist()
        made.append(Texts(f"p{problem}", prompt, range(solutions), tokens, counted))
    return made


@jax.jit
def logprobs_of_rows(tokens_BT):
    hidden = MODEL.hidden(tokens_BT, np.arange(tokens_BT.shape[1])[None], None)
    return jax.nn.log_softmax((hidden @ MODEL.output_rows().T)[..., :VOCAB])


def naive(texts):
    """Each solution in a row of its own; what stands behind it changes nothing."""
    rows = np.zeros((len(texts.tokens), 16), np.int32)
    for row, tokens in enumerate(texts.tokens):
        text = [*texts.prompt, *tokens]
        rows[row, : len(text)] = text
    logp, first = np.asarray(logprobs_of_rows(rows)), len(texts.prompt) - 1
    return [
        np.where(counted, logp[row, first + np.arange(len(tokens)), tokens], 0.0)
        for row, (tokens, counted) in enumerate(zip(texts.tokens, texts.counted, strict=True))
    ]


def test_a_text_is_read_as_if_it_stood_alone():
    asked = problems(5, 12)
    found = {
        each.texts.problem_id: each.logprobs for each in likelihood.read(MODEL, VOCAB, asked, 8)
    }
    assert found.keys() == {each.problem_id for each in asked}
    for texts in asked:
        for own, wanted in zip(found[texts.problem_id], naive(texts), strict=True):
            np.testing.assert_allclose(own, wanted, rtol=1e-4, atol=1e-5)


def test_what_is_stored_is_not_wanted_and_changes_nothing_about_the_rest():
    asked = problems(5, 12)
    whole = list(likelihood.read(MODEL, VOCAB, asked, 8))
    rest = list(likelihood.read(MODEL, VOCAB, asked, 8, stored={"p1", "p3"}))
    assert len(rest) == 3
    for each in rest:
        (same,) = (one for one in whole if one.texts.problem_id == each.texts.problem_id)
        assert all(map(np.array_equal, each.logprobs, same.logprobs))
    everything = {each.problem_id for each in asked}
    assert not list(likelihood.read(MODEL, VOCAB, asked, 8, stored=everything))
