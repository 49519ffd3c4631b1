"""What a run says while it works: numbers to files, a bar with the time left, single lines.

Knows no stage, no model and no JAX.

Only process 0 of a job over several hosts speaks; the others call `set_process` once and are silent
from then on.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import re
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO

import tqdm

from verifier.system import atomic, paths, wandb_mirror

LINE_SECONDS = 15.0  # between two progress lines where there is no terminal to draw a bar on
# Control characters but the tab and the end of a line, marks that turn the direction of writing,
# halves of pairs.
_STEERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_speaker = True
_wandb_project = ""


def set_process(index: int) -> None:
    """Tells this module which process of the job it runs in; all but process 0 fall silent."""
    global _speaker
    _speaker = index == 0


def mirror_to_wandb(project: str) -> None:
    """From now on the numbers of every job go to a project of Weights & Biases too; "": to none.

    Raises:
        UserError: the package is not installed.
    """
    global _wandb_project
    if project:
        wandb_mirror.check()
    _wandb_project = project


def say(message: str) -> None:
    """Prints one line of status to standard error, without breaking a bar that is being drawn."""
    if _speaker:
        with tqdm.tqdm.external_write_mode(file=sys.stderr):
            _write(sys.stderr, message)


def tell(message: str) -> None:
    """Prints what a command found to standard output."""
    _write(sys.stdout, message)


def complain(error: Exception) -> None:
    """Prints what stopped a command to standard error."""
    _write(sys.stderr, f"error: {error}")


def printable(text: str) -> str:
    """A text that may hold what files, paths and questions hold, with all that would steer a
    terminal or hide in it written out.
    """
    return _STEERS.sub(
        lambda found: found[0].encode("unicode_escape", "backslashreplace").decode(), text
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
    """Keeps off the terminal what JAX remarks of backends that this machine does not have ("Unable
    to initialize backend 'tpu'").

    A command of absl's shows every remark (INFO) by default. Warnings stay, such as of an
    accelerator that is there and not used; and JAX_DEBUG_LOG_MODULES=jax._src.xla_bridge shows all
    again.
    """
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)


class MetricLog:
    """Numbers of one job by step, in `FOLDER/NAME.jsonl` (one object a line) and
    `FOLDER/tensorboard/NAME`.

    A line is on disk once `write` returns to the loop; behind gs:// and s3:// every 15 seconds, and
    without TensorBoard's file.

    A job that resumes passes the first step that it will write: whatever the killed run wrote from
    there on is dropped, so no step appears twice. A job that starts anew (first_step=0) starts an
    empty file.
    """

    def __init__(self, folder: pathlib.Path, name: str, first_step: int = 0) -> None:
        """Opens the files.

        Args:
            folder: the logs folder of a workdir; made where it is missing.
            name: of the job, such as "finetune".
            first_step: lines of this step and later ones are removed.
        """
        self.path = folder / f"{name}.jsonl"
        self._lines: _Lines | None = None
        self._board: _Board | None = None
        self._mirror: wandb_mirror.Mirror | None = None
        if not _speaker:
            return
        self._lines = _Lines(self.path, _kept_lines(self.path, first_step))
        if not paths.is_remote(folder):
            self._board = _Board(folder / "tensorboard" / name, first_step)
        if _wandb_project:
            self._mirror = wandb_mirror.Mirror(_wandb_project, folder, name, first_step)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Appends one line.

        Numbers that are not finite become null in the file: JSON has no word for them.

        Raises:
            WriteError: the file system refuses.
        """
        finite = {
            name: float(value) for name, value in numbers.items() if abs(value) < float("inf")
        }
        if self._lines is not None:
            self._lines.append(
                json.dumps({"step": step, **{name: finite.get(name) for name in numbers}}) + "\n"
            )
        for copy in (self._board, self._mirror):
            if copy is not None:
                copy.write(step, finite)

    def close(self) -> None:
        """Closes both files and ends the mirror; once more does nothing."""
        files = (self._lines, self._board, self._mirror)
        self._lines = self._board = self._mirror = None
        for file in files:
            if file is not None:
                file.close()

    def __enter__(self) -> MetricLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Lines:
    """A file that grows by lines, each on disk at once; an object store, which cannot append, gets
    the whole text again now and then.
    """

    def __init__(self, path: pathlib.Path, text: str) -> None:
        """Starts with `text`, in the place of what is there."""
        self._path, self._text, self._written = path, text, time.monotonic()
        atomic.write_text(path, text)
        with atomic.refusals_of(path):
            # Nothing is left to be written later.
            self._file = None if paths.is_remote(path) else path.open("ab", buffering=0)

    def append(self, line: str) -> None:
        if self._file is not None:
            with atomic.refusals_of(self._path):
                self._file.write(line.encode())
            return
        self._text += line
        if time.monotonic() - self._written >= LINE_SECONDS:
            atomic.write_text(self._path, self._text)
            self._written = time.monotonic()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        else:
            atomic.write_text(self._path, self._text)


class _Board:
    """TensorBoard's file, written in the caller's thread: where the disk is full, tensorboardX's
    own writer would wait for ever.
    """

    def __init__(self, folder: pathlib.Path, first_step: int) -> None:
        # Here, because the offline tools import this module and need no protobuf.
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2

        self._event, self._scalar = event_pb2.Event, summary.scalar
        self._folder = folder
        atomic.make_folder(folder)
        with atomic.refusals_of(folder):
            self._file = event_file_writer.EventsWriter(str(folder / "events"))
            # TensorBoard drops what an earlier run wrote from here on
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._file.write_event(
                event_pb2.Event(wall_time=time.time(), step=first_step, session_log=start)
            )
        self._flushed = time.monotonic()

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        values = [
            value for name, number in numbers.items() for value in self._scalar(name, number).value
        ]
        with atomic.refusals_of(self._folder):
            self._file.write_event(
                self._event(wall_time=time.time(), step=step, summary={"value": values})
            )
            if time.monotonic() - self._flushed >= LINE_SECONDS:
                self._file.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        with atomic.refusals_of(self._folder):
            self._file.close()


def _kept_lines(path: pathlib.Path, first_step: int) -> str:
    """The lines before `first_step`; a half line that a kill left behind goes too."""
    kept = ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            step = json.loads(line)["step"]
        except json.JSONDecodeError:
            break  # lines are written in order: nothing sound follows a torn one
        if step < first_step:
            kept += line + "\n"
    return kept


class Progress:
    """A bar with the time left on a terminal; elsewhere one plain line every 15 seconds and one at
    the end.
    """

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
        self._shown = ""
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
        self._shown = ", ".join(f"{name} {_short(value)}" for name, value in numbers.items())
        if self._bar is not None:
            self._bar.set_postfix_str(self._shown, refresh=False)
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _line(self) -> None:
        """Prints where the job stands."""
        self._last_line = self._clock()
        elapsed = self._last_line - self._begin
        made = self.done - self._first
        left = _duration(elapsed * max(self.total - self.done, 0) / made) if made else "?"
        share = 100 * self.done // max(self.total, 1)
        numbers = f", {self._shown}" if self._shown else ""
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
