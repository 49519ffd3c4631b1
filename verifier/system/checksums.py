"""Sums by which files are known to be what was written, and JSON that carries its own."""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import json
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from verifier.errors import Damaged
from verifier.system import atomic, paths

SUMS = "SHA256SUMS"  # as `sha256sum` writes it and `sha256sum --check` reads it
_SEAL = "sha256"  # the last entry of sealed JSON


def of_bytes(content: bytes | memoryview) -> str:
    """SHA-256 in hex digits."""
    return hashlib.sha256(content).hexdigest()


def of_file(path: pathlib.Path) -> str:
    """SHA-256 of a file in hex digits.

    A file that has not changed since it was last asked for is not read again.
    """
    if paths.is_remote(path):
        return of_bytes(path.read_bytes())
    stat = path.stat()
    return _of_file(path.resolve(), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _of_file(path: pathlib.Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_folder(folder: pathlib.Path) -> dict[str, str]:
    """The sum of every file in a folder and the folders in it, by its path from there."""
    return of_files(folder, (str(path.relative_to(folder)) for path in paths.files_in(folder)))


def of_files(folder: pathlib.Path, names: Iterable[str]) -> dict[str, str]:
    """The sum of each of some files of a folder, by name."""
    names = sorted(names)
    # Reading and hashing both let go of the interpreter.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(lambda name: of_file(folder / name), names), strict=True))


def id_of(sums: Mapping[str, str]) -> str:
    """What files are known by together, 16 hex digits: of their sums by name, in any order."""
    return of_bytes(repr(sorted(sums.items())).encode())[:16]


def check(folder: pathlib.Path, sums: Mapping[str, str], way_out: str) -> None:
    """Compares files with the sums they had.

    Raises:
        Damaged: the first that is missing or has another sum, or a name that leads out of the
            folder.
    """
    for name in sums:
        if pathlib.PurePosixPath(name).is_absolute() or ".." in pathlib.PurePosixPath(name).parts:
            raise Damaged(
                f"{folder} lists {name!r} among its files, which lies outside of it; {way_out}"
            )
        if not (folder / name).is_file():
            raise Damaged(f"{folder / name} is missing; {way_out}")
    for name, actual in of_files(folder, sums).items():
        if actual != sums[name]:
            raise Damaged(
                f"{folder / name} has changed since it was written: sha256 {actual[:12]}..., "
                f"not {sums[name][:12]}...; {way_out}"
            )


def write_sums(folder: pathlib.Path) -> None:
    """Writes the sums of all files of a folder beside them."""
    lines = [f"{digest}  {name}\n" for name, digest in of_folder(folder).items() if name != SUMS]
    atomic.write_text(folder / SUMS, "".join(lines))


def read_sums(folder: pathlib.Path) -> dict[str, str]:
    """The sums that lie beside the files of a folder; none where there is no such file."""
    path = folder / SUMS
    lines = (
        path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    )
    return {
        name.lstrip(" *"): digest for digest, _, name in (line.partition(" ") for line in lines)
    }


def write_sealed(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file that carries its own sum as its last entry.

    Raises:
        WriteError: as `atomic.whole_file`.
    """
    plain = {name: value for name, value in content.items() if name != _SEAL}
    atomic.write_json(path, plain | {_SEAL: of_bytes(atomic.as_json(plain))})


def read_sealed(path: pathlib.Path, way_out: str, unsealed: Collection[str] = ()) -> dict[str, Any]:
    """What `write_sealed` wrote, the sum left out.

    Args:
        path: of the file.
        way_out: what to do about a damaged one.
        unsealed: the entries that the file had before it was sealed; one that has no others needs
            no sum.

    Raises:
        Damaged: no JSON, or not what was written.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if unsealed and content.keys() <= set(unsealed):
            return dict(content)
        seal = content.pop(_SEAL)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise Damaged(
            f"{path} is damaged: it is no JSON with its own {_SEAL} ({type(error).__name__}: "
            f"{error}); {way_out}"
        ) from error
    if (actual := of_bytes(atomic.as_json(content))) != seal:
        raise Damaged(
            f"{path} has changed since it was written: sha256 {actual[:12]}..., not "
            f"{str(seal)[:12]}...; {way_out}"
        )
    return content
