"""Thoughts at every token at once against thoughts one by one."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.model import naive_thoughts
from verifier.errors import ConfigError
from verifier.model import thought_attention
from verifier.model.arch import Arch
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer

P, DRAWN, M = 2, 2, 3
C = DRAWN + 2 + M - 1
VOCAB = 13
ONE_LAYER = {"positions": "learned", "layers": 1, "sliding_window_pattern": None}
LENGTHS = (5, 3)  # of the texts in a row, behind which one token is padding
T = sum(LENGTHS) + 1


def packed(tokens_T):
    """The row of both texts: tokens, positions and ends."""
    positions_T, ends_T, first = np.zeros((2, T), np.int32), None, 0
    positions_T, ends_T = positions_T
    for length in LENGTHS:
        positions_T[first : first + length] = np.arange(length)
        ends_T[first : first + length] = first + length
        first += length
    return tuple(jnp.asarray(part)[None] for part in (tokens_T, positions_T, ends_T))


def texts(seed=0):
    rng = np.random.default_rng(seed)
    tokens_T = rng.integers(0, VOCAB, T).astype(np.int32)
    return tokens_T, rng.integers(0, VOCAB, (T, P, DRAWN)).astype(np.int32)


@functools.cache
def programs(**sizes):
    """`read` and `draw` of a model, compiled once."""
    model = naive_thoughts.thinker(**sizes)
    graph, state = nnx.split(model)

    @jax.jit
    def read(state, row, drawn_TPI):
        return nnx.merge(graph, state).read(row, drawn_TPI[None], ahead=M)

    @jax.jit
    def draw(state, row, key):
        how = {"thoughts": P, "drawn": DRAWN, "vocab_size": VOCAB}
        return nnx.merge(graph, state).draw(row, key, **how)

    return model, functools.partial(read, state), functools.partial(draw, state)


@pytest.mark.parametrize("sizes", [{}, ONE_LAYER])
def test_parallel_is_one_by_one(sizes):
    model, read, _ = programs(**sizes)
    tokens_T, drawn_TPI = texts()
    found, first = read(packed(tokens_T), drawn_TPI), 0
    for length in LENGTHS:
        own = slice(first, first + length)
        rows_RS = naive_thoughts.written(tokens_T[own], drawn_TPI[own], M)
        text_TD, branch_TPCD = naive_thoughts.states(model, rows_RS, (length, P, C))
        np.testing.assert_allclose(found.text_BTD[0, own], text_TD, atol=1e-4)
        for t in range(length):
            known = min(C, C - M + length - t)  # what follows the text's end may be anything
            np.testing.assert_allclose(
                found.branch_BTPCD[0, first + t, :, :known], branch_TPCD[t, :, :known], atol=1e-4
            )
        first += length


def test_what_is_drawn_has_the_chances_that_one_by_one_gives_it():
    model, _, draw = programs()
    tokens_T, _ = texts()
    drawn = draw(packed(tokens_T), jax.random.key(0))
    own = slice(0, LENGTHS[0])
    tokens_TPI = np.asarray(drawn.tokens_BTPI[0, own])
    assert tokens_TPI.max() < VOCAB and len(np.unique(tokens_TPI)) > 3
    rows_RS = naive_thoughts.written(tokens_T[own], tokens_TPI, M)
    _, branch_TPCD = naive_thoughts.states(model, rows_RS, (LENGTHS[0], P, C))
    logits = model.backbone.logits(branch_TPCD[:, :, :DRAWN])[..., :VOCAB]
    expected = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens_TPI[..., None], -1)[..., 0]
    np.testing.assert_allclose(drawn.logprob_BTPI[0, own], expected, atol=1e-4)


def test_what_is_drawn_depends_on_the_text_before_alone():
    _, _, draw = programs()
    tokens_T, _ = texts()
    first = np.asarray(draw(packed(tokens_T), jax.random.key(1)).tokens_BTPI)[0]
    for changed in (3, 6):
        other_T = tokens_T.copy()
        other_T[changed] = (other_T[changed] + 1) % VOCAB
        second = np.asarray(draw(packed(other_T), jax.random.key(1)).tokens_BTPI)[0]
        same_T = (first == second).all(axis=(1, 2))
        end = sum(LENGTHS[: 1 if changed < LENGTHS[0] else 2])
        assert same_T[:changed].all() and same_T[end:].all()
    assert (first != np.asarray(draw(packed(tokens_T), jax.random.key(2)).tokens_BTPI)[0]).any()


def test_with_a_key_a_row_no_row_moves_another():
    model, _, draw = programs(**ONE_LAYER)
    tokens_2T = np.stack([texts(0)[0], texts(1)[0]])
    keys_2 = jax.random.split(jax.random.key(3))
    rows = [packed(tokens_T) for tokens_T in tokens_2T]
    both = draw(tuple(jnp.concatenate(parts) for parts in zip(*rows, strict=True)), keys_2)
    for row, one in enumerate(rows):
        alone = draw(one, keys_2[row : row + 1])
        np.testing.assert_array_equal(both.tokens_BTPI[row], alone.tokens_BTPI[0])
    other = draw(rows[0], keys_2[1:])
    assert (other.tokens_BTPI[0] != both.tokens_BTPI[0]).any()


def test_no_thought_moves_another_and_the_future_none():
    """Every token is an id of its own, so the gradient of the embedding says who is seen."""
    model, _, _ = programs()
    graph, state = nnx.split(model)
    length, own = 4, 6
    tokens_T = np.arange(length, dtype=np.int32)
    drawn_TPI = (length + np.arange(length * P * DRAWN, dtype=np.int32)).reshape(length, P, DRAWN)
    row = tuple(
        jnp.asarray(part, jnp.int32)[None] for part in (tokens_T, tokens_T, [length] * length)
    )
    look = jax.random.normal(jax.random.key(0), (own, model.backbone.arch.width))

    @jax.jit
    def slopes(t, p, c):
        def seen_by(state):
            found = nnx.merge(graph, state).read(row, drawn_TPI[None], ahead=M)
            return (found.branch_BTPCD[0, t, p, c] * look[0]).sum()

        return jax.grad(seen_by)(state)["backbone"]["embed"][...]

    for t, p, c in ((1, 0, 0), (1, 1, 2), (2, 0, 3), (0, 1, C - 1)):
        moving = set(np.flatnonzero(np.abs(np.asarray(slopes(t, p, c))).sum(axis=1)))
        text = set(range(max(0, t + 1), min(t + 1 + max(0, c - DRAWN - 1), length)))
        expected = set(range(t + 1)) | set(drawn_TPI[t, p, : min(c, DRAWN)].tolist()) | text
        assert moving == expected, (t, p, c)


@pytest.mark.parametrize("window", [None, 3])
def test_scores_of_some_positions_at_a_time_change_nothing(monkeypatch, window):
    keys = iter(jax.random.split(jax.random.key(0), 5))
    query = jax.random.normal(next(keys), (2, 7, P, 3, 4, 8))
    own = [jax.random.normal(next(keys), (2, 7, P, 3, 2, 8)) for _ in range(2)]
    text = [jax.random.normal(next(keys), (2, 2, 7, 8)) for _ in range(2)]
    order = jnp.broadcast_to(jnp.arange(7), (2, 7))

    def read(query, own, text):
        of_text = thought_attention.Text(*text, order, jnp.full((2, 7), 7))
        depth_C = jnp.arange(1, 4)
        mixed = thought_attention.attend(
            query, thought_attention.Own(*own), of_text, depth_C, window
        )
        return (mixed**2).sum()

    found = []
    for scores in (2**20, 2**10, 1):
        monkeypatch.setattr(thought_attention, "_SCORES", scores)
        found.append(jax.jit(jax.value_and_grad(read, argnums=(0, 1, 2)))(query, own, text))
    for other in found[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found[0], other
        )


def test_what_is_computed_again_going_backward_has_the_same_slopes():
    model, _, _ = programs(**ONE_LAYER)
    graph, state = nnx.split(model)
    tokens_T, drawn_TPI = texts()

    def slope(remat):
        def total(state):
            how = {"dropout": 0.5, "dropout_key": jax.random.key(0), "remat": remat}
            row = packed(tokens_T)
            found = nnx.merge(graph, state).read(row, drawn_TPI[None], ahead=M, **how)
            return sum((jnp.sin(each) ** 2).sum() for each in found)

        return jax.jit(jax.grad(total))(state)

    kept, again = slope(False), slope(True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), kept, again)
    assert (kept["marks"][...] != 0).all()


def test_marks_start_from_a_token_or_from_the_mean_of_all():
    backbone = programs()[0].backbone
    for like_id, expected in ((3, backbone.embed[...][3]), (None, backbone.embed[...].mean(0))):
        made = Thinker(backbone, rngs=nnx.Rngs(0), embedding_scale=100.0, like_id=like_id)
        for row_D in made.mark_rows():
            np.testing.assert_allclose(row_D, expected, rtol=1e-5)
        np.testing.assert_allclose(made.marks[...] * 100.0, made.mark_rows())


def test_an_encoder_is_refused():
    sizes = {"vocab_size": 8, "layers": 1, "width": 8, "heads": 1, "kv_heads": 1, "mlp_width": 8}
    arch = Arch(**sizes, head_width=8, context=8, positions="relative", encoder_layers=1)
    with pytest.raises(ConfigError, match="start from a decoder"):
        Thinker(Transformer(arch, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
