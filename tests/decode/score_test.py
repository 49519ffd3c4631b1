"""Scoring: equal to reading every sample alone and uncached, blind to batches, order and
padding.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests import operands
from verifier.config import ScoreConfig
from verifier.decode import score, score_rows
from verifier.model import view
from verifier.model.arch import Arch
from verifier.model.heads import LinearHead, ReservedLogitHead, Verifier
from verifier.model.transformer import Transformer

VOCAB = 40


@functools.cache
def verifier(head: str = "reserved_logit", positions: str = "rotary") -> Verifier:
    arch = Arch(
        VOCAB + 1,
        layers=2,
        width=32,
        heads=4,
        kv_heads=2,
        head_width=8,
        mlp_width=64,
        context=128,
        positions=positions,
    )
    heads = {"reserved_logit": lambda: ReservedLogitHead(VOCAB), "linear": lambda: LinearHead(32)}
    made = Verifier(Transformer(arch, rngs=nnx.Rngs(0)), heads[head]())
    # Fresh heads may start at zero; trained ones do not.
    graph, state = nnx.split(made)
    for path, leaf in nnx.to_flat_state(state):
        if path[0] == "head":
            leaf.set_value(leaf[...] + 0.3)
    return nnx.merge(graph, state)


def problems() -> list[score_rows.Solutions]:
    rng = np.random.default_rng(0)
    sizes = {
        "a": (5, [3, 40, 1, 33, 12]),
        "b": (37, [8, 2]),
        "c": (1, [45]),
        "d": (33, [7] * 9),
        "none": (4, []),
    }
    return [
        score_rows.Solutions(
            name,
            rng.integers(0, VOCAB, prompt).tolist(),
            [10 * j for j in range(len(lengths))][::-1],
            [rng.integers(0, VOCAB, length).tolist() for length in lengths],
        )
        for name, (prompt, lengths) in sizes.items()
    ]


def scored(
    rows: int = 8, given: list[score_rows.Solutions] | None = None, value_loss: str = "mse", **made
) -> dict:
    config = ScoreConfig(rows=rows)
    lists = list(
        score.score_samples(
            verifier(**made), problems() if given is None else given, config, "mine", value_loss
        )
    )
    assert all(len({row["problem_id"] for row in rows}) == 1 for rows in lists)
    assert all(
        [row["sample_id"] for row in rows] == sorted(row["sample_id"] for row in rows)
        for rows in lists
    )
    return {(row["problem_id"], row["sample_id"]): row for rows in lists for row in rows}


@nnx.jit
def naive(model: Verifier, tokens_T: jnp.ndarray) -> jnp.ndarray:
    """The values of one row, read from its start."""
    place_T = jnp.arange(len(tokens_T))
    return model.values(model.backbone.hidden(tokens_T[None], place_T[None], None))[0]


@pytest.mark.parametrize("made", [{}, {"head": "linear", "positions": "learned"}])
def test_scores_equal_every_sample_read_alone_and_uncached(made: dict) -> None:
    found = scored(**made)
    model = verifier(**made)
    assert len(found) == sum(len(problem.tokens) for problem in problems()) == 17
    for problem in problems():
        for sample_id, tokens in list(zip(problem.sample_ids, problem.tokens, strict=True))[:4]:
            row = found[problem.problem_id, sample_id]
            whole = list(problem.prompt) + tokens
            expected = naive(model, jnp.array(whole + [0] * (128 - len(whole))))[
                len(problem.prompt) : len(whole)
            ]
            assert len(row["token_scores"]) == len(tokens) and row["verifier"] == "mine"
            np.testing.assert_allclose(row["token_scores"], expected, atol=1e-4)
            assert row["score"] == row["token_scores"][-1]
    # values that all agree would show nothing
    assert np.std([row["score"] for row in found.values()]) > 1e-2


@pytest.mark.parametrize("rows", [1, 100])
def test_scores_depend_on_no_batch_order_or_company(rows: int) -> None:
    expected = scored()
    for found in (scored(rows), scored(rows, problems()[::-1]), scored(rows, problems()[1:2])):
        assert len(found) in (17, 2)
        for key, row in found.items():
            np.testing.assert_allclose(
                row["token_scores"], expected[key]["token_scores"], atol=1e-5
            )


def test_values_of_cross_entropy_heads_come_as_probabilities() -> None:
    logits, shares = scored(), scored(value_loss="bce")
    for key, row in shares.items():
        np.testing.assert_allclose(
            row["token_scores"], 1 / (1 + np.exp(-np.array(logits[key]["token_scores"]))), atol=1e-5
        )


def compiled() -> int:
    return score.read_rows._cache_size()


def test_a_group_compiles_once_however_many_its_calls() -> None:
    rng = np.random.default_rng(1)

    def letters(length: int) -> list[int]:
        return rng.integers(0, VOCAB, length).tolist()

    many = [
        score_rows.Solutions(
            f"p{n}", letters(2 + n), range(7), [letters(3 + 2 * j) for j in range(7)]
        )
        for n in range(9)
    ]
    before = compiled()
    found = scored(3, many)
    assert len(found) == 63 and compiled() - before == 1
    scored(3, [dataclasses.replace(each, tokens=each.tokens[::-1]) for each in many[::-1]])
    assert compiled() - before == 1
    alone = scored(3, many[7:8])
    for key, row in alone.items():
        np.testing.assert_allclose(row["token_scores"], found[key]["token_scores"], atol=1e-5)


def test_long_prompts_do_not_pad_a_whole_room_of_short_ones() -> None:
    """Three long prompts take in as many short ones as fill a group; all others are padded to their
    own room.
    """
    lengths = [500] * 3 + [250] * 40
    given = [
        score_rows.Solutions(f"p{n}", [1] * length, [0], [[1]]) for n, length in enumerate(lengths)
    ]
    groups = list(score_rows.groups(given, 16))
    assert [len(group) for group in groups] == [16, 27] and {len(p.prompt) for p in groups[1]} == {
        250
    }


def test_nearly_all_that_is_read_is_real() -> None:
    """8 problems x 100 solutions of the lengths that GSM8K's have."""
    rng = np.random.default_rng(0)
    lengths_PJ = np.clip(rng.lognormal(4.8, 0.45, (8, 100)), 20, 400).astype(int)
    group = [
        score_rows.Solutions(f"p{n}", [1] * 80, range(100), [[1] * each for each in row])
        for n, row in enumerate(lengths_PJ)
    ]
    for n, problem in enumerate(group):  # nothing is shared but the prompts
        for j, tokens in enumerate(problem.tokens):
            tokens[0] = j + 1
        problem.prompt[0] = n
    layout = score_rows.layout_of(group, ScoreConfig().rows, 2048, 1)
    rows = list(score_rows.rows_of(group, layout.row_tokens))
    assert sorted((tree.problem, j) for row in rows for tree in row for j in tree.samples) == list(
        np.ndindex(8, 100)
    )
    calls = -(-len(rows) // layout.at_once)
    assert lengths_PJ.sum() / (calls * layout.at_once * layout.row_tokens) >= 0.9


@pytest.mark.parametrize("longest", [200, 2000, 4000])
def test_rows_of_long_texts_gather_a_bounded_number_of_keys(longest) -> None:
    solutions = np.zeros((600, longest - 20), np.int32)
    solutions[:, 0] = range(600)
    group = [score_rows.Solutions("p", [1] * 20, range(600), solutions)]
    layout = score_rows.layout_of(group, 16, 2**15, 1)
    keys = layout.row_tokens // view.BLOCK * (view.BLOCK + layout.depth)
    assert layout.depth >= longest
    assert keys <= score_rows.MOST_KEYS or layout.row_tokens == layout.depth  # not read in blocks


def test_a_call_is_sent_before_the_last_one_is_waited_for() -> None:
    events = []

    class Values:
        def __init__(self, n: int):
            self.n = n
            events.append(f"send {n}")

        def __array__(self, *_: object, **__: object) -> np.ndarray:
            events.append(f"wait {self.n}")
            return np.zeros(1)

    assert [call for call, _ in score._one_behind((n, Values(n)) for n in range(3))] == [0, 1, 2]
    assert events == ["send 0", "send 1", "wait 0", "send 2", "wait 1", "wait 2"]


def test_bfloat16_matrices_are_cast_once_and_say_the_same() -> None:
    arch = Arch(
        VOCAB + 1, layers=2, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=64, context=128
    )
    model = Verifier(
        Transformer(arch, rngs=nnx.Rngs(0), dtype=jnp.bfloat16), ReservedLogitHead(VOCAB)
    )
    on_device = score._on_device(model, "mse", None)
    leaves = jax.tree.leaves(on_device.weights)
    assert {leaf.dtype for leaf in leaves if leaf.ndim >= 2} == {jnp.dtype(jnp.bfloat16)}
    # of norms and the head, used in float32
    assert {leaf.dtype for leaf in leaves if leaf.ndim < 2} == {jnp.dtype(jnp.float32)}
    wide = on_device._replace(weights=nnx.split(model)[1])
    one, other = (
        [
            row["token_scores"]
            for rows in score._score(each, problems()[:2], 4, "", ())
            for row in rows
        ]
        for each in (on_device, wide)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_all_products_of_a_reading_are_of_narrow_numbers_summed_in_float32() -> None:
    arch = Arch(
        VOCAB + 1, layers=2, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=64, context=128
    )
    model = Verifier(Transformer(arch, rngs=nnx.Rngs(0), dtype=jnp.bfloat16), LinearHead(32))
    graph, weights = nnx.split(model)
    tokens, length = jnp.zeros((2, 8), jnp.int32), jnp.full(2, 8)

    def read(weights: nnx.State) -> tuple[Any, ...]:
        verifier = nnx.merge(graph, weights)
        hidden, prefix = verifier.backbone.prefill(tokens, length)
        logits = verifier.backbone.logits(hidden)
        return verifier.values(hidden), logits, prefix

    assert operands.of_products(read, weights) == {("bfloat16", "bfloat16", "float32")}


def test_a_restart_gives_the_scores_that_were_left_bit_for_bit() -> None:
    given = problems()
    whole = list(score.score_samples(verifier(), given, ScoreConfig(rows=3), "mine", "mse"))
    for done in (whole[:1], whole[1:3], whole[:-1]):
        stored = {rows[0]["problem_id"] for rows in done}
        again = list(
            score.score_samples(verifier(), given, ScoreConfig(rows=3), "mine", "mse", None, stored)
        )
        assert again == [rows for rows in whole if rows not in done]


def test_what_cannot_be_read_is_refused_by_name() -> None:
    first = problems()[0]
    too_long = dataclasses.replace(first, tokens=[[1] * 124] * 5)
    bad = {
        "Problem a has an empty prompt or solution": dataclasses.replace(first, prompt=[]),
        "Problem a has an empty": dataclasses.replace(first, tokens=[[]] * 5),
        "Problem a: prompt and solution have 129 tokens, but the context is 128": too_long,
    }
    for message, problem in bad.items():
        with pytest.raises(ValueError, match=message):
            score.score_samples(verifier(), [problem], ScoreConfig(), "mine", "mse")
    scored(
        given=[
            dataclasses.replace(first, tokens=[[1] * 123] * 5),
            score_rows.Solutions("nothing to read", [1] * 200, [], []),
        ]
    )
