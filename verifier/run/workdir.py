"""The rule by which a finished result is used again or refused, and who may work in a workdir."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from verifier import config as config_lib
from verifier.errors import WorkdirError
from verifier.run import inputs
from verifier.run.stage import Files, Stage
from verifier.system import atomic, checksums, paths
from verifier.tables import store

_CONFIG = ("name", "seed", "settings", "versions", "git_revision")  # entries of config.json
_DEFAULTS = config_lib.flatten(config_lib.Config())


@contextlib.contextmanager
def locked(root: pathlib.Path) -> Iterator[None]:
    """Keeps other runs out of the workdir; the lock goes with the process, however that ends.

    Behind gs:// and s3:// there is none.

    Raises:
        WorkdirError: another run is at work there; with its process and host.
    """
    if paths.is_remote(root):
        yield
        return
    path = root / ".lock"
    atomic.make_folder(root)
    with contextlib.ExitStack() as until_the_end:
        with atomic.refusals_of(path):
            file = until_the_end.enter_context(open(path, "a+b", buffering=0))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            who = file.read().decode(errors="replace").strip()
            raise WorkdirError(
                f"{root} is in use by another run ({who}): wait for it, or use another --workdir"
            ) from error
        with atomic.refusals_of(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
        try:
            yield
        finally:
            file.truncate(0)


def refuse_other_settings(
    stages: Sequence[Stage], root: pathlib.Path, config: config_lib.Config
) -> None:
    """Looks at all that is there already, so that a run with other settings ends before it writes
    or uses anything.

    Raises:
        WorkdirError: the first result of other settings; see `is_done`.
    """
    for stage in stages:
        for split, folder in stage.results(root).items():
            manifest = store.read_manifest(folder)
            if manifest is not None:
                _refuse(folder, _of_knobs(manifest), stage.settings(config, split), stage.files)


def _of_knobs(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest whose settings are knobs alone, without the ids of what it was made from."""
    settings = manifest["settings"].items()
    knobs = {path: value for path, value in settings if "." in path or path == "seed"}
    return {**manifest, "settings": knobs}


def changes(
    manifest: Mapping[str, Any], settings: Mapping[str, Any], files: Sequence[Files]
) -> list[str]:
    """A line for each setting that is not as in a result's manifest; arguments as `is_done`."""
    return _changes(manifest, settings, files)[0]


def is_done(folder: pathlib.Path, settings: Mapping[str, Any], files: Sequence[Files] = ()) -> bool:
    """Whether `folder` holds the finished result of these settings.

    Args:
        folder: of the result.
        settings: by dotted path, with the ids of what it is made from by role.
        files: of others, which may lie elsewhere by now.

    Raises:
        WorkdirError: it holds the finished result of other settings; the message names the
            differences and the way out.
    """
    manifest = store.read_manifest(folder)
    if manifest is None:
        return False
    _refuse(folder, manifest, settings, files)
    return True


def _refuse(
    folder: pathlib.Path,
    manifest: Mapping[str, Any],
    new: Mapping[str, Any],
    files: Sequence[Files],
) -> None:
    changed, unknown = _changes(manifest, new, files)
    if changed:
        lines = "\n  ".join(changed)
        back = (
            f"Files may lie elsewhere, but those of {', '.join(unknown)} are not known to be "
            "the same: put them back (a link will do). "
        )
        raise WorkdirError(
            f"{folder} was made with other settings:\n  {lines}\n{back if unknown else ''}"
            f"Use another --workdir, or remove {folder} (and what was made from it) to make it "
            "anew."
        )


def _changes(
    manifest: Mapping[str, Any], new: Mapping[str, Any], files: Sequence[Files]
) -> tuple[list[str], list[str]]:
    """What differs from the settings in a manifest, and the knobs of files among it."""
    old = config_lib.with_defaults(manifest["settings"], new, _DEFAULTS)
    both = [each for each in files if old.get(each.knob) and new.get(each.knob)]
    named = [each.knob for each in both if old[each.knob] != new[each.knob]]
    moved = {path: old[path] for path in named if inputs.same(path, new[path], manifest)}
    unknown = [path for path in named if path not in moved]
    in_place = [
        each.knob
        for each in both
        if each.watched and each.knob not in named
        if each.knob in manifest.get("inputs", {})  # which an older one does not note
        if not inputs.same(each.knob, new[each.knob], manifest)
    ]
    lines = [f"{path}: {new[path]!r} has changed since" for path in in_place]
    return config_lib.differences(old, {**new, **moved}) + lines, unknown + in_place


def manifest_of(folder: pathlib.Path, stage: str) -> dict[str, Any]:
    """The manifest of a finished result.

    Raises:
        WorkdirError: there is none; the message names the stage that makes it.
    """
    manifest = store.read_manifest(folder)
    if manifest is None:
        raise WorkdirError(
            f"{folder} is not there or not finished: run the stage {stage!r} first "
            f"(--stages={stage}, or all stages)"
        )
    return manifest


def save_config(root: pathlib.Path, config: config_lib.Config) -> None:
    """Writes a workdir's config.json, with its sum: settings, versions, git revision, seed."""
    packages = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "pyarrow")
    versions = {name: importlib.metadata.version(name) for name in packages} | {
        "python": platform.python_version()
    }
    values = (config.name, config.seed, config_lib.flatten(config), versions, _git_revision())
    checksums.write_sealed(root / "config.json", dict(zip(_CONFIG, values, strict=True)))


def saved_settings(root: pathlib.Path) -> dict[str, Any]:
    """The settings of a workdir's last start, by dotted path; none where it has not been begun.

    Raises:
        Damaged: its config.json is not what was written.
    """
    path = root / "config.json"
    if not path.is_file():
        return {}
    saved = checksums.read_sealed(path, "put back a whole copy", unsealed=_CONFIG)
    return dict(saved["settings"])


def _git_revision() -> str | None:
    """The revision of this source tree, "-dirty" where files differ from it; None outside a
    checkout.
    """
    here = pathlib.Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
