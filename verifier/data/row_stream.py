"""The rows of a training job, batch by batch: how many there are, which come next, and where a job
that is resumed goes on.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from verifier.errors import ConfigError, DataError

Made = TypeVar("Made")  # what holds the rows of a batch


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which part of the rows of every batch a host gets: part number `index` of `count`."""

    index: int = 0
    count: int = 1


def rows_of(epochs: float, rows: int) -> int:
    """Rows of so many passes over some, rounded up."""
    # The small number keeps 0.1 of 30 rows at 3: in floating point it is a little more.
    return math.ceil(epochs * rows - 1e-9)


class RowStream(abc.ABC, Generic[Made]):
    """An iterator over batches of rows that follow from their number; its position fits into a
    checkpoint.

    Batches run on over the end of an epoch: the last rows of one and the first of the next share a
    batch, so every batch but the very last is full.
    """

    steps_per_epoch: list[int]

    def __init__(self, batch_rows: int, shard: Shard) -> None:
        """Stands at the start; `_end` says where it ends.

        Raises:
            ConfigError: rows that the hosts cannot share evenly.
        """
        if batch_rows < 1 or batch_rows % shard.count:
            raise ConfigError(
                f"batch_rows={batch_rows} cannot be shared by {shard.count} processes; set a "
                "multiple of that"
            )
        self.shard, self._batch_rows, self._done = shard, batch_rows, 0

    def _end(self, ends: Sequence[int]) -> None:
        """ends: the rows from the very start to the end of each epoch."""
        self._ends = ends
        behind = [-(-end // self._batch_rows) for end in ends]
        # The step of an epoch's last row ends it.
        self.steps_per_epoch = [end - start for start, end in itertools.pairwise([0, *behind])]

    def __len__(self) -> int:
        """Batches from the very start to the end."""
        return sum(self.steps_per_epoch)

    def __iter__(self) -> Iterator[Made]:
        """Goes on from the position; a stream is read once, like a file."""
        return self

    def __next__(self) -> Made:
        if self._done >= len(self):
            raise StopIteration
        share = self._batch_rows // self.shard.count
        first = self._done * self._batch_rows + self.shard.index * share
        made = self._batch(range(first, min(first + share, self._ends[-1])), share)
        self._done += 1
        return made

    def state(self) -> dict[str, int]:
        """The position after the last batch given out; JSON-able, the same on every host."""
        return {"batches": self._done, **self._identity()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `state` was taken.

        Raises:
            DataError: the state is of other rows, another seed or another batch size.
        """
        for name, mine in self._identity().items():
            if state.get(name) != mine:
                raise DataError(
                    f"the saved position has {name}={state.get(name)}, here it is {mine}; use "
                    "the old settings or start anew"
                )
        self._done = int(state["batches"])

    @abc.abstractmethod
    def _batch(self, numbers: range, count: int) -> Made:
        """A batch of `count` rows, the first ones of which have numbers from the very start."""

    @abc.abstractmethod
    def _identity(self) -> dict[str, int]:
        """What a position is of."""
