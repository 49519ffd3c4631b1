"""What a model held likely at some places, U ids a place; numpy only.

    drawn        y      the three likeliest   a -0.5   b -1.6   c -2.7
    kept                                      a -0.5   b -1.6   y -6.1

A place is one token of a solution; where a solution's distributions are not asked for, U is 0.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Likeliest:
    """The likeliest ids of some places, most likely first, and how likely they are.

    Attributes:
        ids: int32 [..., U].
        logprobs: float32 [..., U], natural, at temperature 1.
    """

    ids: np.ndarray
    logprobs: np.ndarray

    @classmethod
    def empty(cls, *shape: int) -> Likeliest:
        """Room for some places, the last number being U."""
        return cls(np.zeros(shape, np.int32), np.zeros(shape, np.float32))

    @property
    def count(self) -> int:
        """U."""
        return int(self.ids.shape[-1])

    def __getitem__(self, places: Any) -> Likeliest:
        return Likeliest(self.ids[places], self.logprobs[places])

    def __setitem__(self, places: Any, others: Likeliest) -> None:
        self.ids[places], self.logprobs[places] = others.ids, others.logprobs

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Likeliest) and all(
            np.array_equal(own, their)
            for own, their in ((self.ids, other.ids), (self.logprobs, other.logprobs))
        )

    def __hash__(self) -> int:
        return hash((self.ids.tobytes(), self.logprobs.tobytes()))

    def copy(self) -> Likeliest:
        """The same, whatever is written here later."""
        return Likeliest(self.ids.copy(), self.logprobs.copy()) if self.count else NOWHERE

    def then(self, others: Likeliest) -> Likeliest:
        """These places [T, U] and behind them others [S, U]."""
        return Likeliest(
            np.concatenate([self.ids, others.ids]),
            np.concatenate([self.logprobs, others.logprobs]),
        )

    def with_own(self, token_x: np.ndarray, logprob_x: np.ndarray) -> Likeliest:
        """The token that stands at each place takes the last of the U where it is none of them."""
        ids, logprobs = self.ids.copy(), self.logprobs.copy()
        other_x = (ids != token_x[..., None]).all(axis=-1)
        ids[other_x, -1], logprobs[other_x, -1] = token_x[other_x], logprob_x[other_x]
        return Likeliest(ids, logprobs)


NOWHERE = Likeliest.empty(0, 0)
