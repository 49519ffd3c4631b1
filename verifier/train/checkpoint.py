"""The checkpoints of a job, from which it goes on when it was stopped in the middle.

Orbax writes a checkpoint aside and renames it when all of it is there; then the sums of its files
are written beside it, and only from then on does it count, so a killed save leaves nothing that
could be taken for one.
"""

from __future__ import annotations

import concurrent.futures
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from verifier.errors import CheckpointError
from verifier.model import names
from verifier.model.names import Tree
from verifier.system import checksums, log, paths
from verifier.train import orbax_errors, stored_trees

# What a folder of checkpoints holds: a folder a step, and what killed saves left.
_OWN = re.compile(r"\d+(\..*)?")
_EARLIER = "remove that folder to go on from an earlier checkpoint"


class Checkpoints:
    """The checkpoints of one job, by step: parameters, optimiser state and a note.

    The note is what else the job must know, such as the data's position. Saving goes on in the
    background; the arrays may be donated as soon as `save` returns. The newest `keep` checkpoints
    stay, and the one that the newest of all protects, such as the best so far. Others go only when
    it is known which one that is: after a `save` that is complete, or once `protect` has said it of
    a checkpoint that was there already.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 2) -> None:
        """Opens the folder, or makes it; what killed saves left in it, without sums, is removed."""
        orbax_errors.quiet()
        self.folder = paths.absolute(folder)
        self.keep = max(keep, 1)
        # By a step saved or resumed from: the step that must outlive it
        self._protects: dict[int, int | None] = {}
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None, create=True, cleanup_tmp_directories=True
        )
        handlers = {
            "params": ocp.StandardCheckpointHandler(),
            "optimiser": ocp.StandardCheckpointHandler(),
            "note": ocp.JsonCheckpointHandler(),
        }
        with orbax_errors.writing(self.folder):
            self._manager = ocp.CheckpointManager(
                self.folder, options=options, item_handlers=handlers
            )
        for step in self._manager.all_steps():
            if not self._sums(step).exists():
                self._manager.delete(step)
        self._checked: set[int] = set()  # checkpoints whose files are known to be what was written
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "sums")
        self._sealing: concurrent.futures.Future[None] | None = None  # of the save under way

    def latest(self) -> int | None:
        """Returns the step of the newest complete checkpoint."""
        self.wait()
        return max(self._manager.all_steps(), default=None)

    def path(self, step: int) -> pathlib.Path:
        """Returns where the checkpoint of a step lies."""
        return self.folder / str(step)

    def protect(self, step: int, protected: int | None) -> None:
        """Says which other step a checkpoint that was there already needs, as it was saved with."""
        self._protects[step] = protected

    def save(
        self,
        step: int,
        params: Any,
        optimiser: Any,
        note: Mapping[str, Any],
        protect: int | None = None,
    ) -> None:
        """Saves one checkpoint; one of the same step is replaced.

        Args:
            step: steps done.
            params: tree of arrays.
            optimiser: tree of arrays.
            note: whatever JSON can hold.
            protect: a step whose checkpoint is not to be removed while this one is the newest.
        """
        self._prune()
        self._protects[step] = protect
        items = {
            "params": ocp.args.StandardSave(names.named_leaves(params)),
            "optimiser": ocp.args.StandardSave(names.named_leaves(optimiser)),
            "note": ocp.args.JsonSave(dict(note)),
        }
        with orbax_errors.writing(self.path(step)):
            if step in self._manager.all_steps():
                self._remove(step)
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        self._sealing = self._pool.submit(self._seal, step)

    def note(self, step: int) -> dict[str, Any]:
        """Returns the note of a checkpoint."""
        return self._read(step, note=ocp.args.JsonRestore())["note"]

    def restore(self, step: int, params: Tree, optimiser: Any) -> tuple[Tree, Any]:
        """Returns parameters and optimiser state of a checkpoint.

        Args:
            step: of the checkpoint.
            params: a tree of the structure, shapes, types and shardings wanted: arrays (they are
                not read) or ShapeDtypeStructs.
            optimiser: likewise.

        Raises:
            CheckpointError: for names or shapes that disagree, or a checkpoint that is not there.
            Damaged: a file of it is not what was written.
        """
        items = {
            "params": self._wanted(step, "params", params),
            "optimiser": self._wanted(step, "optimiser", optimiser),
        }
        restored = self._read(
            step, **{name: ocp.args.StandardRestore(wanted) for name, wanted in items.items()}
        )
        return (
            names.unflatten(params, restored["params"]),
            names.unflatten(optimiser, restored["optimiser"]),
        )

    def restore_params(self, step: int, params: Tree) -> Tree:
        """Returns the parameters of a checkpoint; see `restore`."""
        restored = self._read(
            step, params=ocp.args.StandardRestore(self._wanted(step, "params", params))
        )
        return names.unflatten(params, restored["params"])

    def wait(self) -> None:
        """Returns when all that was to be saved is on disk."""
        if self._sealing is not None:
            sealing, self._sealing = self._sealing, None
            with orbax_errors.writing(self.folder):
                sealing.result()

    def close(self) -> None:
        """Waits for the save under way and removes what is too old."""
        try:
            self._prune()
        finally:
            self._pool.shutdown()
            with orbax_errors.writing(self.folder):
                self._manager.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prune(self) -> None:
        """Removes what is neither new nor protected by the newest complete checkpoint.

        Nothing goes where it is not known what that one protects.
        """
        self.wait()
        steps = sorted(self._manager.all_steps())
        if not steps or steps[-1] not in self._protects:
            return
        for step in steps[: -self.keep]:
            if step != self._protects[steps[-1]]:
                self._remove(step)

    def _sums(self, step: int) -> pathlib.Path:
        """Where the sums of a checkpoint's files lie."""
        return self.folder / f"{step}.sums.json"

    def _seal(self, step: int) -> None:
        """Waits until a checkpoint is there and writes its sums."""
        self._manager.wait_until_finished()
        if jax.process_index() == 0 and self.path(step).exists():
            checksums.write_sealed(
                self._sums(step), {"files": checksums.of_folder(self.path(step))}
            )

    def _remove(self, step: int) -> None:
        """Removes a checkpoint, its sums first."""
        if jax.process_index() == 0:
            self._sums(step).unlink(missing_ok=True)
        self._manager.delete(step)

    def _wanted(self, step: int, item: str, tree: Any) -> dict[str, Any]:
        """What is to be read of one item, after comparing it with what is there."""
        with self._reading(step):
            there = self._manager.item_metadata(step).get(item)
        if there is None:
            raise CheckpointError(f"{self.path(step)} holds no complete {item}; {_EARLIER}")
        return stored_trees.compared(tree, there.tree, self.path(step) / item)

    def _read(self, step: int, **items: Any) -> Any:
        """Reads items of one checkpoint."""
        with self._reading(step):
            return self._manager.restore(step, args=ocp.args.Composite(**items))

    def _reading(self, step: int) -> orbax_errors.OneLine:
        """Guards the reading of one checkpoint, which must be there and what was written."""
        self.wait()
        steps = sorted(self._manager.all_steps())
        if step not in steps:
            fault = (
                f"has no checkpoint of step {step} (there: {', '.join(map(str, steps)) or 'none'})"
            )
            raise CheckpointError(
                f"{self.folder} {fault}; put it back, or remove the folder to start anew"
            )
        if step not in self._checked:
            files = checksums.read_sealed(
                self._sums(step),
                f"remove {self.path(step)} and it to go on from an earlier checkpoint",
            )["files"]
            checksums.check(
                self.path(step),
                files,
                f"remove {self.path(step)} to go on from an earlier checkpoint",
            )
            self._checked.add(step)
        return orbax_errors.reading(self.path(step), _EARLIER)


def remove_checkpoints(folder: pathlib.Path) -> None:
    """Removes a job's checkpoints with their folder, once what the job ended with is saved.

    The folder gets another name first, so that a kill on the way leaves none that a job could go on
    from by mistake; the next call removes the rest. What cannot or must not be removed is said and
    left, for the job's result is safe.

    Args:
        folder: of `Checkpoints`, closed; may be missing.
    """
    if jax.process_index():
        return
    if paths.is_remote(folder):
        folder.rmtree(missing_ok=True)  # type: ignore[attr-defined]  # epath's
        return
    path = folder.resolve()
    aside = path.with_name(f"{path.name}.removed")
    strangers = (
        sorted(entry.name for entry in path.iterdir() if not _OWN.fullmatch(entry.name))
        if path.is_dir()
        else []
    )
    if strangers:
        log.say(
            f"{path} is left: {strangers[0]} in it is no checkpoint; remove what you do not need"
        )
        return
    try:
        if aside.exists():
            shutil.rmtree(aside)
        if path.is_dir():
            path.rename(aside)
            shutil.rmtree(aside)
        if folder.is_symlink():
            folder.unlink()
    except OSError as error:
        log.say(f"{path} cannot be removed ({error}); it is of no more use")
