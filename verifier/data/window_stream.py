"""Batches of windows in an order that any host can work out alone, resumable between any two.

Of an epoch its permutation alone is held, 8 bytes a window: which windows a batch has follows from
its number, so that a job goes on in the middle without reading what came before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from verifier.data.ahead import ahead_targets
from verifier.data.batches import Batch, BatchSpec, Shard, zeros
from verifier.data.order import shuffled
from verifier.data.windows import Windows
from verifier.errors import ConfigError, DataError


class WindowStream:
    """An iterator over the batches of a training job, a window a row; see `batches.BatchStream`."""

    def __init__(
        self,
        windows: Windows,
        seed: int,
        spec: BatchSpec,
        epochs: float = 1.0,
        steps: int = 0,
        shard: Shard | None = None,
    ) -> None:
        """Counts its steps.

        Args:
            windows: the same on every host.
            seed: with the number of the epoch it gives the order.
            spec: of a batch over all hosts, with the targets of `losses.lm` or `losses.quiet`. The
                last batch of all is filled up with empty rows.
            epochs: passes over the windows; may be a fraction.
            steps: so many full batches, whatever `epochs` says; 0: by `epochs`.
            shard: of this host; None: there is one.

        Raises:
            DataError: no window, or rows of another length.
            ConfigError: rows that the hosts cannot share evenly.
        """
        shard = shard or Shard()
        if not len(windows) or spec.row_tokens != windows.window_tokens:
            raise DataError(
                f"{windows.folder} has {len(windows):,} windows of {windows.window_tokens} tokens; "
                f"expected some of row_tokens={spec.row_tokens}"
            )
        if spec.batch_rows % shard.count:
            raise ConfigError(
                f"batch_rows={spec.batch_rows} cannot be shared by {shard.count} processes; set a "
                "multiple of that"
            )
        self.spec, self.shard = spec, shard
        self._windows, self._seed, count = windows, seed, len(windows)
        # The small number keeps 0.1 of 30 rows at 3: in floating point it is a little more.
        self._rows = steps * spec.batch_rows or math.ceil(epochs * count - 1e-9)
        ends = [min(end, self._rows) for end in range(count, self._rows + count, count)]
        behind = [0, *(-(-end // spec.batch_rows) for end in ends)]
        self.steps_per_epoch = np.diff(behind).tolist()
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))
        self._done = 0

    def __len__(self) -> int:
        """Batches from the very start to the end."""
        return sum(self.steps_per_epoch)

    def __iter__(self) -> Iterator[Batch]:
        """Goes on from the position."""
        return self

    def __next__(self) -> Batch:
        if self._done >= len(self):
            raise StopIteration
        share = self.spec.batch_rows // self.shard.count
        first = self._done * self.spec.batch_rows + self.shard.index * share
        batch = zeros(self.spec._replace(batch_rows=share))
        for row, number in enumerate(range(first, min(first + share, self._rows))):
            fill(batch, row, self._windows, self._window_of(number))
        self._done += 1
        return batch

    def state(self) -> dict[str, int]:
        """The position after the last batch given out; JSON-able, the same on every host."""
        return {"batches": self._done, **self._identity()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `state` was taken.

        Raises:
            DataError: the state is of other windows, another seed or another batch size.
        """
        for name, mine in self._identity().items():
            if state.get(name) != mine:
                raise DataError(
                    f"the saved position has {name}={state.get(name)}, here it is {mine}; use "
                    "the old settings or start anew"
                )
        self._done = int(state["batches"])

    def _identity(self) -> dict[str, int]:
        return {
            "seed": self._seed,
            "batch_rows": self.spec.batch_rows,
            "row_tokens": self.spec.row_tokens,
            "windows": len(self._windows),
        }

    def _window_of(self, number: int) -> int:
        """The window of a row, counted from the very start."""
        epoch, place = divmod(number, len(self._windows))
        if self._order[0] != epoch:
            self._order = (epoch, shuffled(len(self._windows), self._seed, epoch))
        return int(self._order[1][place])


def fill(batch: Batch, row: int, windows: Windows, index: int) -> None:
    """Writes a window into an empty row: each of its documents is a text of its own, whose every
    token but the first is predicted.
    """
    batch.tokens_BT[row] = tokens_T = windows[index]
    for start, end, *_ in windows.pieces(index):
        batch.positions_BT[row, start:end] = np.arange(end - start)
        batch.ends_BT[row, start:end] = end
        weight_T = np.ones(end - start, np.float32)
        weight_T[-1] = 0
        targets = {"lm_weight": weight_T, "lm_target": np.append(tokens_T[start + 1 : end], 0)}
        if (ahead_BTM := batch.targets.get("ahead_weight")) is not None:
            targets |= ahead_targets(weight_T, ahead_BTM.shape[2])
        for key, target in batch.targets.items():
            if key in targets:
                target[row, start:end] = targets[key]
            elif key in windows.beside:
                target[row, start:end] = windows.beside[key][index, start:end]
