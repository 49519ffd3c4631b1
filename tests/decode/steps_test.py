"""The device's verbs: frames that are equal compile once; replacing writes where it is told to."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from tests.decode import fakes
from verifier.decode import steps


def begun(scripts: list[list[int]]) -> tuple[steps.DecodeStatic, steps.Weights, steps.DecodeState, steps.Drawn]:
    """Two problems, three samples each, the first tokens drawn."""
    frame, weights = steps.take_apart(fakes.Scripted(scripts, 12))
    static = steps.DecodeStatic(frame, 11, top_k=0, top_p=1.0)
    prefix, hidden_PD = steps.prefill(static, weights, jnp.array([[0, 0], [1, 0]]), jnp.array([2, 1]))
    state, drawn = steps.start(static, weights, prefix, hidden_PD, jnp.zeros((2, 3, 2), jnp.uint32), jnp.float32(0), 4)
    return static, weights, state, drawn


def test_models_of_the_same_shape_share_what_is_compiled() -> None:
    first, second = (steps.take_apart(fakes.Scripted([[n]], 12))[0] for n in range(2))
    other = steps.take_apart(fakes.Scripted([[0]], 13))[0]
    assert first == second and hash(first) == hash(second) and first is not second
    assert first != other


def test_drawn_forced_and_replaced_tokens_stand_where_they_should() -> None:
    static, weights, state, drawn = begun([[4, 5, 6], [7, 8, 9]])
    assert drawn.token_PJ.tolist() == [[4] * 3, [7] * 3]
    state, drawn = steps.generate(static, weights, state, jnp.full((2, 3), -1).at[1, 2].set(3), jnp.float32(0))
    assert drawn.token_PJ.tolist() == [[5] * 3, [8, 8, 3]]
    before = np.asarray(drawn.logprob_PJ)
    state, drawn = steps.replace(static, weights, state, jnp.full((2, 3), -1).at[0, 0].set(10))
    assert state.token_PJ.tolist() == drawn.token_PJ.tolist() == [[10, 5, 5], [8, 8, 3]]
    np.testing.assert_allclose(drawn.logprob_PJ, before + [[fakes.MISS, 0, 0], [0, 0, 0]], rtol=1e-6)
    assert int(state.cache.length) == 1  # the newest token is not read yet


def test_a_grown_state_goes_on_as_before() -> None:
    static, weights, state, _ = begun([[4, 5, 6], [7, 8, 9]])
    state = steps.grow(state, 8)
    assert state.cache.capacity == 8
    _, drawn = steps.generate(static, weights, state, jnp.full((2, 3), -1), jnp.float32(0))
    assert drawn.token_PJ.tolist() == [[5] * 3, [8] * 3]
