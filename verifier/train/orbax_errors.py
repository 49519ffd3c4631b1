"""What Orbax says when a file cannot be read or written, as one line with the way out."""

from __future__ import annotations

import pathlib
import sys
from types import TracebackType
from typing import Any

import absl.logging
import jax

from verifier import errors
from verifier.errors import CheckpointError


def quiet() -> None:
    """Silences Orbax.

    Orbax reports every phase of every save, and what it raises anyway with tracebacks of its
    threads.
    """
    absl.logging.set_verbosity(absl.logging.FATAL)
    before = sys.unraisablehook
    if getattr(before, "__name__", "") == "without_late_files":
        return

    # The files of a save that was given up report to a loop that is closed by then.
    def without_late_files(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = without_late_files


def reading(path: pathlib.Path, way_out: str) -> OneLine:
    """Guards the reading of a path; raises CheckpointError."""
    return OneLine(path, "cannot be read", way_out)


def writing(path: pathlib.Path) -> OneLine:
    """Guards the writing of a path; raises CheckpointError."""
    return OneLine(
        path,
        "cannot be written",
        "make room, or mend this disk, and start again: it goes on from what is whole",
    )


class OneLine:
    """Turns what Orbax says of a file it cannot read or write into a line with the way out.

    Orbax says much, in a bare Exception among others. A lack of memory is no fault of the file and
    passes by.
    """

    def __init__(self, path: pathlib.Path, fault: str, way_out: str) -> None:
        self.path, self.fault, self.way_out = path, fault, way_out

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not isinstance(
            error, (errors.UserError, MemoryError, jax.errors.JaxRuntimeError)
        ):
            cause = (str(error).strip().splitlines() or [""])[0][:200]
            raise CheckpointError(
                f"{self.path} {self.fault} ({type(error).__name__}: {cause}); {self.way_out}"
            ) from error
