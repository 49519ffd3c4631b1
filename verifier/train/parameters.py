"""The parameters that a job ends with, as a folder, and the id that they have.

Trees are stored flat, by the names of `model.names`: a mismatch can be told by name, and a folder
can be read without this project's classes.
"""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from verifier.errors import CheckpointError
from verifier.model import names
from verifier.model.names import Tree
from verifier.system import paths
from verifier.train import orbax_errors, stored_trees


def save_params(folder: pathlib.Path, tree: Any) -> None:
    """Saves a tree of arrays as `folder`, whatever was there; returns when it is complete."""
    orbax_errors.quiet()
    with orbax_errors.writing(folder), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(paths.absolute(folder), names.named_leaves(tree), force=True)
        checkpointer.wait_until_finished()


def load_params(folder: pathlib.Path, tree: Tree) -> Tree:
    """Reads what `save_params` wrote.

    Args:
        folder: the folder given to `save_params`.
        tree: arrays (not read) or ShapeDtypeStructs: structure, shapes, types and shardings of what
            is wanted. Types may differ from the stored ones and are converted; shapes may not.

    Raises:
        CheckpointError: for a folder without parameters, or names or shapes that disagree.
    """
    orbax_errors.quiet()
    path = paths.absolute(folder)
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is no checkpoint: there is no such folder; run the stage that writes it, "
            "or name another one"
        )
    with ocp.StandardCheckpointer() as checkpointer:
        with orbax_errors.reading(path, "remove it and run its stage again"):
            metadata = checkpointer.metadata(path).item_metadata
        if metadata is None:
            raise CheckpointError(
                f"{path} is no complete checkpoint; remove it and run its stage again"
            )
        wanted = stored_trees.compared(tree, metadata.tree, path)
        with orbax_errors.reading(path, "remove it and run its stage again"):
            restored = checkpointer.restore(path, wanted)
    return names.unflatten(tree, restored)


def tree_id(tree: Any) -> str:
    """Returns 16 hex digits of a SHA-256 over names, types, shapes and contents of all arrays.

    Equal parameters have equal ids.
    """
    digest = hashlib.sha256()
    for name, leaf in sorted(names.named_leaves(tree).items()):
        if not getattr(leaf, "is_fully_addressable", True):
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype} {np.shape(leaf)}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]
