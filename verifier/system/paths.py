"""Where files lie: on this machine, or behind gs:// and s3://."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, cast

from verifier.errors import UserError

_PACKAGES = {"gs": "gcsfs", "s3": "s3fs"}  # by which fsspec reaches them


def to_path(where: str | os.PathLike[str]) -> pathlib.Path:
    """The path that a text names.

    Behind `gs://` and `s3://` it is etils' epath.Path, which has pathlib's verbs and leaves the
    work to fsspec; Orbax knows it too.

    Raises:
        UserError: nothing at all, a scheme that is not known, or whose package is missing, or as
            `local`.
    """
    text = os.fspath(where)
    scheme, separator, _ = text.partition("://")
    if not separator:
        if not text.strip():
            raise UserError("an empty path: expected a file or a folder")
        return local(where)
    if scheme not in _PACKAGES:
        known = " or ".join(f"{name}://" for name in _PACKAGES)
        raise UserError(
            f"{text}: files can lie in folders and behind {known}, not behind {scheme}://"
        )
    if importlib.util.find_spec(_PACKAGES[scheme]) is None:
        raise UserError(
            f"{text}: {scheme}:// needs the package {_PACKAGES[scheme]}: pip install "
            f"{_PACKAGES[scheme]}"
        )
    # Here, because it takes as long to import as all of an offline command's work on small tables.
    from etils import epath

    return cast(pathlib.Path, epath.Path(text))


def local(where: str | os.PathLike[str]) -> pathlib.Path:
    """The path that a text names on this machine, `~` written out; there need be nothing.

    Raises:
        UserError: no file system has such a path, or it cannot be looked at.
    """
    try:
        path = pathlib.Path(where).expanduser()
        path.exists()
    # A home of nobody; a name that is too long; a null byte.
    except (RuntimeError, OSError, ValueError) as error:
        text = os.fspath(where)
        short = text if len(text) <= 200 else f"{text[:200]}..."
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(
            f"{short!r} is no path that can be looked up on this machine ({reason}); name "
            "another one"
        ) from error
    return path


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether it lies behind an object store.

    A file is whole there or not there, cannot be appended to, and nothing can be locked.
    """
    return "://" in os.fspath(path)


def size(path: pathlib.Path) -> int:
    """Bytes of a file; etils has its own name for them."""
    stat: Any = path.stat()
    return stat.length if is_remote(path) else stat.st_size


def absolute(path: pathlib.Path) -> pathlib.Path:
    """The same path, whatever the working directory."""
    return path if is_remote(path) else path.absolute()


def natural_order(name: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Sort key of names by which `rs2` comes before `rs10`."""
    return [
        (int(word), "") if word.isdecimal() else (-1, word)
        for word in re.split(r"(\d+)", os.fspath(name))
    ]


def files_in(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Every file of a folder and of the folders in it."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from files_in(path)
        else:
            yield path
