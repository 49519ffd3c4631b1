"""Contenders as processes: started, asked, put to sleep while others run, closed.

Knows no job and no figures.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Any

from verifier.system import allocator

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Every contender gets this project's settings, so that none gains by its allocator alone.
MALLOC = allocator.variables(allocator.SETTINGS)

DTYPES = ("float32", "bfloat16")  # a contender's name may end with the one that it computes in


class Failed(RuntimeError):
    """A contender's process has ended before its answer; the message is the last thing it said."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """Who takes part: a module of this package that serves jobs, and what it is told."""

    name: str
    module: str  # benchmarks.<module>
    python: str  # which environment's interpreter
    load: Mapping[str, Any]  # arguments of its job "load"
    # arguments that only this contender gets with every job
    job: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    short_warm_up: bool = True  # nothing is compiled for a size, so that a small job warms it up
    root: pathlib.Path = ROOT  # the checkout whose modules it runs
    dtype: str = DTYPES[0]  # of its products and caches


class Process:
    """A running contender.

    It sleeps (SIGSTOP) whenever it is not asked, so that no thread of it spins beside another's
    measurement.
    """

    def __init__(self, contender: Contender, environment: Mapping[str, str]) -> None:
        """Starts the process; nothing is loaded before it is asked to."""
        self.contender = contender
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        self._process = subprocess.Popen(
            [contender.python, "-m", f"benchmarks.{contender.module}"],
            cwd=contender.root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            # apart from the driver's, which a shell may watch; the system ends it when the driver
            # has gone
            process_group=0,
        )

    def ask(self, job: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one job.

        Raises:
            Failed: the process ended instead.
        """
        assert self._process.stdin and self._process.stdout
        if self._process.poll() is not None:
            raise Failed(self._last_words())
        os.kill(self._process.pid, signal.SIGCONT)
        self._process.stdin.write(json.dumps({"job": job, "arguments": dict(arguments)}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise Failed(self._last_words())
        os.kill(self._process.pid, signal.SIGSTOP)
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process, and what it has started."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGCONT)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()

    def _last_words(self) -> str:
        self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode("utf-8", "replace").strip()
        print(said[-4000:], file=sys.stderr)
        lines = said.splitlines()
        return (
            without_folders(lines[-1][:500])
            if lines
            else f"exit status {self._process.returncode}, nothing said"
        )


def kind(name: str) -> str:
    """A contender's name without its precision."""
    first, _, last = name.rpartition("-")
    return first if last in DTYPES else name


def precision(name: str, usual: str) -> str:
    """The precision that a contender's name ends with, `usual` where it ends with none."""
    last = name.rpartition("-")[2]
    return last if last in DTYPES else usual


def environment(cache: pathlib.Path, threads: int) -> dict[str, str]:
    """What every contender finds in its environment."""
    own = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }
    own |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    own |= {"JAX_COMPILATION_CACHE_DIR": str(cache / "jax")}
    own |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # contenders share the accelerator's memory
    return {**os.environ, **MALLOC, **own}


def use_cores(threads: int) -> int:
    """Binds this process, and so all contenders, to the first `threads` cores it may use (0: all):
    XLA takes a thread for each it sees.
    """
    cores = sorted(os.sched_getaffinity(0))
    used = cores[: threads or None]
    os.sched_setaffinity(0, used)
    return len(used)


def without_folders(text: str) -> str:
    """The text with every path cut down to its last name: results are published, folders of one
    machine tell nobody anything.
    """
    return re.sub(r"(?<![\w.])(?:~|\.{0,2})/(?:[^\s/'\":=,]+/)*([^\s/'\":=,]+)", r"\1", text)
