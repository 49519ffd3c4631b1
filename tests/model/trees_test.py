"""Trees against separate rows: what is read of a forest is what is read of its texts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.hf.families import FAMILIES, build, call, quick_jit, read
from verifier.data import trees

ROW = 32  # tokens, as long as the context


def rows(*forests: list[list[int]]) -> tuple[np.ndarray, list[list[list[np.ndarray]]]]:
    """Tokens, positions and ends [3, B, T] of a row for each forest, and their paths.

    Behind it: a text of its own and padding of whatever tokens.
    """
    made, paths = np.zeros((3, len(forests), ROW), np.int32), []
    for row, texts in enumerate(forests):
        forest = trees.forest(texts)
        size = len(forest.tokens)
        made[:, row, :size] = forest[:3]
        made[:, row, size : size + 3] = [5, 6, 7], [0, 1, 2], [size + 3] * 3
        made[0, row, size + 3 :] = 11
        paths.append(forest.paths)
    return made, paths


def random_texts(seed: int) -> list[list[int]]:
    """Four texts, the first of which is the beginning of another; others part early or late."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 29, 10).tolist()
    parted = [[*whole[:n], *rng.integers(0, 29, m).tolist()] for n, m in ((7, 3), (2, 7))]
    return [whole[: rng.integers(2, 9)], whole, *parted]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tree_is_read_as_its_texts_are(family):
    model = build(FAMILIES[family])
    forests = [random_texts(seed) for seed in range(3)]
    made, paths = rows(*forests)
    hidden = np.asarray(call(model, "hidden", *made))
    assert np.isfinite(hidden).all()
    for row, texts in enumerate(forests):
        for path, alone in zip(paths[row], read(model, *texts), strict=True):
            np.testing.assert_allclose(hidden[row, path], alone, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wrong_end_shows(family):
    """One token whose subtree ends too soon, before a branch, and one that ends too late."""
    model, texts = build(FAMILIES[family]), [[3, 1, 4, 1, 5], [3, 1, 9, 2, 6]]
    made, (paths,) = rows(texts)
    right = np.asarray(call(model, "hidden", *made))
    for node, wrong in ((1, 5), (4, 6)):  # the last of the shared ones, the last of a branch
        ends = made[2].copy()
        ends[0, node] = wrong
        moved = np.asarray(call(model, "hidden", *made[:2], ends))
        assert np.abs(moved - right)[0, paths[1]].max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_no_branch_moves_another_and_padding_moves_none(family):
    """By gradient, every id standing once: a row of the embedding is the input of one token."""
    model = build(FAMILIES[family])
    graph, state = nnx.split(model)
    parents = [-1, 0, 1, 2, 3, 2, 5, 6, 0, 8]  # of three branches, and two tokens of padding
    tokens = jnp.arange(12)[None]
    positions, ends = np.zeros((2, 1, 12), np.int32)
    for node, parent in enumerate(parents):
        positions[0, node] = positions[0, parent] + 1 if parent >= 0 else 0
        above = node
        while above >= 0:
            ends[0, above], above = node + 1, parents[above]

    @quick_jit
    @jax.jacobian
    def slope(embed: jax.Array) -> jax.Array:
        moved = nnx.merge(graph, {**state, "embed": state["embed"].replace(embed)})
        return (moved.hidden(tokens, positions, ends)[0] ** 3).sum(-1)

    reached = np.abs(slope(model.embed[...])[:, :12]).sum(-1) > 0
    windows = model.arch.windows
    span = 12 if None in windows else 1 + sum(window - 1 for window in windows)
    for node in range(len(parents)):
        on_the_way, above = [], node
        while above >= 0 and len(on_the_way) < span:
            on_the_way.append(above)
            above = parents[above]
        assert np.flatnonzero(reached[node]).tolist() == on_the_way[::-1]
