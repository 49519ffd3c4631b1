"""A model split into its graphdef and its weights, as the steps of decoding take them."""

from __future__ import annotations

import functools
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from verifier.decode.thinking import backbone_of
from verifier.model import sharding
from verifier.model.names import path_name
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer, narrow

Weights = tuple[jax.Array, ...]
Model = Transformer | Thinker


class GraphDef:
    """A model without its numbers: flax's graphdef and the structure of the state beside it.

    Hashed once: hashing the graph of 24 layers takes 2 ms, as long as a small model's step.
    """

    def __init__(self, graph: nnx.GraphDef[Model], tree: Any) -> None:
        self._graph, self._tree = graph, tree
        self._hash = hash((graph, tree))

    def merge(self, weights: Weights) -> Model:
        """The model with `weights` in it (inside a jitted function: traced ones)."""
        return nnx.merge(self._graph, self.state(weights))

    def state(self, weights: Weights) -> nnx.State:
        """The model's state with `weights` in it."""
        return jax.tree.unflatten(self._tree, list(weights))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, GraphDef) and (self._graph, self._tree) == (other._graph, other._tree)
        )


def split(model: Model, vocab_size: int, mesh: Mesh | None = None) -> tuple[GraphDef, Weights]:
    """What is static about a model, and its weights, made ready once, so that no step has to.

    Matrices come in the activations' type. Embeddings lose their rows behind `vocab_size` (the
    reserved id, padding), which are never written: cutting the logits instead would copy all of
    them in every step. What is ready already is shared with the model, not copied. On a mesh every
    group of devices gets all of them, divided by `sharding.DECODING`.
    """
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten_with_path(narrow(state, backbone_of(model).dtype))
    return _graphdef(graph, tree), tuple(
        _ready(path_name(path), leaf, vocab_size, mesh) for path, leaf in leaves
    )


@functools.lru_cache(maxsize=8)
def _graphdef(graph: nnx.GraphDef[Model], tree: Any) -> GraphDef:
    """The same object for equal models.

    To find its compiled step, JAX would else compare two graphs every time.
    """
    return GraphDef(graph, tree)


def make_ready(model: Model, vocab_size: int, mesh: Mesh | None = None) -> None:
    """Does in place what `split` does to its copies.

    A model that is used for nothing else then need not lie in memory twice.
    """
    graphdef, weights = split(model, vocab_size, mesh)
    nnx.update(model, graphdef.state(weights))


def shapes(
    model: Model, vocab_size: int, mesh: Mesh | None = None
) -> tuple[GraphDef, tuple[jax.ShapeDtypeStruct, ...]]:
    """What `split` gives, as shapes, types and shardings.

    The model may itself be one of shapes (`nnx.eval_shape`).
    """
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten_with_path(
        jax.eval_shape(lambda state: narrow(state, backbone_of(model).dtype), state)
    )
    weights = []
    for path, leaf in leaves:
        name, shape, parts = path_name(path), leaf.shape, None
        if shape:
            shape = (_kept(name, shape[0], vocab_size, mesh), *shape[1:])
        if mesh is not None:
            parts = sharding.parameter_sharding(name, shape, mesh, sharding.DECODING)
        weights.append(jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=parts))
    return _graphdef(graph, tree), tuple(weights)


def outline(
    model: Model, vocab_size: int, mesh: Mesh | None = None
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes and types of what one device holds of `shapes`."""
    weights = shapes(model, vocab_size, mesh)[1]
    return tuple(
        jax.ShapeDtypeStruct(
            leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape, leaf.dtype
        )
        for leaf in weights
    )


def _ready(name: str, leaf: jax.Array, vocab_size: int, mesh: Mesh | None) -> jax.Array:
    """A parameter, cut, on the devices that need it."""
    if leaf.shape and (rows := _kept(name, leaf.shape[0], vocab_size, mesh)) < leaf.shape[0]:
        leaf = leaf[:rows]
    if mesh is None:
        return leaf
    parts = sharding.parameter_sharding(name, leaf.shape, mesh, sharding.DECODING)
    return jax.device_put(leaf, parts)


def _kept(name: str, rows: int, vocab_size: int, mesh: Mesh | None) -> int:
    """Rows of a parameter that are kept: all but those of an embedding or output matrix.

    Of these `vocab_size` are kept, where the mesh divides that number.
    """
    undivided = mesh is not None and vocab_size % mesh.shape["tensor"]
    cut = name.endswith("embed") and vocab_size < rows and not undivided
    return vocab_size if cut else rows
