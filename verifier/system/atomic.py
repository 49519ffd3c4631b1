"""Files that are whole or not there, and what to do where the disk refuses.

A file is written aside, synced and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from verifier.errors import WriteError
from verifier.system import paths, stopping

ASIDE = ".aside"  # what the name of a file ends in while it is being written
_WAYS_OUT = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room and start again"),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "get the right to write there, or name another folder",
    ),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "name another folder, or move that file away"),
    errno.EISDIR: "a folder of this name is in the way: move it away",
}


_being_written: set[pathlib.Path] = set()  # aside


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A binary file to write to that takes its name only once it is whole and on disk.

    Its folder is made if need be.

    Raises:
        WriteError: the file system refuses (a full disk, ...); what was written aside is removed
            and `path` is as it was.
    """
    # An object store does it by itself, but takes what was written when the writer fails for whole,
    # too.
    if paths.is_remote(path):
        content = io.BytesIO()
        yield content
        with refusals_of(path):
            path.write_bytes(content.getvalue())
        return
    make_folder(path.parent)
    aside = path.with_name(path.name + ASIDE)
    _being_written.add(aside)
    stopping.before_the_end(_remove_asides)
    with refusals_of(path):
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except (Exception, KeyboardInterrupt):  # whatever the reason, it goes on upwards
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
        finally:
            _being_written.discard(aside)
        _sync_folder(path.parent)


def write_bytes(path: pathlib.Path, content: bytes | memoryview) -> None:
    """Writes a file so that a crash at any moment leaves the old one or the new one, never a piece.

    Raises as `whole_file`.
    """
    with whole_file(path) as file:
        file.write(content)


def write_all(
    folder: pathlib.Path, contents: Mapping[str, bytes], stale: Iterable[str] = ()
) -> None:
    """Writes the files of a folder that belong together.

    All are written aside before the first of them takes its name.

    Args:
        folder: made where it is missing; what else is in it stays.
        contents: by name; the first one takes its name last.
        stale: names of what an earlier call may have left; those that are not in `contents` are
            removed.

    Raises:
        WriteError: the file system refuses; what was there before is still there.
    """
    with contextlib.ExitStack() as until_all_are_written:
        for name, content in contents.items():
            until_all_are_written.enter_context(whole_file(folder / name)).write(content)
    with refusals_of(folder):
        for name in set(stale) - contents.keys():
            (folder / name).unlink(missing_ok=True)


def write_text(path: pathlib.Path, content: str) -> None:
    """Writes a text in UTF-8, as `write_bytes`."""
    write_bytes(path, content.encode())


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file, as `write_bytes`."""
    write_bytes(path, as_json(content))


def as_json(content: Mapping[str, Any]) -> bytes:
    """The bytes of a JSON file, readable by people."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder and those above it; one that is there already is fine.

    Behind gs:// and s3:// there is nothing to make.

    Raises:
        WriteError: a file stands where a folder should be, or the file system refuses.
    """
    if not paths.is_remote(folder):
        with refusals_of(folder):
            folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def refusals_of(path: pathlib.Path) -> Iterator[None]:
    """What the file system refuses, as an error that the user understands."""
    try:
        yield
    except OSError as error:
        way_out = _WAYS_OUT.get(
            error.errno or 0, "name another folder, or see what is wrong with this disk"
        )
        in_the_way = (
            [each for each in (path, *path.parents) if each.is_file()]
            if error.errno in (errno.EEXIST, errno.ENOTDIR)
            else []
        )
        reason = (
            f"{in_the_way[0]} is a file, not a folder" if in_the_way else error.strerror or error
        )
        raise WriteError(f"{path} cannot be written ({reason}): {way_out}") from error


def _remove_asides() -> None:
    """Where the process ends at once, nothing half written is left."""
    for aside in tuple(_being_written):
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _sync_folder(folder: pathlib.Path) -> None:
    """Makes the new name itself survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
