"""The allocator's settings reach this process: freed memory stays, or goes back to the system."""

import os
import platform
import subprocess
import sys

import pytest

from verifier.system import allocator

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def printed(script, **more):
    """The numbers that a script prints in a process whose environment has none of the settings but
    `more`.
    """
    plain = {
        name: value
        for name, value in os.environ.items()
        if name not in {**allocator.SETTINGS, **allocator.KEEPING}
    }
    run = subprocess.run(
        [sys.executable, "-c", script], env=plain | more, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return [int(word) for word in run.stdout.split()]


# Asks for 16 MB at the end of the heap and frees it: resident bytes before and after.
SCRIPT = """
import ctypes, os
from verifier.system import allocator
if {settle}: allocator.settle()
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
library.mallopt(-3, 32 << 20)  # from the heap in either case
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
block = library.malloc(16 << 20)
ctypes.memset(block, 1, 16 << 20)
library.free(block)
print(resident() - before)
"""


def test_freed_memory_stays_where_the_settings_say_so():

    def left(settle, **more):
        return printed(SCRIPT.format(settle=settle), **more)[0]

    assert left(True) > 15 << 20
    assert left(False) < 2 << 20
    # The environment goes first.
    assert left(True, MALLOC_TRIM_THRESHOLD_="131072", MALLOC_TOP_PAD_="0") < 2 << 20


# Asks for 48 MB, which `settle` alone takes from the system and gives back, and frees it: resident
# bytes inside `keeping` and behind it.
KEEPING = """
import ctypes, os
from verifier.system import allocator
allocator.settle()
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()

def used():
    block = library.malloc(48 << 20)
    ctypes.memset(block, 1, 48 << 20)
    library.free(block)
    return resident() - before

with allocator.keeping() as give_back:
    inside = used()
    give_back()
    given = resident() - before
    used()
print(inside, given, resident() - before)
"""


def test_large_arrays_stay_only_while_they_are_kept_and_until_they_are_given_back():
    inside, given, behind = printed(KEEPING)
    assert inside > 40 << 20
    assert given < 8 << 20
    assert behind < 8 << 20


# Touches and frees 8 MB again and again, before and behind `keeping`, in a process that has settled
# nothing: pages that come anew.
BEHIND = """
import ctypes, resource
from verifier.system import allocator
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = library.malloc(8 << 20)
        ctypes.memset(block, 1, 8 << 20)
        library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with allocator.keeping():
    pass
faults()
print(faults())
"""


def test_a_process_that_has_settled_nothing_is_no_slower_for_having_kept():
    assert printed(BEHIND)[0] < 2_000  # of the 40,960 pages touched
