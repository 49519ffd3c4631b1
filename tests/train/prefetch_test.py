"""Batches made ahead: their order, their own positions, errors in turn, a thread that ends."""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
import pytest

from tests.train import fakes
from verifier.train import prefetch


def names() -> list[str]:
    """Threads that still make batches."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_batches_come_in_order_with_positions_of_their_own():
    stream = fakes.Stream(1, 6)
    with contextlib.closing(prefetch.ahead(stream, lambda batch: batch, most=3)) as batches:
        for n, ready in enumerate(batches, start=1):
            wanted = fakes.random_batch(n)
            np.testing.assert_array_equal(ready.on_device.tokens_BT, wanted.tokens_BT)
            assert ready.position == {"position": n} and ready.tokens == 40
            deadline = time.monotonic() + 5
            # the stream itself runs ahead
            while stream.position < min(n + 3, 6) and time.monotonic() < deadline:
                time.sleep(0.001)
            assert stream.position == min(n + 3, 6)
    assert n == 6 and not names()


def test_an_error_comes_where_its_batch_would_have_come():
    with (
        pytest.raises(KeyboardInterrupt),
        contextlib.closing(
            prefetch.ahead(fakes.Stream(1, 6, die_after=4), lambda batch: batch)
        ) as batches,
    ):
        taken = 0
        for _ in batches:
            taken += 1
    assert taken == 4 and not names()


def test_a_batch_that_the_device_cannot_hold_is_told_too():
    def full(batch):
        raise MemoryError("no room on the device")

    with (
        pytest.raises(MemoryError, match="no room"),
        contextlib.closing(prefetch.ahead(fakes.Stream(1, 2), full)) as batches,
    ):
        next(batches)


def test_whoever_stops_early_leaves_no_thread_behind():
    with contextlib.closing(prefetch.ahead(fakes.Stream(1, 1000), lambda batch: batch)) as batches:
        next(batches)
    assert not names()
