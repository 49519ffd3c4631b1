"""Commands of this project in a checkout of it, as a user starts them: a run's stages, timed.

Knows no job.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from verifier.errors import UserError
from verifier.system import checksums
from verifier.tables.manifests import MANIFEST


class Run(NamedTuple):
    """A run that stands, and how it was asked for."""

    workdir: str
    experiment: str
    settings: Sequence[str]

    def command(self, workdir: pathlib.Path, stages: str, *more: str) -> list[str]:
        """Some of its stages in another workdir; `more`: further assignments to knobs."""
        return [
            sys.executable,
            "-m",
            "verifier.launch",
            f"--exp={self.experiment}",
            f"--workdir={workdir}",
            f"--stages={stages}",
            *(f"--set={each}" for each in [*self.settings, *more]),
        ]

    def linked(self, to: pathlib.Path, parts: Sequence[str], dtype: str) -> pathlib.Path:
        """A new workdir in which some of the run's folders are seen.

        Args:
            to: the workdir.
            parts: of the run's folders.
            dtype: the precision that all in them is said to be of, so that a stage may go on in
                that one; weights are float32 in either.

        Raises:
            UserError: a folder that the run lacks.
        """
        run = pathlib.Path(self.workdir).resolve()
        for part in parts:
            if not (run / part).is_dir():
                raise UserError(f"{self.workdir} has no {part}; run the stages before it first")
            for path in (run / part).rglob("*"):
                here = to / path.relative_to(run)
                here.parent.mkdir(parents=True, exist_ok=True)
                if path.name == MANIFEST:
                    manifest = checksums.read_sealed(path, "make it anew")
                    if "model.dtype" in manifest["settings"]:
                        manifest["settings"]["model.dtype"] = dtype
                    checksums.write_sealed(here, manifest)
                elif path.is_file():
                    here.symlink_to(path)
        return to


@contextlib.contextmanager
def started(
    command: Sequence[str], root: pathlib.Path, environment: Mapping[str, str], said: pathlib.Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a checkout, killed at the end where it still runs.

    Args:
        command: to be run.
        root: of the checkout.
        environment: of the process, but for what it says of the C library's memory: a command
            settles that by itself, which it leaves alone where the environment says anything.
        said: the file that takes what it writes.
    """
    own = {name: value for name, value in environment.items() if not name.startswith("MALLOC_")}
    with said.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=root, env=own, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def finished(
    command: Sequence[str], root: pathlib.Path, environment: Mapping[str, str], said: pathlib.Path
) -> dict[str, Any]:
    """Runs a command to its end: its seconds and the most bytes that it had in memory.

    Raises:
        UserError: it failed; the message is the last of what it said.
    """
    begun = time.monotonic()
    with started(command, root, environment, said) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"{command[2]} has failed: {last_words(said)}")
    seconds = time.monotonic() - begun
    return {"seconds": seconds, "memory": {"peak": usage.ru_maxrss * 1024}}


def last_words(said: pathlib.Path) -> str:
    """The end of what a command wrote."""
    return said.read_text(errors="replace").strip()[-600:]
