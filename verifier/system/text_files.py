"""Text and JSON that others wrote: read, or named for what it is."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from verifier.errors import DataError, UserError

# The first line of what Git keeps in the place of a large file.
_POINTER = b"version https://git-lfs"


def refuse_pointer(path: pathlib.Path, start: bytes, error: type[UserError] = UserError) -> None:
    """Refuses a file whose first bytes, 8 or more, are those of a Git LFS pointer.

    Raises:
        error: it is one.
    """
    if len(start) >= 8 and _POINTER.startswith(start[: len(_POINTER)]):
        raise error(
            f"{path} is a Git LFS pointer, not the file itself; run `git lfs pull` in its "
            "folder, or download it"
        )


def refuse_dead_links(folder: pathlib.Path, error: type[UserError] = UserError) -> None:
    """Refuses a folder with a link to nothing.

    A cache of the hub has one where the file itself was removed.

    Raises:
        error: there is one, by name.
    """
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.exists():
            raise error(
                f"{path} is a link to {path.readlink()}, where nothing is; download it again"
            )


def read_text(path: pathlib.Path, error: type[UserError] = UserError) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        error: it cannot be read, is a Git LFS pointer or no text.
    """
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise error(
            f"{path} cannot be read ({fault.strerror or fault}); get the right to read it, or "
            "name another file"
        ) from fault
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
        content = json.loads(text)
    # Numbers of too many digits are a ValueError, too.
    except (ValueError, RecursionError) as fault:
        raise error(f"{path} is not JSON that can be read ({fault}); fetch it again") from fault
    if not isinstance(content, dict):
        raise error(
            f"{path} holds a JSON {type(content).__name__}, expected an object; fetch it again"
        )
    return content


def read_json(path: pathlib.Path) -> Any:
    """A JSON file; what is no JSON is an error with the file and the line."""
    text = read_text(path, DataError)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}); fetch the file again"
        ) from error
    # A number without end, objects in objects without end.
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not JSON that can be read ({error}); fetch the file again"
        ) from error


def text_lines(path: pathlib.Path, error: type[UserError] = DataError) -> Iterator[tuple[str, str]]:
    """The lines of a text file that are not blank, each with "FILE, line N" for messages.

    Args:
        path: in UTF-8, with or without a byte order mark.
        error: what to raise.

    Raises:
        UserError: of the kind asked for: the file cannot be read or is a Git LFS pointer, or a line
            is not UTF-8.
    """
    before = f"{path}, line "
    try:
        with open(path, "rb") as file:  # bytes, so that a line that is no text can be named
            for number, line in enumerate(file, start=1):
                where = before + str(number)
                if number == 1:
                    refuse_pointer(path, line, error)
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as reason:
                    byte = f"byte 0x{line[reason.start]:02x} at position {reason.start + 1}"
                    raise error(
                        f"{where}: not UTF-8 ({byte}); convert the file, such as with iconv -t "
                        "UTF-8"
                    ) from reason
                if not text.isspace():
                    yield text, where
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror or reason})") from reason


def jsonl_rows(
    path: pathlib.Path, error: type[UserError] = DataError
) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a file with one JSON object a line, each with "FILE, line N" for messages.

    Blank lines are passed over.

    Args:
        path: in UTF-8.
        error: what to raise.

    Raises:
        UserError: of the kind asked for: as `text_lines`, a line that is no JSON object, or no line
            at all.
    """
    where = ""
    for line, where in text_lines(path, error):
        try:
            row = json.loads(line)
        # RecursionError: objects in objects without end
        except (ValueError, RecursionError) as reason:
            raise error(
                f"{where}: not JSON ({getattr(reason, 'msg', reason)}); expected one object a line"
            ) from reason
        if not isinstance(row, dict):
            raise error(f"{where}: {line.strip()[:40]!r}; expected an object such as {{...}}")
        yield row, where
    if not where:
        raise error(f"{path} is empty; expected one JSON object a line")


def field(row: Any, name: str, where: str) -> Any:
    """A field of a row of data; a missing one is an error that says where."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: {str(row)[:40]!r}; expected an object with the field {name!r}")
    if name not in row:
        raise DataError(f"{where}: no field {name!r}; it has {', '.join(row) or 'none'}")
    return row[name]


def text_field(row: Any, name: str, where: str) -> str:
    """A field that must be text, as `field`."""
    value = field(row, name, where)
    if not isinstance(value, str):
        raise DataError(f"{where}: field {name!r} is a JSON {type(value).__name__}; expected text")
    return value
