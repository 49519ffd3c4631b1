"""How short things are timed. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def best_seconds(call: Callable[[], Any], seconds: float) -> float:
    """The shortest of as many calls as `seconds` hold, three at least, after two that do not
    count.
    """
    call()
    call()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)
