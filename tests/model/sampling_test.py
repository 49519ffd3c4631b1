import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hf.families import quick_jit
from verifier.model import sampling
from verifier.model.sampling import sample_key, uniforms

draw = functools.partial(quick_jit, static_argnames=("top_k", "top_p", "vocab_size"))(sampling.draw)

ALMOST_ONE = np.nextafter(np.float32(1), np.float32(0))


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    weights = np.exp((logits - logits.max()).astype(np.float64) / temperature)
    return weights / weights.sum()


def sweep(logits: np.ndarray, temperature: float = 1.0, count: int = 4000, **limits) -> np.ndarray:
    """Tokens for `count` evenly spaced uniforms: their shares are the distribution itself, but for
    a grid step at either end.
    """
    uniform_B = jnp.asarray((np.arange(count) + 0.5) / count, jnp.float32)
    limits.setdefault("vocab_size", len(logits))
    token_B, _ = draw(
        jnp.broadcast_to(jnp.asarray(logits), (count, len(logits))),
        uniform_B,
        jnp.float32(temperature),
        **limits,
    )
    return np.asarray(token_B)


def naive_limited(logits: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """The distribution that top_k and then top_p leave, token by token."""
    shares = softmax(logits, temperature)
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    kept = order[: top_k or None]
    total, reached, nucleus = sum(shares[i] for i in kept), 0.0, []
    for i in kept:
        if reached >= top_p * total:
            break
        nucleus.append(i)
        reached += shares[i]
    out = np.zeros(len(logits))
    out[nucleus] = shares[nucleus] / shares[nucleus].sum()
    return out


@pytest.mark.parametrize("vocab", [3, 256, 600])  # less than a block, one block, a short last block
@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_shares_of_tokens_are_the_softmax(vocab, temperature):
    logits = np.random.default_rng(vocab).normal(size=vocab).astype(np.float32) * 2
    tokens = sweep(logits, temperature)
    shares = np.bincount(tokens, minlength=vocab) / len(tokens)
    np.testing.assert_allclose(shares, softmax(logits, temperature), atol=1.1 / len(tokens))
    assert np.all(np.diff(tokens) >= 0)  # an inverse CDF rises


def test_shares_of_keyed_draws_are_the_softmax():
    logits = np.asarray([0.0, 1.0, -1.0, 2.0, -30.0], np.float32)
    keys = np.stack([sample_key(0, "problem", j) for j in range(4000)])
    uniform_B = uniforms(jnp.asarray(keys), 3)
    token_B, _ = draw(jnp.broadcast_to(logits, (4000, 5)), uniform_B, 1.0, vocab_size=5)
    counts, expected = np.bincount(token_B, minlength=5)[:4], 4000 * softmax(logits)[:4]
    # chi-square, 3 degrees of freedom, p = 0.001
    assert ((counts - expected) ** 2 / expected).sum() < 16.3


@pytest.mark.parametrize(("top_k", "top_p"), [(5, 1.0), (0, 0.5), (0, 0.001), (7, 0.6), (400, 1.0)])
def test_top_k_and_top_p_leave_what_a_naive_reference_leaves(top_k, top_p):
    logits = np.random.default_rng(1).normal(size=300).astype(np.float32) * 3
    tokens = sweep(logits, 1.3, top_k=top_k, top_p=top_p)
    shares = np.bincount(tokens, minlength=300) / len(tokens)
    expected = naive_limited(logits, 1.3, top_k, top_p)
    np.testing.assert_allclose(shares, expected, atol=1.1 / len(tokens))
    assert np.all(expected[tokens] > 0)


def test_the_nucleus_is_what_a_sort_leaves():
    rng = np.random.default_rng(8)
    spreads = [0.0, 1e-6, 0.3, 3.0, 30.0, 300.0]  # from all ids alike to one that has everything
    # many ties
    rows = np.concatenate(
        [rng.normal(size=(5, 257)) * spread for spread in spreads] + [rng.integers(0, 4, (10, 257))]
    )
    weights = np.exp(rows - rows.max(axis=-1, keepdims=True)).astype(np.float32)
    nucleus = quick_jit(sampling._nucleus, static_argnames="top_p")
    for top_p in (1e-9, 0.1, 0.5, 0.9, 0.999):
        kept = np.asarray(nucleus(jnp.asarray(weights), top_p=top_p))
        for row, stays in zip(weights.astype(np.float64), kept, strict=True):
            order = np.lexsort((np.arange(257), -row))
            share = np.cumsum(row[order]) / row.sum()
            # the heaviest, the lower id first
            np.testing.assert_array_equal(stays[order], np.arange(257) < stays.sum())
            # enough of them, but for float32's rounding
            assert share[stays.sum() - 1] >= top_p - 1e-5
            assert stays.sum() == 1 or share[stays.sum() - 2] < top_p + 1e-5  # and not one more


@pytest.mark.parametrize("limits", [{}, dict(top_k=3), dict(top_p=0.5)])
def test_temperature_0_takes_the_most_likely_token(limits):
    logits = np.random.default_rng(2).normal(size=(20, 300)).astype(np.float32)
    token_B, _ = draw(
        jnp.asarray(logits), jnp.linspace(0, 0.999, 20), jnp.float32(0), vocab_size=300, **limits
    )
    np.testing.assert_array_equal(token_B, logits.argmax(-1))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("vocab_size", "limits"),
    [(5, {}), (256, {}), (700, {}), (5, {"top_k": 3}), (258, {"top_p": 0.9})],
)
def test_ids_behind_the_vocabulary_are_never_drawn_and_never_in_the_softmax(
    vocab_size, temperature, limits
):
    logits = np.random.default_rng(3).normal(size=(400, vocab_size + 3)).astype(np.float32)
    logits[:, vocab_size:] = 40.0
    # rounding reaches past some rows' end
    uniform_B = np.append(np.linspace(0, 0.999, 50), np.full(350, ALMOST_ONE)).astype(np.float32)
    token_B, logprob_B = draw(logits, uniform_B, temperature, vocab_size=vocab_size, **limits)
    assert int(token_B.max()) < vocab_size
    expected = [
        np.log(softmax(row[:vocab_size])[token])
        for row, token in zip(logits, np.asarray(token_B), strict=True)
    ]
    np.testing.assert_allclose(logprob_B, expected, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(0.1, 60),
    st.sampled_from([0.0, 1e-38, 0.5, float(ALMOST_ONE)]),
    st.sampled_from([0.05, 1.0]),
)
def test_a_token_of_no_probability_is_never_drawn(seed, spread, uniform, temperature):
    row = np.random.default_rng(seed).normal(size=700).astype(np.float32) * np.float32(spread)
    token = int(draw_row(row, uniform, temperature)[0][0])
    assert np.exp((row[token] - row.max()) / np.float32(temperature)) > 0


