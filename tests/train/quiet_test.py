"""The loss of thoughts: its start, its gradients, and what it is without thoughts."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.model import naive_thoughts
from verifier.config import ConfigError, QuietConfig, TrainConfig
from verifier.data.ahead import ahead_targets
from verifier.data.batches import Batch
from verifier.model.mixing import mix
from verifier.model.thoughts import Thoughts
from verifier.train import step as step_lib
from verifier.train.losses import lm, quiet

T, DRAWN, M, VOCAB = 5, 2, 2, 2
BINARY = QuietConfig(
    thought_tokens=DRAWN + 2,
    ahead=M,
    thoughts=2,
    clamp=False,
    reinforce_temperature=1.0,
    policy_weight=1.0,
)
TOKENS_T = np.array([0, 1, 1, 0, 1], np.int32)
LM_WEIGHT_T = np.array([1, 1, 1, 1, 0], np.float32)
ONE_LAYER = {"layers": 1, "sliding_window": None, "sliding_window_pattern": None}


def batch(rows: int, **targets) -> Batch:
    """So many rows of the same text."""
    made = {"lm_weight": LM_WEIGHT_T, "lm_target": np.roll(TOKENS_T, -1)}
    made |= ahead_targets(LM_WEIGHT_T, M)
    made = {key: np.stack([array] * rows) for key, array in made.items()} | targets
    tokens_BT = np.stack([TOKENS_T] * rows)
    order_BT = np.broadcast_to(np.arange(T, dtype=np.int32), (rows, T))
    return Batch(tokens_BT, order_BT, np.full((rows, T), T, np.int32), made)


@functools.cache
def thinker(dtype=jnp.float32):
    return naive_thoughts.thinker(dtype=dtype, **ONE_LAYER)


@functools.cache
def slopes(config: QuietConfig, dtype=jnp.float32):
    """Terms, and the gradient of each, of thoughts that are given."""
    graph, state = nnx.split(thinker(dtype))
    loss = quiet.loss(VOCAB, config)

    @jax.jit
    def of(state, batch, drawn_BTPI):
        def parts(state):
            model = nnx.merge(graph, state)
            model.draw = lambda *_, **__: Thoughts(drawn_BTPI, jnp.zeros(drawn_BTPI.shape))
            how = {"dropout": 0.0, "dropout_key": None, "remat": False}
            terms = loss.terms(model, batch, draw_key=jax.random.key(0), **how)
            return jnp.stack([terms[name].sum for name in loss.parts]), terms

        sums, pull, terms = jax.vjp(parts, state, has_aux=True)
        each = (pull(one)[0] for one in jnp.eye(len(sums)))
        return terms, dict(zip(loss.parts, each, strict=True))

    return functools.partial(of, state)


THOUGHTS = np.array(list(itertools.product(range(VOCAB), repeat=DRAWN)), np.int32)


@functools.cache
def one_by_one():
    """Of every thought that there is, at each position: its chance, its reward; and the slope of
    the expected reward, the reward of each thought being a number.
    """
    graph, state = nnx.split(thinker())
    drawn_TPI = np.broadcast_to(THOUGHTS, (T, *THOUGHTS.shape))
    rows_RS = naive_thoughts.written(TOKENS_T, drawn_TPI, M)
    C = DRAWN + 2 + M - 1

    def expected(state):
        model = nnx.merge(graph, state)
        base_TD, branch_TPCD = naive_thoughts.states(model, rows_RS, (T, len(THOUGHTS), C))

        def logprobs(hidden):
            return jax.nn.log_softmax(model.backbone.logits(hidden)[..., :VOCAB])

        own = jnp.take_along_axis(logprobs(branch_TPCD[:, :, :DRAWN]), drawn_TPI[..., None], -1)
        chance_TP = jnp.exp(own[..., 0].sum(axis=-1))
        reward_TP = jnp.zeros(chance_TP.shape)
        for t in range(T - M):
            for m in range(M):
                base_PD = jnp.broadcast_to(base_TD[t + m], branch_TPCD[t, :, 0].shape)
                thought_PD = branch_TPCD[t, :, DRAWN + 1 + m]
                weight_P1 = model.mixing(base_PD, thought_PD)[:, None]
                mixed_PD = (1 - weight_P1) * base_PD + weight_P1 * thought_PD
                gain_PV = logprobs(mixed_PD) - logprobs(base_PD)
                reward_TP = reward_TP.at[t].add(gain_PV[:, TOKENS_T[t + m + 1]])
        reward_TP = jax.lax.stop_gradient(reward_TP)
        return (chance_TP * reward_TP).sum(), (chance_TP, reward_TP)

    slope, (chance_TP, reward_TP) = jax.jit(jax.grad(expected, has_aux=True))(state)
    return np.asarray(chance_TP), np.asarray(reward_TP), slope


@pytest.mark.parametrize("config", [BINARY, dataclasses.replace(BINARY, baseline="none")])
def test_policy_gradient_is_that_of_all_thoughts_by_their_chances(config):
    """Of two thoughts the mean over both takes half of it."""
    chance_TP, reward_TP, slope = one_by_one()
    assert np.abs(reward_TP).max() > 0.01
    pairs = np.array(list(itertools.product(range(len(THOUGHTS)), repeat=2)))
    policy_BT = (chance_TP[:, pairs[:, 0]] * chance_TP[:, pairs[:, 1]]).T
    policy_BT = (policy_BT * ahead_targets(LM_WEIGHT_T, M)["policy_weight"]).astype(np.float32)
    drawn_BTPI = np.broadcast_to(THOUGHTS[pairs][:, None], (len(pairs), T, 2, DRAWN))
    terms, own = slopes(config)(batch(len(pairs), policy_weight=policy_BT), drawn_BTPI)
    share = -DRAWN / (0.5 if config.baseline == "thoughts" else 1.0)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(share * a, b, atol=2e-4), own["policy"], slope
    )
    np.testing.assert_allclose(terms["reward"].sum, (chance_TP * reward_TP).sum(), rtol=1e-3)


def test_the_policy_teaches_no_mixing_and_leaves_the_other_parts_alone():
    drawn_BTPI = np.broadcast_to(THOUGHTS[[0, 3]], (1, T, 2, DRAWN))
    _, own = slopes(BINARY)(batch(1), drawn_BTPI)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(own["policy"]["mixing"]))
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(own["policy"]["backbone"]))
    assert (np.asarray(own["talk"]["mixing"]["last"]["kernel"][...]) != 0).any()
    for part in ("mixing", "marks"):
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(own["lm"][part]))
    plain = lm.loss(VOCAB)
    graph, state = nnx.split(thinker().backbone)

    def alone(state):
        how = {"dropout": 0.0, "dropout_key": None, "remat": False}
        return plain.terms(nnx.merge(graph, state), batch(1), **how)["lm"].sum

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        jax.jit(jax.grad(alone))(state),
        own["lm"]["backbone"],
    )


@pytest.mark.parametrize(
    "mixing, dtype",
    [("hidden", jnp.float32), ("logprobs", jnp.float32), ("hidden", jnp.bfloat16)],
)
def test_at_the_start_thoughts_change_no_prediction_and_earn_nothing(mixing, dtype):
    model = nnx.clone(thinker(dtype))
    model.mixing.last.kernel[...] = jnp.zeros_like(model.mixing.last.kernel[...])
    config = dataclasses.replace(BINARY, mixing=mixing, baseline="none")
    how = {"dropout": 0.0, "dropout_key": None, "remat": False}
    loss = quiet.loss(VOCAB, config)
    terms = jax.jit(lambda key: loss.terms(model, batch(1), draw_key=key, **how))(jax.random.key(0))
    assert float(terms["reward"].sum) == float(terms["policy"].sum) == 0
    assert float(terms["mixing"].sum) == 0 < float(terms["entropy"].sum)
    base, thought = jax.random.normal(jax.random.key(0), (2, 3, 16))
    assert (mix(base, thought, model.mixing(base, thought)) == base).all()


def test_in_bfloat16_terms_and_slopes_are_float32_and_those_of_float32():
    """Activations alone are narrow: losses, rewards and what they teach parameters are not."""
    drawn_BTPI = np.broadcast_to(THOUGHTS[[0, 3]], (1, T, 2, DRAWN))
    (wide, wide_slopes), (narrow, narrow_slopes) = (
        slopes(BINARY, dtype)(batch(1), drawn_BTPI) for dtype in (jnp.float32, jnp.bfloat16)
    )
    for name, term in narrow.items():
        assert term.sum.dtype == jnp.float32
        np.testing.assert_allclose(term.sum, wide[name].sum, rtol=0.02, atol=0.02, err_msg=name)
    assert thinker(jnp.bfloat16).mixing(*jnp.ones((2, 1, 16), jnp.bfloat16)).dtype == jnp.float32
    for part, own in narrow_slopes.items():
        found, wanted = (
            np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(each)])
            for each in (own, wide_slopes[part])
        )
        assert found.dtype == np.float32
        cosine = found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted)
        assert cosine > 0.98, part


def test_mixed_states_are_the_mixture_of_log_probabilities_made_to_sum_to_one():
    model = thinker()
    base, thought = jax.random.normal(jax.random.key(1), (2, 3, 16))
    weight = jnp.array([-0.5, 0.3, 1.2])
    mixed = jax.nn.log_softmax(model.backbone.logits(mix(base, thought, weight)))
    each = [jax.nn.log_softmax(model.backbone.logits(state)) for state in (base, thought)]
    formula = (1 - weight[:, None]) * each[0] + weight[:, None] * each[1]
    np.testing.assert_allclose(mixed, jax.nn.log_softmax(formula), atol=1e-4)


def test_clipped_weights_learn_what_leads_inside():
    weight = jnp.array([-1.0, -1.0, 0.0, 0.0, 0.5, 1.0, 1.0])
    slope = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0])
    clipped, pull = jax.vjp(quiet._within_0_and_1, weight)
    assert clipped.tolist() == [0, 0, 0, 0, 0.5, 1, 1]
    assert pull(slope)[0].tolist() == [0, -1, 0, -1, 1, 1, 0]


def test_pauses_say_nothing_and_are_as_good_as_each_other():
    """As many tokens as a thought has, of an id that no text can hold: no draw, and no policy."""
    config = dataclasses.replace(BINARY, thought_source="pause", baseline="none")
    loss = quiet.loss(VOCAB, config)
    how = {"dropout": 0.0, "dropout_key": None, "remat": False}
    run = jax.jit(lambda key: loss.terms(thinker(), batch(1), draw_key=key, **how))
    terms, others = run(jax.random.key(0)), run(jax.random.key(1))
    assert "entropy" not in terms and float(terms["policy"].sum) == 0
    assert float(terms["reward"].sum) == float(others["reward"].sum) != 0
    drawn_BTPI = quiet.pauses(jnp.zeros((1, T), int), thoughts=2, drawn=DRAWN, vocab_size=VOCAB)
    told, own = slopes(BINARY)(batch(1), drawn_BTPI.tokens_BTPI)
    np.testing.assert_allclose(terms["talk"].sum, told["talk"].sum, rtol=1e-5)
    assert (np.asarray(own["talk"]["backbone"]["embed"][...])[VOCAB] != 0).any()


def test_advantages_of_a_position_sum_to_zero_before_they_are_clamped():
    reward_BTP = jax.random.normal(jax.random.key(0), (2, 3, 4))
    own = quiet.advantage(reward_BTP, BINARY)
    np.testing.assert_allclose(own.sum(axis=2), 0, atol=1e-5)
    clamped = quiet.advantage(reward_BTP, dataclasses.replace(BINARY, clamp=True))
    np.testing.assert_array_equal(clamped, np.maximum(own, 0))
    raw = dataclasses.replace(BINARY, baseline="none")
    np.testing.assert_array_equal(quiet.advantage(reward_BTP, raw), reward_BTP)
    alike = jnp.ones((1, 2, 3))
    assert (quiet.advantage(alike, BINARY) == 0).all()


def trained(model, loss, steps=2):
    """Parameters, numbers and held-out terms after some steps of a job."""
    graph, params, rest = step_lib.split_model(model)
    config = TrainConfig(learning_rate=0.01, weight_decay=0.0, clip_norm=1.0, dropout=0.0)
    programs, update = step_lib.compile_steps((graph, rest), loss, config, 4, 0, "job")
    state = step_lib.first_state(jax.tree.map(jnp.copy, params), update)
    for _ in range(steps):
        state, numbers = programs.step(state, batch(2))
    return state.params, numbers, programs.evaluate(state.params, batch(2))


def test_without_thoughts_it_is_plain_training():
    quiet_params, numbers, held = trained(
        thinker(), quiet.loss(VOCAB, QuietConfig(thought_tokens=0))
    )
    params, plain_numbers, plain_held = trained(thinker().backbone, lm.loss(VOCAB))
    jax.tree.map(np.testing.assert_array_equal, quiet_params["backbone"], params)
    assert numbers["loss"] == plain_numbers["loss"]
    assert held["lm"].sum == plain_held["lm"].sum


def test_a_job_draws_by_its_seed():
    loss = quiet.loss(VOCAB, dataclasses.replace(BINARY, policy_weight=10.0))
    first, numbers, held = trained(thinker(), loss)
    again, same, held_same = trained(thinker(), loss)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert numbers["loss"] == same["loss"] and held["reward"].sum == held_same["reward"].sum
    assert (np.asarray(first["marks"][...]) != np.asarray(thinker().marks[...])).all()


@pytest.mark.parametrize(
    ("knobs", "context", "message"),
    [
        ({"thought_tokens": 1}, None, "thought_tokens=1 has no room"),
        ({"thoughts": 1}, None, "baseline=none"),
        ({"tokens": 256}, 270, "takes 271 positions, more than the model's context of 270"),
        ({"tokens": 4}, None, "quiet.ahead=4 in windows of quiet.tokens=4: no position"),
    ],
)
def test_thoughts_that_cannot_be_are_refused(knobs, context, message):
    with pytest.raises(ConfigError, match=message):
        quiet.check(QuietConfig(**knobs), context)


def test_the_longest_look_ahead_that_a_window_has_room_for_is_rewarded_once():
    config = QuietConfig(tokens=T, ahead=T - 1)
    quiet.check(config, T + config.thought_tokens + config.ahead - 1)
    assert ahead_targets(LM_WEIGHT_T, config.ahead)["policy_weight"].tolist() == [1, 0, 0, 0, 0]


def test_weights_ahead():
    own = ahead_targets(np.array([0, 1, 1, 1, 0], np.float32), 2)
    assert own["ahead_weight"].tolist() == [[0, 0], [1, 1], [1, 1], [1, 0], [0, 0]]
    assert own["policy_weight"].tolist() == [0, 1, 1, 0, 0]
