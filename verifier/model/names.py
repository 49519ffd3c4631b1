"""Names of a tree's arrays: paths as text, such as `blocks/0/attention/query/kernel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import jax

Tree = TypeVar("Tree")


def path_name(path: tuple[Any, ...]) -> str:
    """Writes a key path of `jax.tree_util` as text.

    The `.value` that Flax NNX puts at the end of each path is left out.
    """
    keys = [
        key
        for key in path
        if not (isinstance(key, jax.tree_util.GetAttrKey) and key.name == "value")
    ]
    return jax.tree_util.keystr(tuple(keys), simple=True, separator="/")


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves of any tree by name, in the tree's own order."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def unflatten(tree: Tree, leaves: Mapping[str, Any]) -> Tree:
    """Returns a tree of the structure of `tree` from leaves by name, as `named_leaves` gives them.

    Leaves of names that the tree does not have are left out.

    Raises:
        KeyError: a name of the tree has no leaf.
    """
    return jax.tree.unflatten(
        jax.tree.structure(tree), [leaves[name] for name in named_leaves(tree)]
    )
