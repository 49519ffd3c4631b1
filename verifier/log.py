"""What a run says while it works: numbers to files, a bar with the time left, single lines. Knows no stage, no model and no JAX.

Only process 0 of a job over several hosts speaks; the others call `set_process` once and are silent from then on.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TextIO

import tqdm

from verifier import atomic, wandb_mirror

LINE_SECONDS = 15.0  # between two progress lines where there is no terminal to draw a bar on
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
        tqdm.tqdm.write(message, file=sys.stderr)
        sys.stderr.flush()


class MetricLog:
    """Numbers of one job by step, in `FOLDER/NAME.jsonl` (one object a line) and `FOLDER/tensorboard/NAME`.

    A line is on disk once `write` returns to the loop. A job that resumes passes the first step that it will write: whatever the killed
    run wrote from there on is dropped, so no step appears twice. A job that starts anew (first_step=0) starts an empty file.
    """

    def __init__(self, folder: pathlib.Path, name: str, first_step: int = 0) -> None:
        """Opens the files.

        Args:
            folder: the logs folder of a workdir; made where it is missing.
            name: of the job, such as "finetune".
            first_step: lines of this step and later ones are removed.
        """
        self.path = folder / f"{name}.jsonl"
        self._file: TextIO | None = None
        if not _speaker:
            return
        from tensorboardX import SummaryWriter  # here, because the offline tools import this module and need no protobuf

        atomic.make_folder(folder)
        _drop_lines(self.path, first_step)
        self._file = self.path.open("a", encoding="utf-8", buffering=1)
        self._board = SummaryWriter(str(folder / "tensorboard" / name), purge_step=first_step)
        self._mirror = wandb_mirror.Mirror(_wandb_project, folder, name, first_step) if _wandb_project else None

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Appends one line. Numbers that are not finite become null in the file: JSON has no word for them."""
        if self._file is None:
            return
        finite = {name: float(value) for name, value in numbers.items() if abs(value) < float("inf")}
        line = {"step": step, **{name: finite.get(name) for name in numbers}}
        self._file.write(json.dumps(line) + "\n")
        for name, value in finite.items():
            self._board.add_scalar(name, value, step)
        if self._mirror is not None:
            self._mirror.write(step, finite)

    def close(self) -> None:
        """Closes both files."""
        if self._file is not None:
            self._file.close()
            self._board.close()
            self._file = None
            if self._mirror is not None:
                self._mirror.close()

    def __enter__(self) -> MetricLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _drop_lines(path: pathlib.Path, first_step: int) -> None:
    """Keeps the lines before `first_step`; a half line that a kill left behind goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            step = json.loads(line)["step"]
        except json.JSONDecodeError:
            break  # lines are written in order: nothing sound follows a torn one
        if step < first_step:
            kept.append(line + "\n")
    atomic.write_text(path, "".join(kept))


class Progress:
    """A bar with the time left on a terminal; elsewhere one plain line every 15 seconds and one at the end."""

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
            done: units that an earlier run has finished; the time left is judged from this run's pace alone.
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
            self._bar = tqdm.tqdm(total=total, initial=done, unit=unit, desc=description, file=self._stream, dynamic_ncols=True)

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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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
        print(f"{self.description}: {self.done}/{self.total} {self.unit}s ({share}%), {times}{numbers}", file=self._stream, flush=True)


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
