"""The grader `math_verify`: math-verify in a process of its own, with a deadline.

Where a solution keeps it busy for too long, it is ended and started anew. What it does is in
math_worker.py.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import math
import pathlib
import selectors
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from verifier.errors import MathProcessError
from verifier.grading.answer_styles import answer_line
from verifier.grading.number import parse_number

_WORKER = pathlib.Path(__file__).parent / "math_worker.py"
_START_SECONDS = 300  # until the process is ready: the import of SymPy on a slow disk
# Questions whose verdicts are kept, with their texts: without a mark one is a whole solution.
_KNOWN = 1 << 12
# The process ends itself; one that waits, computing nothing, is ended after so many times as many
# seconds.
_PATIENCE = 10


class MathVerify:
    """Grades solutions one by one; a context, whose end ends the process.

    What follows the last `####` is read, up to the end of the line; without the mark the whole
    text, as the package reads it (the last box, what follows the word "answer", the last expression
    or number). The mark goes first because amounts such as `$5 and $10` would be taken for LaTeX.

    Attributes:
        not_graded: solutions that were given up on; each counts as wrong.
    """

    def __init__(
        self, seconds: float, command: Sequence[str] = (sys.executable, "-P", str(_WORKER))
    ) -> None:
        """Starts nothing yet.

        Args:
            seconds: of computing for one solution.
            command: starts the process; the seconds are appended.

        Raises:
            MathProcessError: the package is not installed.
        """
        check_installed()
        self.not_graded = 0
        self._seconds = seconds
        self._command = [*command, str(seconds)]
        self._process: subprocess.Popen[bytes] | None = None
        self._read = b""
        # Samples of a problem repeat each other's answers, and what hangs once hangs again.
        self._graded = functools.lru_cache(maxsize=_KNOWN)(self._grade)

    def __enter__(self) -> MathVerify:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def __call__(self, solution: str, gold: str) -> tuple[str | None, bool]:
        """The answer and the verdict; (None, False) for a solution that is given up on, too.

        Raises:
            MathProcessError: the process does not start.
        """
        question = _what_is_read(solution), _what_is_read(gold)
        if not all(each.strip() for each in question):
            return None, False
        graded = self._graded(question)
        self.not_graded += graded is None
        return graded or (None, False)

    def _grade(self, question: tuple[str, str]) -> tuple[str | None, bool] | None:
        process = self._process or self._start()
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:
            reply = None
        else:
            reply = self._line(process, _PATIENCE * self._seconds)
        if reply is None:
            self._end()
            return None
        read_from, correct = reply
        value = self._line(process, _PATIENCE * self._seconds)
        if value is None:  # the verdict stands, whatever keeps the value
            self._end()
        [value] = value or [None]
        # A number as it was written, else its value: votes count equal numbers together, and the
        # others by their text.
        return (
            read_from if read_from and parse_number(read_from) is not None else value or read_from
        ), correct

    def _start(self) -> subprocess.Popen[bytes]:
        new_session = True  # Ctrl-C is for the run
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=new_session,
        )
        self._read = b""
        if self._line(self._process, _START_SECONDS) != "ready":
            status = self._end()
            raise MathProcessError(
                f"math-verify did not start ({' '.join(self._command)} ended with status "
                f"{status}; its message is above): mend its installation with pip install "
                "'math-verify>=0.9', or take another grader"
            )
        return self._process

    def _line(self, process: subprocess.Popen[bytes], seconds: float) -> Any:
        """The next line, decoded; None where the process has ended or nothing comes.

        Time is counted in waits of a second: one in which the whole machine was suspended counts
        once, not as the hours it took.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
            waits = math.ceil(seconds)
            while b"\n" not in self._read:
                if not selector.select(timeout=1.0):
                    waits -= 1
                    if waits <= 0:
                        return None
                    continue
                piece = process.stdout.read1()  # type: ignore[union-attr]
                if not piece:
                    return None
                self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def _end(self) -> int | None:
        """Ends the process, if there is one, and gives its status."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        process.stdout.close()  # type: ignore[union-attr]
        with contextlib.suppress(BrokenPipeError):  # a question that it never read
            process.stdin.close()  # type: ignore[union-attr]
        return process.wait()


def check_installed() -> None:
    """Raises MathProcessError where the package math-verify is missing."""
    if importlib.util.find_spec("math_verify") is None:
        way_out = "pip install 'math-verify>=0.9', or take another grader"
        raise MathProcessError(f"the grader math_verify needs the package math-verify: {way_out}")


def _what_is_read(text: str) -> str:
    line = answer_line(text)
    return text if line is None else line
