"""What a job's evaluations on held-out batches have given: the best so far, and early stopping."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass
class Evaluations:
    """The best and the last one; they travel in the checkpoint's note as `standing`."""

    patience: int  # evaluations without improvement before the job stops; 0: it never does
    best: float = math.inf
    best_step: int = 0
    worse: int = 0  # evaluations since the best
    best_numbers: dict[str, float] = dataclasses.field(default_factory=dict)
    last_numbers: dict[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_note(cls, note: Mapping[str, Any], patience: int) -> Evaluations:
        """What `note` gave back."""
        best = math.inf if note["best"] is None else note["best"]
        return cls(**{**note, "best": best}, patience=patience)

    def note(self) -> dict[str, Any]:
        """All of it for JSON, which has no infinity."""
        note = dataclasses.asdict(self) | {"best": self.best if self.best_step else None}
        del note["patience"]
        return note

    def add(self, numbers: dict[str, float], done: int, watch: str) -> bool:
        """Takes in the evaluation after step `done`; whether it is the best so far."""
        self.last_numbers = numbers
        if numbers[watch] < self.best:
            self.best, self.best_step, self.worse = numbers[watch], done, 0
            self.best_numbers = numbers
            return True
        self.worse += 1
        return False

    @property
    def protected(self) -> int | None:
        """The step whose checkpoint the job may end with."""
        return self.best_step if self.patience else None

    @property
    def out_of_patience(self) -> bool:
        """Whether too many evaluations have passed since the best one."""
        return bool(self.patience) and self.worse >= self.patience
