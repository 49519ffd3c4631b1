"""Text and JSON that others wrote: read, or named for what it is. Knows no field of it."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from verifier.errors import UserError

_POINTER = b"version https://git-lfs"  # the first line of what Git keeps in the place of a large file


def refuse_pointer(path: pathlib.Path, start: bytes, error: type[UserError] = UserError) -> None:
    """Refuses a file whose first bytes, 8 or more, are those of a Git LFS pointer.

    Raises:
        error: it is one.
    """
    if len(start) >= 8 and _POINTER.startswith(start[: len(_POINTER)]):
        raise error(f"{path} is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder, or download it")


def refuse_dead_links(folder: pathlib.Path, error: type[UserError] = UserError) -> None:
    """Refuses a folder with a link to nothing, such as a cache of the hub from which the file itself was removed.

    Raises:
        error: there is one, by name.
    """
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.exists():
            raise error(f"{path} is a link to {path.readlink()}, where nothing is; download it again")


def read_text(path: pathlib.Path, error: type[UserError] = UserError) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        error: it cannot be read, is a Git LFS pointer or no text.
    """
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise error(f"{path} cannot be read ({fault.strerror or fault}); get the right to read it, or name another file") from fault
    refuse_pointer(path, content[:64], error)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise error(f"{path} is not text ({fault}); fetch it again") from fault


def read_object(path: pathlib.Path, error: type[UserError] = UserError) -> dict[str, Any]:
    """A JSON object.

    Raises:
        error: as `read_text`; no JSON, nested too deeply, or JSON of another kind.
    """
    text = read_text(path, error)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as fault:  # numbers of too many digits are a ValueError, too
        raise error(f"{path} is not JSON that can be read ({fault}); fetch it again") from fault
    if not isinstance(found, dict):
        raise error(f"{path} holds a JSON {type(found).__name__}, expected an object; fetch it again")
    return found
