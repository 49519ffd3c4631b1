"""How the C library hands out memory: what suits a step on a CPU.

A step asks for the same large arrays again and again, which the library's defaults are not for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Callable, Iterator, Mapping

# By the variable that sets it from outside: the number that glibc's mallopt knows it by, and bytes
# (or a count).
SETTINGS = {
    "MALLOC_ARENA_MAX": (-8, 1),  # each thread's own arena would keep what its thread freed
    # What a step frees at the top stays for the next one, which would clear it anew.
    "MALLOC_TRIM_THRESHOLD_": (-1, 1 << 30),
    "MALLOC_TOP_PAD_": (-2, 64 << 20),
    # The largest there is: larger arrays are always asked of the system.
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),
}

# While the same arrays come again in every step. Up to 6 GB a step were given back and cleared
# anew, a seventh of the time of training.
KEEPING = {
    "MALLOC_TRIM_THRESHOLD_": (-1, -1),  # nothing is given back
    "MALLOC_MMAP_MAX_": (-4, 0),  # nor asked of the system by itself
}
# The number of glibc itself; having been told one thing, it adapts none by itself.
_BEHIND = {**SETTINGS, "MALLOC_MMAP_MAX_": (-4, 65536)}


def settle() -> None:
    """Applies the settings to this process where its C library is glibc; the environment's stay."""
    _apply(SETTINGS)


@contextlib.contextmanager
def keeping() -> Iterator[Callable[[], None]]:
    """Meanwhile freed memory stays with this process; then what is free goes back.

    A step's scratch is one array of some GB. Whatever small array is put into its place once it is
    free makes the place too small for the next step's, which gets another one: twice the memory,
    and once more for an evaluation between them. So the pages of all that is free are to be given
    back when another kind of work begins or has ended; the next step has them cleared anew, once.

    Nothing happens where the environment gives one of KEEPING: the other alone would only scatter
    the memory.

    Yields:
        A function that gives back what is free at the moment.
    """
    if not _has_glibc() or any(variable in os.environ for variable in KEEPING):
        yield lambda: None
        return
    trim = ctypes.CDLL(None).malloc_trim
    _apply(KEEPING)
    try:
        yield lambda: trim(0)
    finally:
        _apply(_BEHIND)
        trim(0)


def variables(settings: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """The settings as an environment gives them to other processes."""
    return {variable: str(value) for variable, (_, value) in settings.items()}


def _apply(settings: Mapping[str, tuple[int, int]]) -> None:
    if not _has_glibc():
        return
    library = ctypes.CDLL(None)
    for variable, (option, value) in settings.items():
        if variable not in os.environ:
            library.mallopt(option, value)


def _has_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
