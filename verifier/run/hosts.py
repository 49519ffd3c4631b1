"""The processes of one run: how they find each other, wait for each other and share out work.

Knows no stage, no table and no model.
"""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax

from verifier.errors import ConfigError
from verifier.system import log, stopping

# processes are at most two steps apart, since each waits for the numbers of the step before last
STEPS_TO_AGREE = 4
# a process that is silent for so long is taken for dead, and the others end with an error
HEARTBEAT_SECONDS = 30
# for a process that works; one that has died is noticed by its heartbeat
WAIT_MILLISECONDS = 7 * 24 * 3600 * 1000
_FLAGS = "--coordinator_address, --num_processes and --process_id"
# in the environment with JAX_ before them, as launch/ sets them
_OWN = ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")

_times: dict[str, int] = {}  # how often this process has come to each place
Made = TypeVar("Made")


class Cluster(NamedTuple):
    """Where the processes meet; None: JAX finds out by itself."""

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def find(flags: Cluster, environ: Mapping[str, str], on_tpu: bool) -> Cluster | None:
    """How this process belongs to a run of several; None: it is alone.

    Args:
        flags: what the command line says; it goes before the environment.
        environ: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID (a JobSet's manifest
            sets them), or the variables of a Slurm step.
        on_tpu: this machine has a TPU, which may be one of a pod's.

    Raises:
        ConfigError: some but not all of what is needed, or numbers that make no sense.
    """
    if any(value is not None for value in flags):
        return _checked(flags, _FLAGS)
    own = [environ.get(f"JAX_{name}") for name in _OWN]
    if own[1] is not None or own[2] is not None:
        names = ", ".join(f"JAX_{name}" for name in _OWN)
        numbers = [int(text) if text is not None and text.isdigit() else None for text in own[1:]]
        return _checked(Cluster(own[0], *numbers), names)
    if on_tpu or int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return Cluster()
    return None


def _checked(job: Cluster, names: str) -> Cluster | None:
    if job.coordinator_address is None or job.num_processes is None or job.process_id is None:
        raise ConfigError(
            f"{names} belong together, the last two as numbers: give all three or none"
        )
    if not 0 <= job.process_id < job.num_processes:
        raise ConfigError(
            f"process {job.process_id} of {job.num_processes}: processes count from 0, and all "
            "below their number"
        )
    return job if job.num_processes > 1 else None


def has_tpu() -> bool:
    """Whether this machine has TPU chips and the library for them."""
    chips = any(pathlib.Path(device).exists() for device in ("/dev/accel0", "/dev/vfio/0"))
    return chips and importlib.util.find_spec("libtpu") is not None


def join(job: Cluster) -> None:
    """Meets the other processes; returns when all are there. All but process 0 fall silent."""
    # Where the processes are known, Slurm's plug-in would still give each of them one GPU.
    method = "deactivate" if job.coordinator_address else None
    jax.distributed.initialize(
        *job, heartbeat_timeout_seconds=HEARTBEAT_SECONDS, cluster_detection_method=method
    )
    log.set_process(jax.process_index())


def stopping_after(step: int) -> bool:
    """Whether the run is to stop after this step, which all processes take: the same answer in all,
    wherever the signal came.
    """
    return _agreed("stop", stopping.asked(), step)


class Every:
    """Says, after the same steps in all processes, that so many minutes have passed."""

    def __init__(self, name: str, minutes: float) -> None:
        """name: of what is done so often, and of nothing else in this run; minutes: 0: never."""
        self._name, self._seconds = name, 60 * minutes
        self._last, self._times = time.monotonic(), 0

    def __call__(self, step: int) -> bool:
        """Whether it is time after this step."""
        if not self._seconds:
            return False
        passed = is_first() and time.monotonic() - self._last >= self._seconds  # one clock for all
        due = _agreed(f"{self._name}/{self._times}", passed, step)
        if due:
            self._last, self._times = time.monotonic(), self._times + 1
        return due


def _agreed(name: str, wanted: bool, step: int) -> bool:
    """Whether what some process wants after this step is to happen now: some steps later, so that
    it is the same one in all.
    """
    if jax.process_count() == 1:
        return wanted
    key = f"verifier/{name}"
    if wanted and _known(key) is None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # another process was quicker
            _client().key_value_set(key, str(step + STEPS_TO_AGREE))
    last = _known(key)
    return last is not None and step >= int(last)


def count() -> int:
    """How many processes the run has."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this is the process that writes what is written once."""
    return jax.process_index() == 0


def wait(name: str) -> None:
    """Returns when every process of the run has come to the same place, for the same time there.

    Raises:
        RuntimeError: a process has died (JAX's own error).
    """
    if jax.process_count() > 1:
        _times[name] = _times.get(name, 0) + 1
        _client().wait_at_barrier(f"verifier/{name}/{_times[name]}", WAIT_MILLISECONDS)


def in_turn(name: str, make: Callable[[], Made]) -> Made:
    """Calls `make` in process 0, then in all others; goes on when it has returned in all."""
    made = make() if is_first() else None
    wait(name)
    if made is None:
        made = make()
    wait(name)
    return made


def from_first(name: str, find: Callable[[], str]) -> str:
    """What process 0 finds, in all processes.

    name: of the question, asked once in a run.
    """
    key = f"verifier/{name}"
    if is_first():
        found = find()
        if count() > 1:
            _client().key_value_set(key, found)
        return found
    return str(_client().blocking_key_value_get(key, WAIT_MILLISECONDS))


def claims(name: str) -> Callable[[str], bool]:
    """Shares out pieces of work: the function says of each piece whether this process is the one to
    do it.

    Args:
        name: of the work, the same in all processes and of no other work of this run.
    """
    if jax.process_count() == 1:
        return lambda _: True
    return lambda piece: bool(_client().key_value_increment(f"verifier/{name}/{piece}", 1) == 1)


def share(sizes: Sequence[int]) -> list[int]:
    """The places of the pieces that are this process's to do, when it is known how large each is:
    the largest first, to who has least.
    """
    given = [0] * jax.process_count()
    own = []
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        process = given.index(min(given))
        given[process] += sizes[index]
        if process == jax.process_index():
            own.append(index)
    return sorted(own)


def _known(key: str) -> str | None:
    """What some process has written under a key."""
    try:
        return str(_client().key_value_try_get(key))
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" not in str(error):
            raise
        return None


def _client() -> Any:
    """The run's key-value store."""
    from jax._src.distributed import global_state  # the only way to it; Orbax goes it, too

    return global_state.client
