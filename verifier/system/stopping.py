"""Being asked to stop, by SIGTERM (a cluster takes the machine away) or SIGINT (Ctrl-C).

The first signal lets a loop that saves (`saving`) go on to its next step. Whatever else is under
way (imports, compilers, a model being made, a report) ends at once, and so does everything at a
second one: that is as safe as a kill, for files are whole or not there.

A thread of its own does it: Python's handlers wait until a compiler has come back, and what they
raise can get lost in somebody's callback.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

# Of a run that was asked to stop and can go on (sysexits.h: EX_TEMPFAIL, try again).
SAVED_STATUS = 75

_asked = threading.Event()
_watched = False  # whether the thread is there
_saving = False  # whether a loop is at work that saves when it is asked to stop
_polled = False  # whether it has come to the end of a step: what it needs is compiled
_doing = "before its first stage"
_before_the_end: list[Callable[[], None]] = []


def listen(goes_on: bool) -> None:
    """From now on both signals ask to stop.

    To be said once more after a library has taken them for itself.

    Args:
        goes_on: the same command goes on from what is there (status 75 at the first signal); else
            128 + the signal's number.
    """
    global _watched
    for number in (signal.SIGTERM, signal.SIGINT):
        # Python's own part; the signal's number goes to the thread
        signal.signal(number, lambda *_: None)
    if _watched:
        return
    _watched = True
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, goes_on), name="signals", daemon=True).start()


def asked() -> bool:
    """Whether the run is to stop; a loop under `saving` asks after every step."""
    global _polled
    _polled = _saving
    return _asked.is_set()


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """Around a loop that asks after every step and then saves what it has.

    From its first question on a signal waits for the next one.
    """
    global _saving, _polled
    _saving, _polled = True, False
    try:
        yield
    finally:
        _saving = _polled = False


def say_what(doing: str) -> None:
    """What is under way from now on, for the line that says where it was stopped."""
    global _doing
    _doing = doing


def before_the_end(clean: Callable[[], None]) -> None:
    """Has something called, once, before this process ends at once: to remove what is torn."""
    if clean not in _before_the_end:
        _before_the_end.append(clean)


def _watch(reader: int, goes_on: bool) -> None:
    """Waits for signals, and ends the process where nobody else will."""
    while numbers := os.read(reader, 1):
        number = numbers[0]
        again = _asked.is_set()
        _asked.set()
        if number not in (signal.SIGTERM, signal.SIGINT) or (_polled and not again):
            continue
        for clean in _before_the_end:
            clean()
        line, status = f"stopped: {_doing}; the same command goes on from here\n", SAVED_STATUS
        if again or not goes_on:
            line, status = "stopped\n", 128 + number
        os.write(2, line.encode())
        os._exit(status)
