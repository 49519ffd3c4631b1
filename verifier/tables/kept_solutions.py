"""A teacher's right solutions on disk, one by one in any order: they may be larger than memory.

Fu et al. 2023 have 207,000 of some 100 tokens, which with 5 alternatives a token are 1 GB.
"""

from __future__ import annotations

import array
import os
import pathlib
import tempfile
import weakref
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np

from verifier.data.alignment import Taught
from verifier.system import atomic, paths

_BUFFER = 1 << 20  # bytes that are written at a time


class KeptSolution(NamedTuple):
    """A solution as it was put."""

    problem_id: str
    text: str
    taught: Taught | None  # None: its text alone is known


class KeptSolutions(Sequence[KeptSolution]):
    """Solutions by the order in which they were put, in a file without a name.

    In memory are the places where each begins, some 20 bytes a solution. The file is gone with the
    process, however that ends. Solutions may be read by several threads at once, but not while
    others are put.
    """

    def __init__(self, folder: pathlib.Path, alternatives: int | None) -> None:
        """Opens the file.

        Args:
            folder: where there is room for it; made where it is missing. Behind an object store
                the folder of the system for temporary files takes its place.
            alternatives: C, of every token of a solution; None: tokens have their own
                log-probability alone.

        Raises:
            WriteError: the file system refuses.
        """
        here = None if paths.is_remote(folder) else folder
        self._folder = here or pathlib.Path(tempfile.gettempdir())
        atomic.make_folder(self._folder)
        with atomic.refusals_of(self._folder):
            made = tempfile.TemporaryFile(dir=self._folder, buffering=_BUFFER)  # noqa: SIM115  kept
        self._file = made
        weakref.finalize(self, self._file.close)
        self._has_tops = alternatives is not None
        width = (alternatives or 0,)
        self._token = np.dtype(
            [("id", "<i4"), ("logprob", "<f4"), ("ids", "<i4", width), ("logprobs", "<f4", width)]
        )
        self._numbers: dict[str, int] = {}  # of problems
        self._ids: list[str] = []  # of problems, by number
        self._problem_R = array.array("i")
        self._tokens_R = array.array("i")  # how many a solution has; -1: none are known
        self._ends = array.array("q", [0])  # of solutions, in the file

    def put(self, problem_id: str, text: str, taught: Taught | None) -> None:
        """Keeps one more.

        Raises:
            WriteError: the disk is full.
        """
        number = self._numbers.setdefault(problem_id, len(self._ids))
        if number == len(self._ids):
            self._ids.append(problem_id)
        tokens_S = np.zeros(0 if taught is None else len(taught.tokens_S), self._token)
        if taught is not None:
            tokens_S["id"], tokens_S["logprob"] = taught.tokens_S, taught.logprobs_S
            if self._has_tops:
                tokens_S["ids"], tokens_S["logprobs"] = taught.top_ids_SC, taught.top_logprobs_SC
        content = tokens_S.tobytes() + text.encode("utf-8", "surrogatepass")
        with atomic.refusals_of(self._folder):
            self._file.write(content)
        self._problem_R.append(number)
        self._tokens_R.append(-1 if taught is None else len(tokens_S))
        self._ends.append(self._ends[-1] + len(content))

    def problem_of(self, row: int) -> str:
        """The problem of a solution, without reading that."""
        return self._ids[self._problem_R[row]]

    def __len__(self) -> int:
        return len(self._problem_R)

    @overload
    def __getitem__(self, index: int) -> KeptSolution: ...
    @overload
    def __getitem__(self, index: slice) -> list[KeptSolution]: ...
    def __getitem__(self, index: int | slice) -> KeptSolution | list[KeptSolution]:
        chosen = range(len(self))[index]
        return self._read(chosen) if isinstance(chosen, int) else [self._read(n) for n in chosen]

    def _read(self, row: int) -> KeptSolution:
        with atomic.refusals_of(self._folder):
            self._file.flush()
        start, end = self._ends[row], self._ends[row + 1]
        content = os.pread(self._file.fileno(), end - start, start)
        count = self._tokens_R[row]
        behind = max(count, 0) * self._token.itemsize
        taught = None
        if count >= 0:
            tokens_S = np.frombuffer(content[:behind], self._token)
            own = [tokens_S["id"].copy(), tokens_S["logprob"].copy()]
            tops = [tokens_S["ids"].copy(), tokens_S["logprobs"].copy()] if self._has_tops else []
            taught = Taught(*own, *tops)
        return KeptSolution(
            self.problem_of(row), content[behind:].decode("utf-8", "surrogatepass"), taught
        )
