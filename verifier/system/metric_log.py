"""The numbers of a job by step: lines of JSON, TensorBoard's file and, where asked for, W&B.

Only process 0 of a job over several hosts writes them.
"""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from verifier.system import atomic, log, paths, wandb_mirror

# Between two writes of what need not be on disk at once: TensorBoard's file, and a whole text
# behind an object store.
_FLUSH_SECONDS = 15.0
_wandb_project = ""


def mirror_to_wandb(project: str) -> None:
    """From now on the numbers of every job go to a project of Weights & Biases too; "": to none.

    Raises:
        UserError: the package is not installed.
    """
    global _wandb_project
    if project:
        wandb_mirror.check()
    _wandb_project = project


class MetricLog:
    """Numbers of one job by step.

    The files are `FOLDER/NAME.jsonl` (one object a line) and `FOLDER/tensorboard/NAME`.

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
        if not log.speaks():
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

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """The numbers of a job by name, each with its steps; those that were not finite are left out.

    Args:
        path: of its lines; where there is no such file there are no numbers.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for line in _sound_lines(path):
        for name, value in line.items():
            if name != "step" and value is not None:
                found.setdefault(name, []).append((line["step"], value))
    return found


class _Lines:
    """A file that grows by lines, each on disk at once.

    An object store, which cannot append, gets the whole text again now and then.
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
        if time.monotonic() - self._written >= _FLUSH_SECONDS:
            atomic.write_text(self._path, self._text)
            self._written = time.monotonic()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        else:
            atomic.write_text(self._path, self._text)


class _Board:
    """TensorBoard's file, written in the caller's thread.

    Where the disk is full, tensorboardX's own writer would wait for ever.
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
            if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
                self._file.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        with atomic.refusals_of(self._folder):
            self._file.close()


def _kept_lines(path: pathlib.Path, first_step: int) -> str:
    """The lines before `first_step`; a half line that a kill left behind goes too."""
    kept = (line for line in _sound_lines(path) if line["step"] < first_step)
    return "".join(json.dumps(line) + "\n" for line in kept)


def _sound_lines(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Lines are written in order: nothing sound follows a torn one."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return
