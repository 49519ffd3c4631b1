"""A tree that grows, read node by node, has the values of its texts read whole."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.decode.score_test import VOCAB, verifier
from tests.hf.families import FAMILIES, build
from verifier.decode import tree_reader
from verifier.decode.tree_reader import Read, TreeReader
from verifier.model.heads import LinearHead, Verifier


@functools.partial(jax.jit, static_argnums=0)
def _whole(graph: nnx.GraphDef, weights: nnx.State, tokens_1T: jax.Array) -> jax.Array:
    model = nnx.merge(graph, weights)
    places = jnp.arange(tokens_1T.shape[1])[None]
    return model.values(model.backbone.hidden(tokens_1T, places, None))[0]


def values_alone(model: Verifier, tokens: list[int]) -> np.ndarray:
    """Padded to the context, so that all lengths are one program."""
    padded = tokens + [0] * (model.backbone.arch.context - len(tokens))
    return np.asarray(_whole(*nnx.split(model), np.array([padded])))[: len(tokens)]


class Tree:
    """A problem's texts, each node with the slots of the way to it."""

    def __init__(self, reader: TreeReader, problem: int) -> None:
        self.reader, self.problem = reader, problem
        self.ways: list[list[int]] = [[]]
        self.texts: list[list[int]] = [[]]
        reader.open(problem)

    def grow(self, model: Verifier, asked: list[tuple[int, list[int]]]) -> None:
        """Some nodes go on, each with tokens of its own; all are read in one call."""
        reads = [Read(self.problem, self.ways[node], tokens) for node, tokens in asked]
        for (node, tokens), found in zip(asked, self.reader.read(reads), strict=True):
            text = [*self.texts[node], *tokens]
            alone = values_alone(model, text)[len(self.texts[node]) :]
            np.testing.assert_allclose(found.values, alone, atol=1e-5)
            self.ways.append([*self.ways[node], *found.slots])
            self.texts.append(text)


@pytest.mark.parametrize("seed", range(3))
def test_values_are_those_of_whole_texts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random trees of two problems in turn, some branches given up, rows widened on the way."""
    monkeypatch.setattr(tree_reader, "_FEWEST_SLOTS", 16)
    monkeypatch.setattr(tree_reader, "LONGEST", 8)
    model, rng = verifier(), np.random.default_rng(seed)
    reader = TreeReader(model, "mse", problems=3)
    trees = [Tree(reader, 0), Tree(reader, 1)]
    for tree in trees:
        tree.grow(model, [(0, rng.integers(0, VOCAB, 11).tolist())])
    for _ in range(6):
        for tree in trees:
            fitting = [node for node, text in enumerate(tree.texts) if node and len(text) < 60]
            tree.grow(
                model,
                [
                    (int(rng.choice(fitting)), rng.integers(0, VOCAB, rng.integers(1, 7)).tolist())
                    for _ in range(rng.integers(1, 5))
                ],
            )
            # the newest branch, from which nothing goes on, is given up
            parent = max(
                (way for way in tree.ways[:-1] if tree.ways[-1][: len(way)] == way), key=len
            )
            reader.free(tree.problem, tree.ways.pop()[len(parent) :])
            tree.texts.pop()
    assert reader.slots > 16


def test_slots_that_were_freed_are_taken_again() -> None:
    model = verifier()
    reader = TreeReader(model, "mse", problems=1)
    tree = Tree(reader, 0)
    tree.grow(model, [(0, [3, 1, 4])])
    for token in range(60):
        tree.grow(model, [(1, [token % VOCAB] * 5)])
        reader.free(0, tree.ways.pop()[3:])
        tree.texts.pop()
    assert reader.slots == tree_reader._FEWEST_SLOTS and reader.tokens == 3 + 60 * 5


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_and_window(family: str) -> None:
    backbone = build(FAMILIES[family])
    model = Verifier(backbone, LinearHead(backbone.arch.width, initial_bias=0.3))
    model.head.kernel[...] = np.linspace(-1, 1, backbone.arch.width)
    tree = Tree(TreeReader(model, "mse", problems=1), 0)
    rng = np.random.default_rng(1)
    tree.grow(model, [(0, rng.integers(0, 29, 9).tolist())])
    tree.grow(model, [(1, rng.integers(0, 29, 6).tolist()), (1, rng.integers(0, 29, 4).tolist())])
    tree.grow(model, [(3, rng.integers(0, 29, 5).tolist()), (2, rng.integers(0, 29, 7).tolist())])


def test_logits_become_probabilities() -> None:
    reader = TreeReader(verifier(), "bce", problems=1)
    reader.open(0)
    (found,) = reader.read([Read(0, [], [5, 6, 7])])
    raw = values_alone(verifier(), [5, 6, 7])
    np.testing.assert_allclose(found.values, 1 / (1 + np.exp(-raw)), atol=1e-5)


def test_what_cannot_be_read_is_refused() -> None:
    reader = TreeReader(verifier(), "mse", problems=1)
    reader.open(0)
    with pytest.raises(ValueError, match="close one first"):
        reader.open(1)
    with pytest.raises(ValueError, match="context"):
        reader.read([Read(0, [], [1] * 129)])
    with pytest.raises(ValueError, match="at least one"):
        reader.read([Read(0, [], [])])
    reader.close(0)
    reader.open(1)