def draw_row(row: np.ndarray, uniform: float, temperature: float) -> tuple[jax.Array, jax.Array]:
    return draw(row[None], np.float32([uniform]), temperature, vocab_size=700)


def test_a_rise_by_rounding_where_the_weight_is_0_is_passed_over():
    weights = jnp.asarray([[0.5, 0.0, 0.5, 0.0]] * 2)
    cumulative = jnp.asarray([[0.5, 0.5000001, 1.0, 1.0000001]] * 2)
    np.testing.assert_array_equal(
        sampling._first_beyond(weights, cumulative, jnp.asarray([0.5, 1.0])), [2, 2]
    )


@pytest.mark.parametrize("uniform", [0.0, ALMOST_ONE])
def test_ends_of_the_unit_interval_give_the_first_and_last_possible_token(uniform):
    row = np.full(700, -np.inf, np.float32)
    row[[260, 300, 400]] = 0.1
    token = int(draw_row(row, uniform, 1.0)[0][0])
    assert token == (400 if uniform else 260)


@pytest.mark.parametrize("limits", [{}, dict(top_k=4), dict(top_p=0.8)])
def test_a_row_s_token_does_not_depend_on_the_batch(limits):
    logits = jnp.asarray(np.random.default_rng(4).normal(size=(12, 513)), jnp.float32)
    uniform_B = jnp.asarray(np.random.default_rng(5).random(12), jnp.float32)
    together, _ = draw(logits, uniform_B, 0.8, vocab_size=512, **limits)
    order = np.random.default_rng(6).permutation(12)[:7]
    some, _ = draw(logits[order], uniform_B[order], 0.8, vocab_size=512, **limits)
    np.testing.assert_array_equal(np.asarray(together)[order], some)


@pytest.mark.parametrize("limits", [{}, {"top_k": 5}, {"top_p": 0.8}])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_many_tokens_of_a_row_are_drawn_as_from_copies_of_it(limits, temperature):
    random = np.random.default_rng(8)
    logits_BV = jnp.asarray(random.normal(size=(4, 600)).astype(np.float32) * 3)
    row_Q = jnp.asarray(random.integers(0, 4, 50))
    uniform_Q = jnp.asarray(random.random(50), jnp.float32)
    given = {"vocab_size": 590, **limits}
    found = draw(logits_BV, uniform_Q, jnp.float32(temperature), row_Q, **given)
    expected = draw(logits_BV[row_Q], uniform_Q, jnp.float32(temperature), **given)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)


def test_logprob_is_the_model_s_own_whatever_the_temperature_and_limits():
    logits = np.random.default_rng(7).normal(size=40).astype(np.float32)
    for temperature, limits in ((0.0, {}), (0.3, {}), (1.5, {"top_k": 2}), (1.0, {"top_p": 0.3})):
        uniform_B = np.linspace(0, 0.999, 9, dtype=np.float32)
        token_B, logprob_B = draw(
            np.tile(logits, (9, 1)), uniform_B, temperature, vocab_size=40, **limits
        )
        assert len(set(np.asarray(token_B).tolist())) > 1 or temperature == 0
        np.testing.assert_allclose(
            logprob_B, np.log(softmax(logits))[np.asarray(token_B)], atol=1e-5
        )


