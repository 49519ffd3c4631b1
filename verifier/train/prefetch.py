"""Builds the next batches and puts them on the device while a step runs."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from verifier.data.batches import Batch


class Stream(Protocol):
    """`data.batches.BatchStream`, or what else can say where it stands and go on from there."""

    steps_per_epoch: list[int]

    def __iter__(self) -> Iterator[Batch]: ...
    def __len__(self) -> int: ...  # steps of the whole job
    def state(self) -> dict[str, Any]: ...  # after the batch handed out last
    def restore(self, state: dict[str, Any]) -> None: ...


class Ready(NamedTuple):
    """A batch that a step can take."""

    on_device: Batch
    tokens: int  # real ones, of this host's rows
    position: Mapping[str, Any]  # of the stream behind this batch: what a checkpoint saves


def ahead(
    stream: Stream, to_device: Callable[[Batch], Batch], most: int = 2
) -> Generator[Ready, None, None]:
    """The batches of a stream in their order, made by one thread ahead of whoever takes them.

    A batch's own position travels with it, for the stream itself stands further on.

    Args:
        stream: used by the thread alone from now on.
        to_device: host batch to device batch.
        most: batches made and not yet taken, each of them in the device's memory.

    Yields:
        Batches. Close the generator (`contextlib.closing`) to end the thread before the stream
        ends.

    Raises:
        BaseException: what the stream or `to_device` raises, where the batch that could not be made
            would have come.
    """
    batches = iter(stream)

    def make() -> Ready | None:
        batch = next(batches, None)
        return (
            None
            if batch is None
            else Ready(to_device(batch), int((batch.ends_BT > 0).sum()), stream.state())
        )

    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        waiting = collections.deque(thread.submit(make) for _ in range(most))
        try:
            while (ready := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(make))
                yield ready
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
