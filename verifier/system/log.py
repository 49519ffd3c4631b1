"""What a run says on its terminal: single lines, and a bar with the time left.

Only process 0 of a job over several hosts speaks; the others call `set_process` once and are silent
from then on.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import tqdm

LINE_SECONDS = 15.0  # between two progress lines where there is no terminal to draw a bar on
# Control characters but the tab and the end of a line, marks that turn the direction of writing,
# halves of pairs.
_STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_speaker = True


def set_process(index: int) -> None:
    """Tells this module which process of the job it runs in; all but process 0 fall silent."""
    global _speaker
    _speaker = index == 0


def speaks() -> bool:
    """Whether this process is the one that speaks."""
    return _speaker


def say(message: str) -> None:
    """Prints one line of status to standard error, without breaking a bar that is being drawn."""
    if _speaker:
        with tqdm.tqdm.external_write_mode(file=sys.stderr):
            _write(sys.stderr, message)


def tell(message: str) -> None:
    """Prints the results of a command to standard output."""
    _write(sys.stdout, message)


def complain(error: Exception) -> None:
    """Prints what stopped a command to standard error."""
    _write(sys.stderr, f"error: {error}")


def printable(text: str) -> str:
    """A text with all that would steer a terminal, or hide in it, written out.

    The text may hold what files, paths and questions hold.
    """
    return _STEERS.sub(
        lambda match: match[0].encode("unicode_escape", "backslashreplace").decode(), text
    )


def _write(stream: TextIO, message: str) -> None:
    encoding = stream.encoding or "utf-8"
    try:
        print(
            printable(message).encode(encoding, "backslashreplace").decode(encoding),
            file=stream,
            flush=True,
        )
    # Its reader has read enough, as `head` has; what is buffered goes nowhere, or Python would
    # complain at its end.
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def leave_out_remarks() -> None:
    """Keeps off the terminal what JAX remarks of backends that are not there.

    A remark of that kind is "Unable to initialize backend 'tpu'".

    A command of absl's shows every remark (INFO) by default. Warnings stay, such as of an
    accelerator that is there and not used; and JAX_DEBUG_LOG_MODULES=jax._src.xla_bridge shows all
    again.
    """
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)


class Progress:
    """A bar with the time left on a terminal; elsewhere a line every 15 seconds."""

    def __init__(
        self,
        total: int,
        unit: str,
        description: str,
        *,
        done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the bar.

        Args:
            total: units of the whole job.
            unit: what is counted, in the singular, such as "step".
            description: the name of the job.
            done: units that an earlier run has finished; the time left is judged from this run's
                pace alone.
            stream: where to draw; standard error by default.
            clock: seconds, ever rising.
        """
        self.total, self.unit, self.description, self.done = total, unit, description, done
        self._stream = stream or sys.stderr
        self._clock = clock
        self._begin = self._last_line = clock()
        self._first = done
        self._numbers = ""
        self._bar: Any = None
        if _speaker and self._stream.isatty():
            self._bar = tqdm.tqdm(
                total=total,
                initial=done,
                unit=unit,
                desc=description,
                file=self._stream,
                dynamic_ncols=True,
            )

    def advance(self, units: int = 1, **numbers: float | str) -> None:
        """Counts `units` more as done and shows the numbers beside the bar."""
        self.done += units
        self._numbers = ", ".join(f"{name} {_short(value)}" for name, value in numbers.items())
        if self._bar is not None:
            self._bar.set_postfix_str(self._numbers, refresh=False)
            self._bar.update(units)
        elif _speaker and self._clock() - self._last_line >= LINE_SECONDS:
            self._line()

    def close(self) -> None:
        """Draws the last state and leaves it standing."""
        if self._bar is not None:
            self._bar.close()
        elif _speaker and self.done > self._first:
            self._line()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self) -> None:
        """Prints where the job stands."""
        self._last_line = self._clock()
        elapsed = self._last_line - self._begin
        made = self.done - self._first
        left = _duration(elapsed * max(self.total - self.done, 0) / made) if made else "?"
        share = 100 * self.done // max(self.total, 1)
        numbers = f", {self._numbers}" if self._numbers else ""
        times = f"{_duration(elapsed)} gone, {left} left"
        print(
            f"{self.description}: {self.done}/{self.total} {self.unit}s ({share}%), "
            f"{times}{numbers}",
            file=self._stream,
            flush=True,
        )


def _short(value: float | str) -> str:
    """A number as a person reads it: 12,345 or 0.1235."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _duration(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
