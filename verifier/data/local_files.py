"""Finds and reads data files that the user has put somewhere, and says how to supply those that are missing. Reaches no network."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from verifier.config import UserError


class DataError(UserError):
    """A data set that is missing, malformed or too small; the message says what was expected and how to supply it."""


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
    supply = f"It needs {' and '.join(files)} (from {home}). Set {variable}=FOLDER in the environment or --set data.dir=FOLDER"
    if not chosen:
        raise DataError(f"no folder of data files is named. {supply}.")
    root = pathlib.Path(chosen).expanduser()
    for name in files:
        if not (root / name).is_file():
            origin = "data.dir" if folder else variable
            raise DataError(f"{root / name} is not there ({origin}={chosen}). {supply}.")
    return root


def read_json(path: pathlib.Path) -> Any:
    """A JSON file; what is no JSON is an error with the file and the line."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}); fetch the file again") from error


def field(row: Any, name: str, place: str) -> Any:
    """A field of a row of data; one that is missing is an error that names the place and what there is."""
    if not isinstance(row, dict):
        raise DataError(f"{place}: {str(row)[:40]!r}; expected an object with the field {name!r}")
    if name not in row:
        raise DataError(f"{place}: no field {name!r}; it has {', '.join(row) or 'none'}")
    return row[name]
