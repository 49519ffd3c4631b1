"""Files that are whole or not there: written aside, synced and renamed. Knows no table."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

ASIDE = ".aside"  # what the name of a file ends in while it is being written


def write_bytes(path: pathlib.Path, content: bytes | memoryview) -> None:
    """Writes a file so that a crash at any moment leaves the old one or the new one, never a piece.

    Raises:
        OSError: the file system refuses (a full disk, ...); what was written aside is removed and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ASIDE)
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file aside, syncs and renames it."""
    write_bytes(path, as_json(content))


def as_json(content: Mapping[str, Any]) -> bytes:
    """The bytes of a JSON file, readable by people."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _sync_folder(folder: pathlib.Path) -> None:
    """Makes the new name itself survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
