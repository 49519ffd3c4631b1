"""Arrays on disk: checkpoints to go on from in the middle of a job, and the parameters a job ends with. Knows no loss and no data.

Orbax writes a checkpoint aside and marks it when all of it is there, so a killed save leaves nothing that could be taken for one. Trees
are stored flat, by the names of `train.names`: a mismatch can be told by name, and a folder can be read without this project's classes.
"""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

import absl.logging
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from verifier import config as config_lib
from verifier.train import names

Tree = TypeVar("Tree")


class CheckpointError(config_lib.UserError):
    """A checkpoint that is missing, damaged or of another shape; the message names the folder and the way out."""


class Checkpoints:
    """The checkpoints of one job: parameters, optimiser state and a note (step, data position, best evaluation), by step.

    Saving goes on in the background; the arrays may be donated as soon as `save` returns. The newest `keep` checkpoints stay, and the one
    whose step `save` was told to protect. Older ones go only when a newer one is complete.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 2) -> None:
        """Opens the folder, which is made where it is missing; what killed saves left in it is removed."""
        absl.logging.set_verbosity(absl.logging.WARNING)  # Orbax reports every phase of every save
        self.folder = folder.absolute()
        self.keep = max(keep, 1)
        self._protected: int | None = None
        options = ocp.CheckpointManagerOptions(max_to_keep=None, create=True, cleanup_tmp_directories=True)
        handlers = {
            "params": ocp.StandardCheckpointHandler(),
            "optimiser": ocp.StandardCheckpointHandler(),
            "note": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    def latest(self) -> int | None:
        """Returns the step of the newest complete checkpoint."""
        self._manager.wait_until_finished()
        return max(self._manager.all_steps(), default=None)

    def path(self, step: int) -> pathlib.Path:
        """Returns where the checkpoint of a step lies."""
        return self.folder / str(step)

    def save(self, step: int, params: Any, optimiser: Any, note: Mapping[str, Any], protect: int | None = None) -> None:
        """Saves one checkpoint; one of the same step is replaced.

        Args:
            step: steps done.
            params: tree of arrays.
            optimiser: tree of arrays.
            note: whatever JSON can hold.
            protect: a step whose checkpoint is not to be removed, such as the best so far.
        """
        self._prune()
        self._protected = protect
        if step in self._manager.all_steps():
            self._manager.delete(step)
        items = {
            "params": ocp.args.StandardSave(names.named_leaves(params)),
            "optimiser": ocp.args.StandardSave(names.named_leaves(optimiser)),
            "note": ocp.args.JsonSave(dict(note)),
        }
        self._manager.save(step, args=ocp.args.Composite(**items), force=True)

    def note(self, step: int) -> dict[str, Any]:
        """Returns the note of a checkpoint."""
        return self._read(step, note=ocp.args.JsonRestore())["note"]

    def restore(self, step: int, params: Tree, optimiser: Any) -> tuple[Tree, Any]:
        """Returns parameters and optimiser state of a checkpoint.

        Args:
            step: of the checkpoint.
            params: a tree of the structure, shapes, types and shardings wanted: arrays (they are not read) or ShapeDtypeStructs.
            optimiser: likewise.

        Raises:
            CheckpointError: for names or shapes that disagree, or a checkpoint that cannot be read.
        """
        items = {"params": self._wanted(step, "params", params), "optimiser": self._wanted(step, "optimiser", optimiser)}
        restored = self._read(step, **{name: ocp.args.StandardRestore(wanted) for name, wanted in items.items()})
        return _unflatten(params, restored["params"]), _unflatten(optimiser, restored["optimiser"])

    def restore_params(self, step: int, params: Tree) -> Tree:
        """Returns the parameters of a checkpoint; see `restore`."""
        restored = self._read(step, params=ocp.args.StandardRestore(self._wanted(step, "params", params)))
        return _unflatten(params, restored["params"])

    def close(self) -> None:
        """Waits for the save under way and removes what is too old."""
        self._prune()
        self._manager.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _prune(self) -> None:
        """Removes the checkpoints that are neither new nor protected, once the newest is complete."""
        self._manager.wait_until_finished()
        for step in sorted(self._manager.all_steps())[: -self.keep]:
            if step != self._protected:
                self._manager.delete(step)

    def _wanted(self, step: int, item: str, tree: Any) -> dict[str, Any]:
        """What is to be read of one item, after comparing it with what is there."""
        self._manager.wait_until_finished()
        metadata = self._manager.item_metadata(step)
        there = metadata.get(item)
        if there is None:
            raise CheckpointError(f"{self.path(step)} holds no complete {item}; remove that folder to go on from an earlier checkpoint")
        return _compared(tree, there.tree, self.path(step) / item)

    def _read(self, step: int, **items: Any) -> Any:
        """Reads items of one checkpoint."""
        self._manager.wait_until_finished()
        with _Advice(f"{self.path(step)} cannot be read; remove that folder to go on from an earlier checkpoint"):
            return self._manager.restore(step, args=ocp.args.Composite(**items))


def save_params(folder: pathlib.Path, tree: Any) -> None:
    """Saves a tree of arrays as `folder`, in the place of whatever was there; returns when it is complete."""
    absl.logging.set_verbosity(absl.logging.WARNING)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute(), names.named_leaves(tree), force=True)
        checkpointer.wait_until_finished()


def load_params(folder: pathlib.Path, tree: Tree) -> Tree:
    """Reads what `save_params` wrote.

    Args:
        folder: the folder given to `save_params`.
        tree: arrays (not read) or ShapeDtypeStructs: structure, shapes, types and shardings of what is wanted. Types may differ from the
            stored ones and are converted; shapes may not.

    Raises:
        CheckpointError: for a folder without parameters, or names or shapes that disagree.
    """
    absl.logging.set_verbosity(absl.logging.WARNING)
    path = folder.absolute()
    if not path.is_dir():
        raise CheckpointError(f"{path} is no checkpoint: there is no such folder; run the stage that writes it, or name another one")
    with ocp.StandardCheckpointer() as checkpointer:
        with _Advice(f"{path} cannot be read; remove it and run its stage again"):
            metadata = checkpointer.metadata(path).item_metadata
        if metadata is None:
            raise CheckpointError(f"{path} is no complete checkpoint; remove it and run its stage again")
        wanted = _compared(tree, metadata.tree, path)
        with _Advice(f"{path} cannot be read; remove it and run its stage again"):
            restored = checkpointer.restore(path, wanted)
    return _unflatten(tree, restored)


def tree_id(tree: Any) -> str:
    """Returns 16 hex digits of a SHA-256 over names, types, shapes and contents of all arrays: equal parameters have equal ids."""
    digest = hashlib.sha256()
    for name, leaf in sorted(names.named_leaves(tree).items()):
        if not getattr(leaf, "is_fully_addressable", True):
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.dtype} {np.shape(leaf)}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]


class _Advice:
    """Adds the way out to whatever error comes by: of a damaged file Orbax says much, in a bare Exception, but not what to do."""

    def __init__(self, advice: str) -> None:
        self.advice = advice

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            error.add_note(self.advice)


def _compared(tree: Any, there: Mapping[str, Any], path: pathlib.Path) -> dict[str, Any]:
    """The leaves wanted, as abstract arrays by name, when names and shapes agree with what is stored."""
    wanted = {name: _abstract(leaf) for name, leaf in names.named_leaves(tree).items()}
    faults = [f"{name} is missing" for name in wanted if name not in there]
    faults += [f"{name} is not wanted" for name in there if name not in wanted]
    for name in wanted.keys() & there.keys():
        if tuple(there[name].shape) != wanted[name].shape:
            faults.append(f"{name} has shape {tuple(there[name].shape)}, wanted {wanted[name].shape}")
    if faults:
        shown = "; ".join(sorted(faults, key=_natural)[:5])
        raise CheckpointError(f"{path} is of another model ({len(faults)} arrays differ: {shown}); use the settings it was made with")
    return wanted


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, type and place of an array; the first device where none is said."""
    place = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)


def _natural(text: str) -> list[Any]:
    """Sort key that puts block 2 before block 10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text)]


def _unflatten(tree: Tree, leaves: Mapping[str, Any]) -> Tree:
    """A tree of the structure of `tree` from leaves by name."""
    return jax.tree.unflatten(jax.tree.structure(tree), [leaves[name] for name in names.named_leaves(tree)])
