"""Which sample follows which row: a lane each, in which the device draws for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from verifier.model.sampling import MOST_RANK


def ranked(rank: int, number: int = 0) -> int:
    """The id, below 0, of a sample that takes the tokens of a rank, the most likely one being 1.

    number: another id for each, so that several of a problem may be under way.
    """
    return -rank - MOST_RANK * number


def rank_of(sample: np.ndarray | int) -> np.ndarray | int:
    """Which rank an id below 0 takes."""
    return (-sample - 1) % MOST_RANK + 1


GREEDY = ranked(1)  # takes the most likely token at every step


def first_of(tokens: Sequence[int], number: int, below: int = 2**63) -> int:
    """The first of the sample ids that belong to a text: what they draw behind it depends on
    nothing else that is drawn.

    Args:
        tokens: of the text.
        number: of its ids, which follow each other; those of two texts are the same, or distinct.
        below: which all ids are.
    """
    digest = hashlib.sha256(np.asarray(tokens, np.int32).tobytes()).digest()
    return int.from_bytes(digest[:8], "big") % (below // number) * number


class Lanes:
    """Q lanes of a group of devices, all arrays by lane; numpy only."""

    def __init__(self, lanes: int, rows: int) -> None:
        """All lanes free.

        Args:
            lanes: Q.
            rows: B, the row of lanes that are free.
        """
        self.row_Q = np.full(lanes, rows, np.int32)
        self.sample_Q = np.zeros(lanes, np.int64)
        self.key_Q2 = np.zeros((lanes, 2), np.uint32)
        self._joins_Q = np.zeros(lanes, bool)
        self._nobody = rows

    def free(self) -> int:
        """How many lanes nobody has."""
        return int((self.row_Q == self._nobody).sum())

    def taken(self) -> int:
        """How many lanes somebody has."""
        return len(self.row_Q) - self.free()

    def join(self, row: int, samples: Sequence[int], keys: Sequence[np.ndarray]) -> None:
        """Lets samples follow a row from the next step on; there are lanes for them."""
        lanes = np.flatnonzero(self.row_Q == self._nobody)[: len(samples)]
        self.row_Q[lanes], self.sample_Q[lanes] = row, samples
        self.key_Q2[lanes], self._joins_Q[lanes] = np.stack(keys), True

    def leave(self, lanes: np.ndarray) -> None:
        """Frees lanes."""
        self.row_Q[lanes], self._joins_Q[lanes] = self._nobody, False

    def of(self, row: int) -> np.ndarray:
        """The lanes that follow a row."""
        return np.flatnonzero(self.row_Q == row)

    def per_row(self) -> np.ndarray:
        """How many lanes follow each row, int [B]."""
        return np.bincount(self.row_Q, minlength=self._nobody + 1)[: self._nobody]

    def orders(self) -> dict[str, np.ndarray]:
        """What `steps.Orders` says by lane; those that join count as told then. Copies."""
        joins_Q, self._joins_Q = self._joins_Q, np.zeros_like(self._joins_Q)
        ranked_Q = (self.sample_Q < 0) & (self.row_Q < self._nobody)
        return {
            "row_Q": self.row_Q.copy(),
            "joins_Q": joins_Q,
            "rank_Q": np.where(ranked_Q, rank_of(self.sample_Q), 0).astype(np.int32),
            "keys_Q2": self.key_Q2.copy(),
        }

    def keep(self, row_B: np.ndarray) -> None:
        """Rows have other numbers: new row n is what row_B[n] was."""
        new_B = np.full(self._nobody + 1, len(row_B), np.int32)
        new_B[row_B] = np.arange(len(row_B))
        self.row_Q, self._nobody = new_B[self.row_Q], len(row_B)
