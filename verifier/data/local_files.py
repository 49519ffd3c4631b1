"""Finds and reads data files that the user has put somewhere, and says how to supply those that are missing. Reaches no network."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from verifier import foreign_files, places
from verifier.errors import DataError, UserError


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
    supply += " (data.test_dir for the source that data.test_name names, ood.dirs for those of ood.sets)"
    if not chosen:
        raise DataError(f"no folder of data files is named. {supply}.")
    root = places.local(chosen)
    for name in files:
        if not (root / name).is_file():
            origin = "" if folder else f" ({variable}={chosen})"
            raise DataError(f"{root / name} is not there{origin}. {supply}.")
    return root


def read_json(path: pathlib.Path) -> Any:
    """A JSON file; what is no JSON is an error with the file and the line."""
    text = foreign_files.read_text(path, DataError)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}); fetch the file again") from error
    except (ValueError, RecursionError) as error:  # a number without end, objects in objects without end
        raise DataError(f"{path}: not JSON that can be read ({error}); fetch the file again") from error


def text_lines(path: pathlib.Path, error: type[UserError] = DataError) -> Iterator[tuple[str, str]]:
    """The lines of a text file that are not blank, and the place of each, "FILE, line N", for messages.

    Args:
        path: in UTF-8, with or without a byte order mark.
        error: what to raise.

    Raises:
        UserError: of the kind asked for: the file cannot be read or is a Git LFS pointer, or a line is not UTF-8.
    """
    before = f"{path}, line "
    try:
        with open(path, "rb") as file:  # bytes, so that a line that is no text can be named
            for number, line in enumerate(file, start=1):
                place = before + str(number)
                if number == 1:
                    foreign_files.refuse_pointer(path, line, error)
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as reason:
                    byte = f"byte 0x{line[reason.start]:02x} at place {reason.start + 1}"
                    raise error(f"{place}: not UTF-8 ({byte}); convert the file, such as with iconv -t UTF-8") from reason
                if not text.isspace():
                    yield text, place
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror or reason})") from reason


def jsonl_rows(path: pathlib.Path, error: type[UserError] = DataError) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a file with one JSON object a line, and the place of each, "FILE, line N"; blank lines are passed over.

    Args:
        path: in UTF-8.
        error: what to raise.

    Raises:
        UserError: of the kind asked for: as `text_lines`, a line that is no JSON object, or no line at all.
    """
    place = ""
    for line, place in text_lines(path, error):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as reason:  # RecursionError: objects in objects without end
            raise error(f"{place}: not JSON ({getattr(reason, 'msg', reason)}); expected one object a line") from reason
        if not isinstance(row, dict):
            raise error(f"{place}: {line.strip()[:40]!r}; expected an object such as {{...}}")
        yield row, place
    if not place:
        raise error(f"{path} is empty; expected one JSON object a line")


def field(row: Any, name: str, place: str) -> Any:
    """A field of a row of data; one that is missing is an error that names the place and what there is."""
    if not isinstance(row, dict):
        raise DataError(f"{place}: {str(row)[:40]!r}; expected an object with the field {name!r}")
    if name not in row:
        raise DataError(f"{place}: no field {name!r}; it has {', '.join(row) or 'none'}")
    return row[name]


def text_field(row: Any, name: str, place: str) -> str:
    """A field that must be text, as `field`."""
    value = field(row, name, place)
    if not isinstance(value, str):
        raise DataError(f"{place}: field {name!r} is a JSON {type(value).__name__}; expected text")
    return value
