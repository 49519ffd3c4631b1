"""Texts as windows of tokens on disk, read in any order while training.

    tokens.bin      int32 [W, T]   W windows of T tokens; 0 where nothing stands
    places.bin      int32 [W, T]   of each token its index in its document; -1: nothing stands here
    kinds.bin       uint8 [W, T]   which kind of text it is part of; 0: none that is told apart
    documents.bin   int64 [W]      the number of each window's first document; the others follow it

A document that fits into a window is never cut: where too little is left, it begins a new one. A
longer one begins where the last ended and goes on in the next window, where what stood before is
not seen. Documents of one window do not see each other. Writing holds one window, reading none.
"""

from __future__ import annotations

import contextlib
import pathlib
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np

from verifier.errors import DataError
from verifier.system import atomic, checksums

_TYPES: dict[str, type[np.generic]] = {
    "tokens": np.int32,
    "places": np.int32,
    "kinds": np.uint8,
    "documents": np.int64,
}


class Piece(NamedTuple):
    """What a window has of one document."""

    start: int  # in the window
    end: int
    document: int
    first: int  # its first token's index in the document


class WindowWriter:
    """Writes windows; a context, whose files take their names when it is left without an error."""

    def __init__(self, folder: pathlib.Path, window_tokens: int) -> None:
        self.windows = self.documents = self.tokens = 0
        self._folder, self._window_tokens = folder, window_tokens
        self._open, self._files = contextlib.ExitStack(), dict[str, BinaryIO]()
        self._filled, self._window = 0, self._empty()

    def __enter__(self) -> WindowWriter:
        for name in _TYPES:
            whole = atomic.whole_file(self._folder / f"{name}.bin")
            self._files[name] = self._open.enter_context(whole)
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._open.__exit__(*error)  # type: ignore[arg-type]
            return
        with self._open:  # knows of an error of the last window
            if self._filled:
                self._end_window()

    def add(self, tokens: Sequence[int], kinds: Sequence[int] = ()) -> None:
        """Writes a document.

        Args:
            tokens: one or more ids.
            kinds: of each; empty: all are of none.
        """
        left = self._window_tokens - self._filled
        if left < len(tokens) <= self._window_tokens:
            self._end_window()
        done = 0
        while done < len(tokens):
            if self._filled == self._window_tokens:
                self._end_window()
            if not self._filled:
                self._window["documents"] = np.array(self.documents)
            count = min(self._window_tokens - self._filled, len(tokens) - done)
            here, part = slice(self._filled, self._filled + count), slice(done, done + count)
            self._window["tokens"][here] = tokens[part]
            self._window["places"][here] = range(done, done + count)
            if kinds:
                self._window["kinds"][here] = kinds[part]
            self._filled, done = here.stop, part.stop
        self.documents += 1
        self.tokens += len(tokens)

    def _empty(self) -> dict[str, np.ndarray]:
        size = self._window_tokens
        window = {
            name: np.zeros(() if name == "documents" else size, kind)
            for name, kind in _TYPES.items()
        }
        window["places"][:] = -1
        return window

    def _end_window(self) -> None:
        for name, array in self._window.items():
            self._files[name].write(array.astype(_TYPES[name]).tobytes())
        self.windows += 1
        self._filled, self._window = 0, self._empty()


class Windows(Sequence[np.ndarray]):
    """The tokens of each window, int32 [T], read from disk when it is asked for."""

    def __init__(
        self,
        folder: pathlib.Path,
        manifest: Mapping[str, int],
        most: int = 0,
        beside: Mapping[str, np.ndarray] = types.MappingProxyType({}),
    ) -> None:
        """Opens them.

        Args:
            folder: that a `WindowWriter` wrote to.
            manifest: "windows" and "window_tokens".
            most: no more than so many, evenly spread over all; 0: all.
            beside: further targets of their tokens by name, [windows, T] of those that are opened.

        Raises:
            DataError: files of another size.
        """
        self.window_tokens, there = manifest["window_tokens"], manifest["windows"]
        self.folder, self.beside = folder, beside
        self._arrays = {name: self._opened(name, there) for name in _TYPES}
        count = min(most or there, there)
        self._indices = range(there) if count == there else np.arange(count) * there // count

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        return np.asarray(self._arrays["tokens"][self._indices[index]])

    def kinds(self, index: int) -> np.ndarray:
        """Of each token of a window which kind of text it is part of, uint8 [T]."""
        return np.asarray(self._arrays["kinds"][self._indices[index]])

    def pieces(self, index: int) -> Iterator[Piece]:
        """The documents of a window, in its order."""
        row = self._indices[index]
        place_T = np.asarray(self._arrays["places"][row])
        document, filled = int(self._arrays["documents"][row]), int((place_T >= 0).sum())
        begins = np.flatnonzero(place_T[1:filled] != place_T[: filled - 1] + 1) + 1
        bounds = [0, *begins.tolist(), filled]
        for number, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
            yield Piece(start, end, document + number, int(place_T[start]))

    def id(self) -> str:
        """What they are known by: of the sums of all files."""
        files = [f"{name}.bin" for name in _TYPES]
        return checksums.id_of(checksums.of_files(self.folder, files))

    def _opened(self, name: str, windows: int) -> np.ndarray:
        path, kind = self.folder / f"{name}.bin", _TYPES[name]
        shape = (windows,) if name == "documents" else (windows, self.window_tokens)
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if not path.is_file() or path.stat().st_size != size:
            raise DataError(
                f"{path} is not there with {size:,} bytes for {windows:,} windows of "
                f"{self.window_tokens} tokens; remove {self.folder} to make it anew"
            )
        return np.memmap(path, kind, "r", shape=shape)
