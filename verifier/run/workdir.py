"""Where a run's results lie, and the rule by which a finished result is used again or refused.

Knows no stage's work and no device.
"""

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
from verifier.system import atomic, checksums, paths
from verifier.tables import store

SPLITS = ("train", "heldout", "test")
GREEDY_SUFFIX = "_greedy"
GREEDY = f"test{GREEDY_SUFFIX}"  # one solution a test problem at temperature 0, for test@1

# What each stage's result depends on, besides what it is made from. `problems` is no stage: whoever
# needs them first writes them.
_DEPENDS_ON = {
    "problems": ("seed", "data"),
    "finetune": ("seed", "data", "tokenizer", "model", "pretrain", "finetune"),
    "sample": ("seed", "sample", "model.dtype"),
    "label": ("label",),
    "verify": ("seed", "verify", "model.dtype"),
    "score": ("model.dtype",),
    "report": (),
}
_FURTHER_PROBLEMS = ("seed", "ood.problems")  # what the problems of a further test set depend on
# Settings that change how fast or how safely a result comes, never what it is.
_WITHOUT_EFFECT = (
    "data.dir",
    "data.test_dir",
    "data.source",
    "sample.rows",
    "sample.memory_gib",
    "sample.greedy",
    "score.rows",
    "checkpoint_minutes",
    "checkpoint_every",
    "keep_checkpoints",
    "remat",
)
_NAME_FILES = tuple(path for knobs in inputs.KNOBS.values() for path in knobs)
_DEFAULTS = config_lib.flatten(config_lib.Config())
_GREEDY_IGNORES = ("sample.temperature", "sample.top_k", "sample.top_p", "sample.test_samples")


class Workdir:
    """The folders of a run, by name."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.generator = root / "generator"
        self.verifier = root / "verifier"
        self.report = root / "report"
        self.logs = root / "logs"
        self.config = root / "config.json"

    def table(self, name: str, split: str) -> pathlib.Path:
        """The folder of a split of a table: `tables/samples/split=test`."""
        return self.root / "tables" / name / f"split={split}"

    def results(self, stage: str, further: Sequence[str] = ()) -> dict[str, pathlib.Path]:
        """The folders that a stage makes, by split, those of `further_splits` included; a model
        folder, of all splits, has the key "".
        """
        drawn = (*SPLITS, GREEDY, *further, *(split + GREEDY_SUFFIX for split in further))
        tables = {
            "problems": (*SPLITS, *further),
            "sample": drawn,
            "label": drawn,
            "score": ("heldout", "test", *further),
        }
        if stage in tables:
            name = stage if stage == "problems" else f"{stage}s"
            return {split: self.table(name, split) for split in tables[stage]}
        return {"finetune": {"": self.generator}, "verify": {"": self.verifier}}.get(stage, {})


def further_splits(config: config_lib.Config) -> tuple[str, ...]:
    """The splits of the further test sets: test_svamp and so on."""
    return tuple(f"test_{name}" for name in config.ood.sets)


@contextlib.contextmanager
def locked(workdir: Workdir) -> Iterator[None]:
    """Keeps other runs out of the workdir; the lock goes with the process, however that ends.

    Behind gs:// and s3:// there is none.

    Raises:
        WorkdirError: another run is at work there; with its process and host.
    """
    if paths.is_remote(workdir.root):
        yield
        return
    path = workdir.root / ".lock"
    atomic.make_folder(workdir.root)
    with contextlib.ExitStack() as until_the_end:
        with atomic.refusals_of(path):
            file = until_the_end.enter_context(open(path, "a+b", buffering=0))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            who = file.read().decode(errors="replace").strip()
            raise WorkdirError(
                f"{workdir.root} is in use by another run ({who}): wait for it, or use another "
                "--workdir"
            ) from error
        with atomic.refusals_of(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n".encode())
        try:
            yield
        finally:
            file.truncate(0)


def settings(config: config_lib.Config, stage: str, split: str = "") -> dict[str, Any]:
    """What a stage's result depends on: its knobs, less those without effect and, for a split,
    those of the other splits.
    """
    # greedy and further splits are drawn as the test problems are
    like = "test" if split.startswith("test_") else split
    others = tuple(f"sample.{other}_" for other in SPLITS if split and other != like)
    others += _GREEDY_IGNORES if split.endswith(GREEDY_SUFFIX) else ()
    others += ("label.grader_seconds",) if config.label.grader != "math_verify" else ()
    of_further = stage == "problems" and split in further_splits(config)
    flat = config_lib.settings_of(
        config, *(_FURTHER_PROBLEMS if of_further else _DEPENDS_ON[stage])
    )
    return {
        path: value
        for path, value in flat.items()
        if not path.endswith(_WITHOUT_EFFECT) and not (others and path.startswith(others))
    }


def refuse_other_settings(workdir: Workdir, config: config_lib.Config) -> None:
    """Looks at all that is there already, so that a run with other settings ends before it writes
    or uses anything.

    Raises:
        WorkdirError: the first result of other settings; see `is_done`.
    """
    for stage in _DEPENDS_ON:
        for split, folder in workdir.results(stage, further_splits(config)).items():
            own = settings(config, stage, split)
            manifest = store.read_manifest(folder)
            if manifest is not None:
                knobs = {
                    path: value
                    for path, value in manifest["settings"].items()
                    if "." in path or path == "seed"
                }
                _refuse(folder, manifest | {"settings": knobs}, own)


def is_done(folder: pathlib.Path, settings: Mapping[str, Any]) -> bool:
    """Whether `folder` holds the finished result of these settings.

    Raises:
        WorkdirError: it holds the finished result of other settings; the message names the
            differences and the way out.
    """
    manifest = store.read_manifest(folder)
    if manifest is None:
        return False
    _refuse(folder, manifest, settings)
    return True


def _refuse(folder: pathlib.Path, manifest: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    old = config_lib.with_defaults(manifest["settings"], new, _DEFAULTS)
    named = [
        path for path in _NAME_FILES if old.get(path) and new.get(path) and old[path] != new[path]
    ]
    moved = {path: old[path] for path in named if inputs.same(path, new[path], manifest)}
    changed = config_lib.differences(old, {**new, **moved})
    if changed:
        lines = "\n  ".join(changed)
        others = [path for path in named if path not in moved]
        back = (
            f"Files may lie elsewhere, but those of {', '.join(others)} are not known to be "
            "the same: put them back (a link will do)"
        )
        raise WorkdirError(
            f"{folder} was made with other settings:\n  "
            f"{lines}\n{f'{back}. ' if others else ''}Use another --workdir, or remove "
            f"{folder} (and what was made from it) to make it anew."
        )


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


def save_config(workdir: Workdir, config: config_lib.Config) -> None:
    """Writes config.json, with its sum: resolved settings, versions, git revision, seed."""
    packages = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "pyarrow")
    versions = {name: importlib.metadata.version(name) for name in packages} | {
        "python": platform.python_version()
    }
    checksums.write_sealed(
        workdir.config,
        {
            "name": config.name,
            "seed": config.seed,
            "settings": config_lib.flatten(config),
            "versions": versions,
            "git_revision": _git_revision(),
        },
    )


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