def test_a_traced_temperature_does_not_compile_anew():
    traces = []

    @quick_jit
    def step(temperature: jax.Array) -> jax.Array:
        traces.append(1)
        return sampling.draw(jnp.zeros((2, 9)), jnp.asarray([0.1, 0.9]), temperature, vocab_size=8)[
            0
        ]

    for temperature in (0.0, 0.5, 1.0):
        step(jnp.float32(temperature))
    assert len(traces) == 1


def test_streams_of_seeds_problems_and_samples_share_nothing():
    problems = ["0123456789abcdef", "0123456789abcdee", "any text, né", ""]
    keys = {
        (s, p, j): sample_key(s, p, j).tobytes()
        for s in (0, 1, -1, 2**63)
        for p in problems
        for j in range(100)
    }
    assert len(set(keys.values())) == len(keys)
    # "1" and "1" + "0..." must not meet where the numbers end and the text begins
    assert (
        sample_key(1, "1 x", 1).tobytes()
        != sample_key(1, "x", 11).tobytes()
        != sample_key(11, "x", 1).tobytes()
    )
    key = sample_key(0, "x", 5)
    assert key.dtype == np.uint32 and key.shape == (2,)
    np.testing.assert_array_equal(key, sample_key(0, "x", np.int64(5)))


def test_uniforms_differ_by_token_and_sample_and_lie_in_the_unit_interval():
    keys = jnp.asarray(np.stack([sample_key(seed, "p", j) for seed in (0, 1) for j in range(50)]))
    rows = np.stack([uniforms(keys, t) for t in range(20)])
    assert len(np.unique(rows)) > 0.99 * rows.size  # 2000 of 2^23 numbers: hardly one pair meets
    assert rows.min() >= 0 and rows.max() < 1 and abs(rows.mean() - 0.5) < 0.03
    np.testing.assert_array_equal(uniforms(keys[30:31], 7)[0], rows[7, 30])
    np.testing.assert_array_equal(uniforms(keys, jnp.full(100, 7)), rows[7])  # a token number a row
    expected = jax.random.uniform(
        jax.random.fold_in(jax.random.wrap_key_data(keys[4], impl="threefry2x32"), 9)
    )
    assert rows[9, 4] == expected


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (dict(vocab_size=11), r"vocab_size 11 must lie in 1\.\.10"),
        (dict(vocab_size=9, top_p=0.0), "top_p is 0.0"),
        (dict(vocab_size=9, top_k=-1), "top_k"),
    ],
)
def test_limits_that_leave_nothing_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        draw(jnp.zeros((1, 10)), jnp.zeros(1), 1.0, **limits)


@pytest.mark.parametrize("temperature, limits", [(0.7, {}), (0.0, {}), (1.0, {"top_k": 2})])
def test_ranks_beside_draws(temperature, limits):
    """Those that are asked for by rank have it; the others are as if nobody had asked."""
    logits_BV = jax.random.normal(jax.random.key(3), (3, 50))
    uniform_Q, row_Q = jnp.linspace(0.05, 0.95, 8), jnp.array([0, 0, 0, 1, 1, 2, 2, 2])
    settings = dict(vocab_size=40, **limits)
    alone_Q, _ = sampling.draw(logits_BV, uniform_Q, temperature, row_Q, **settings)
    best_BV = np.argsort(-np.asarray(logits_BV)[:, :40], axis=-1)
    for rank_Q in ([0] * 8, [1, 0, 0, 1, 0, 0, 0, 1], [1, 2, 0, 20, 0, 7, 0, 3]):
        token_Q, _ = sampling.draw(
            logits_BV, uniform_Q, temperature, row_Q, jnp.array(rank_Q), **settings
        )
        for token, rank, row, alone in zip(token_Q, rank_Q, row_Q, alone_Q, strict=True):
            assert token == (best_BV[row, rank - 1] if rank else alone)


def test_positions_some_at_a_time_draw_what_all_at_once_do(monkeypatch):
    keys = jax.random.split(jax.random.key(0), 2)
    hidden_BTD = jax.random.normal(keys[0], (2, 7, 5))
    uniform_BT = jax.random.uniform(keys[1], (2, 7))

    def drawn():
        return sampling.draw_everywhere(lambda each: 3 * each, hidden_BTD, uniform_BT, vocab_size=4)

    token_BT, logprob_BT = drawn()
    assert len(np.unique(token_BT)) == 4
    monkeypatch.setattr(sampling, "MOST_LOGITS", 3 * 2 * 4)
    np.testing.assert_array_equal(drawn()[0], token_BT)
    np.testing.assert_allclose(drawn()[1], logprob_BT, rtol=1e-5)
    expected = jax.nn.log_softmax(3 * hidden_BTD[..., :4])
    np.testing.assert_allclose(
        logprob_BT, np.take_along_axis(expected, token_BT[..., None], -1)[..., 0], rtol=1e-5
    )
