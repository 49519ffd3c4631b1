"""Data files that the user has put somewhere: found, or how to supply those that are missing.

Reaches no network.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

from verifier.errors import DataError
from verifier.system import paths


def find_folder(folder: str, variable: str, files: Sequence[str], home: str) -> pathlib.Path:
    """The folder with the files of a data set.

    Args:
        folder: the knob data.dir; empty: the environment variable is asked.
        variable: its name, such as GSM8K_DIR.
        files: what must lie in the folder.
        home: where the files come from, in words.

    Raises:
        DataError: no folder is named, or a file is not in it.
    """
    chosen = folder or os.environ.get(variable, "")
    supply = (
        f"It needs {_listed(files)} (from {home}). Set {variable}=FOLDER in the "
        "environment or --set data.dir=FOLDER"
    )
    supply += (
        " (data.test_dir for the source that data.test_name names, ood.dirs for those of ood.sets)"
    )
    if not chosen:
        raise DataError(f"no folder of data files is named. {supply}.")
    root = paths.local(chosen)
    for name in files:
        if not (root / name).is_file():
            origin = "" if folder else f" ({variable}={chosen})"
            raise DataError(f"{root / name} is not there{origin}. {supply}.")
    return root


def _listed(files: Sequence[str]) -> str:
    """Names in words: of many the first and the last."""
    many = len(files) > 3
    return f"{files[0]} ... {files[-1]}, {len(files)} files" if many else " and ".join(files)
