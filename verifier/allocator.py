"""How the C library hands out memory: a step on a CPU asks for the same large arrays again and again, which its defaults are not for."""

from __future__ import annotations

import ctypes
import os
import platform

# By the variable that sets it from outside: the number that glibc's mallopt knows it by, and bytes (or a count).
SETTINGS = {
    "MALLOC_ARENA_MAX": (-8, 1),  # each thread's own arena would keep what its thread freed
    "MALLOC_TRIM_THRESHOLD_": (-1, 1 << 30),  # what a step frees at the top stays for the next one, which would clear it anew
    "MALLOC_TOP_PAD_": (-2, 64 << 20),
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),  # the largest there is: larger arrays are always asked of the system
}


def settle() -> None:
    """Applies the settings to this process, but for those that its environment gives; nothing where the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    for variable, (option, value) in SETTINGS.items():
        if variable not in os.environ:
            library.mallopt(option, value)
