"""An object store in memory that stands for s3:// in tests: files lie behind the same calls, and
Orbax's arrays alone cannot.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import fsspec
import pytest
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem

from verifier.system import paths


class Store(MemoryFileSystem):
    """Nothing can be appended to or renamed, as in an object store."""

    protocol = "s3"
    store: dict[str, object] = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("s3://")))

    def _open(self, path: str, mode: str = "rb", **more: object) -> object:
        assert "a" not in mode and "+" not in mode, f"{path} is opened with mode {mode}"
        return super()._open(path, mode, **more)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """s3://bucket, empty."""
    monkeypatch.setitem(paths._PACKAGES, "s3", "fsspec")
    fsspec.register_implementation("s3", Store, clobber=True)
    backend.fsspec_backend._get_filesystem.cache_clear()
    Store.store.clear()
    yield paths.to_path("s3://bucket")
    Store.store.clear()
    backend.fsspec_backend._get_filesystem.cache_clear()


def copy(folder: pathlib.Path, there: pathlib.Path) -> None:
    """Copies all files of a folder into the store."""
    for path in paths.files_in(folder):
        (there / str(path.relative_to(folder))).write_bytes(path.read_bytes())
