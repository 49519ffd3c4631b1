"""Steps on the device: equal models compile once; rows start, wait, hold back and end."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests.decode import fakes
from verifier.decode import split_model, steps
from verifier.decode import state as state_lib
from verifier.model.arch import Arch
from verifier.model.cache import CacheIndices
from verifier.model.transformer import Transformer

VOCAB, END, ROWS, LANES = 11, 10, 3, 24
SCRIPTS = [[4, 5, 6, 4, END], [7, 8, 9, 7, 8]]


def test_models_of_the_same_shape_share_what_is_compiled() -> None:
    first, second = (split_model.split(fakes.Scripted([[n]], 12), VOCAB)[0] for n in range(2))
    other = split_model.split(fakes.Scripted([[0]], 13), VOCAB)[0]
    assert first is second
    assert first != other


def test_a_model_that_is_made_ready_is_cut_cast_and_shared() -> None:
    arch = Arch(
        16,
        layers=1,
        width=8,
        heads=2,
        kv_heads=1,
        head_width=4,
        mlp_width=8,
        context=16,
        tied=False,
    )
    model = Transformer(arch, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
    norm = np.asarray(model.final_norm.scale[...])
    before = split_model.split(model, VOCAB)[1]
    split_model.make_ready(model, VOCAB)
    assert (
        model.embed[...].shape == model.unembed[...].shape == (VOCAB, 8)
        and model.embed[...].dtype == jnp.bfloat16
    )
    assert (
        model.final_norm.scale[...].dtype == jnp.float32
        and (model.final_norm.scale[...] == norm).all()
    )
    after = split_model.split(model, VOCAB)[1]
    assert all((one == other).all() for one, other in zip(before, after, strict=True))
    assert any(leaf is model.embed[...] for leaf in after)


class Desk:
    """Three rows: one of script 0, two of script 1.

    Token 5 is one to wait at, token 8 one to hold back.
    """

    def __init__(self, limit: int = 9) -> None:
        graphdef, self.weights = split_model.split(fakes.Scripted(SCRIPTS, 12), VOCAB)
        self.static = state_lib.DecodeStatic(graphdef, VOCAB, END, top_k=0, top_p=1.0)
        tokens = np.array([[0, 0], [1, 0]], np.int32)
        self.state = state_lib.empty_state(
            self.static,
            self.weights,
            state_lib.Sizes(ROWS, lanes=LANES, pages=2, prompts=2, prompt_tokens=2),
        )
        self.state = steps.prefill(
            self.static, self.weights, self.state, tokens, np.array([2, 1]), np.array([0, 1])
        )
        blocks = jnp.array([[0, 3], [1, 2]]), None
        pages = (
            jnp.arange(5).at[3:].set(ROWS),
            jnp.full((ROWS, 2), 5).at[:, 0].set(jnp.arange(ROWS)),
        )
        self.indices = CacheIndices(jnp.array([0, 1, 1]), jnp.array([0, 2, 3]), *blocks, *pages)
        events = np.zeros((3, VOCAB), np.uint8)
        events[:, 5], events[:, 8] = steps.WAIT, steps.HOLD
        self.watch = steps.Watch(jnp.asarray(events), jnp.zeros((3, VOCAB), jnp.uint8))
        self.limit, self.column = limit, 0
        self.temperature, self.follow = (
            0.0,
            [0, 1, 2, *[ROWS] * (LANES - 3)],
        )  # the row of each lane

    def step(
        self, start: str = "", go: str = "", forced: dict[int, int] | None = None
    ) -> list[str]:
        """What became of each row: its token, `!` where the host must look, brackets where it is
        not written, `-` for nothing at all.
        """
        starts_B = np.array([str(row) in start for row in range(ROWS)])
        orders = steps.Orders(
            start_B=starts_B,
            from_B=np.zeros(ROWS, np.int32),
            where_B=np.zeros(ROWS, np.uint8),
            copied_B=np.zeros(ROWS, bool),
            go_B=np.array([str(row) in go for row in range(ROWS)]),
            forced_B=np.array([(forced or {}).get(row, -1) for row in range(ROWS)], np.int32),
            row_Q=np.array(self.follow, np.int32),
            joins_Q=np.append(starts_B, False)[self.follow],
            rank_Q=np.zeros(LANES, np.int32),
            keys_Q2=np.arange(2 * LANES, dtype=np.uint32).reshape(LANES, 2),
            column=np.int32(self.column),
            limit_B=np.full(ROWS, self.limit, np.int32),
            temperature=np.float32(self.temperature),
        )
        self.state, drawn = steps.generate(
            self.static, self.weights, self.state, self.indices, orders, self.watch
        )
        self.column += 1
        self.logprob_B, self.drawn = np.asarray(drawn.logprob_B), drawn
        shown = []
        for token, written, look in zip(
            drawn.token_B.tolist(), drawn.written_B.tolist(), drawn.look_B.tolist(), strict=True
        ):
            text = f"{token}!" if look else f"{token}"
            shown.append(text if written else f"({text})" if look else "-")
        return shown


def test_rows_start_when_they_are_told_to_and_follow_their_own_prompt() -> None:
    desk = Desk()
    assert desk.step(start="0") == ["4", "-", "-"]
    assert desk.step(start="2") == ["5!", "-", "7"]
    assert desk.state.written_B.tolist() == [2, 0, 1]


def test_a_row_waits_after_one_token_and_holds_another_back_while_others_go_on() -> None:
    desk = Desk()
    assert desk.step(start="01") == ["4", "7", "-"]
    assert desk.step(start="2") == ["5!", "(8!)", "7"]
    assert desk.step() == ["-", "-", "(8!)"]
    assert desk.step(go="0") == ["6", "-", "-"]
    assert desk.step(go="1", forced={1: 8}) == ["4", "8", "-"]  # as the model wanted it
    assert desk.step(go="2", forced={2: 3}) == ["10", "9", "3"]  # another one in its place
    assert desk.step() == ["-", "7", "9"]
    assert desk.state.written_B.tolist() == [5, 4, 3]


def test_forced_tokens_are_written_and_carry_the_models_own_logprob() -> None:
    desk = Desk()
    desk.step(start="01")
    free = desk.logprob_B.copy()
    # what the host writes, it need not look at
    assert desk.step(forced={0: 8, 1: 5}) == ["8", "5", "-"]
    np.testing.assert_allclose(desk.logprob_B[:2], free[:2] + fakes.MISS, rtol=1e-6)


def test_rows_end_with_the_end_token_and_at_the_limit_and_start_anew() -> None:
    desk = Desk(limit=3)
    desk.step(start="0", forced={0: END})
    assert desk.step(start="2") == ["-", "-", "7"]
    assert desk.step(forced={2: 7}) == ["-", "-", "7"]
    assert desk.step() == ["-", "-", "9"]
    assert desk.step() == ["-", "-", "-"]
    assert desk.step(start="2") == ["-", "-", "7"] and desk.state.written_B.tolist()[2] == 1


def test_fewer_rows_go_on_as_before() -> None:
    desk = Desk()
    desk.step(start="02")
    hidden_BD = np.asarray(desk.state.hidden_BD)
    state = state_lib.take_rows(desk.state, np.array([2, 0]))
    assert (
        state.written_B.tolist() == [1, 1]
        and len(state.cache.newest.position_NW) == len(state.cache.pages.position_NW) == 2
    )
    np.testing.assert_array_equal(state.hidden_BD, hidden_BD[[2, 0]])


def test_a_row_goes_on_with_its_first_lane_and_lanes_that_draw_something_else_leave_it() -> None:
    desk = Desk()
    desk.temperature, desk.follow = 100.0, [*[0] * (LANES - 1), 2]
    token = desk.step(start="02")[0]
    token_Q, follows_Q = (np.asarray(each) for each in (desk.drawn.token_Q, desk.drawn.follows_Q))
    assert token == str(token_Q[0])
    assert follows_Q.tolist() == [*(token_Q[:-1] == token_Q[0]).tolist(), True]
    # The next step's token is that of the first lane that is still there.
    desk.follow[0] = ROWS
    others = np.flatnonzero(follows_Q[1:-1]) + 1
    assert 0 < len(others) < LANES - 2
    assert desk.step()[0].strip("(!)") == str(np.asarray(desk.drawn.token_Q)[others[0]])


def test_lanes_that_hold_back_stay_together_until_the_host_says_what_is_written() -> None:
    desk = Desk()
    desk.watch = desk.watch._replace(event_3V=jnp.full((3, VOCAB), steps.HOLD, jnp.uint8))
    desk.temperature, desk.follow = 100.0, [0] * LANES
    assert desk.step(start="0")[0].startswith("(")
    assert len(set(np.asarray(desk.drawn.token_Q).tolist())) > 1
    assert np.asarray(desk.drawn.follows_Q).all()
    assert desk.step(go="0", forced={0: 3}) == ["3", "-", "-"]
    assert np.asarray(desk.drawn.follows_Q).all()
