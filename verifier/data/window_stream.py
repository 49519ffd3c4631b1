"""Batches of windows in an order that any host can work out alone, resumable between any two.

Of an epoch its permutation alone is held, 8 bytes a window: which windows a batch has follows from
its number, so that a job goes on in the middle without reading what came before.
"""

from __future__ import annotations

import numpy as np

from verifier.data.ahead import ahead_targets
from verifier.data.batches import Batch, BatchSpec, zeros
from verifier.data.order import shuffled
from verifier.data.row_stream import RowStream, Shard, rows_of
from verifier.data.windows import Windows
from verifier.errors import DataError


class WindowStream(RowStream[Batch]):
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
        super().__init__(spec.batch_rows, shard)
        self.spec = spec
        self._windows, self._seed, count = windows, seed, len(windows)
        rows = steps * spec.batch_rows or rows_of(epochs, count)
        self._end([min(end, rows) for end in range(count, rows + count, count)])
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def _batch(self, numbers: range, count: int) -> Batch:
        batch = zeros(self.spec._replace(batch_rows=count))
        for row, number in enumerate(numbers):
            fill(batch, row, self._windows, self._window_of(number))
        return batch

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
