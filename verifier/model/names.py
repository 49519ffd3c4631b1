"""Names of a tree's arrays: paths as text, such as `blocks/0/attention/query/kernel`."""

from __future__ import annotations

from typing import Any

import jax


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
