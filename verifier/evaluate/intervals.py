"""95% bootstrap intervals over problems: the same resampled problems for every figure, so that differences are paired. Knows no methods."""

from __future__ import annotations

import dataclasses
from typing import TypedDict

import numpy as np

_LEVEL = 0.95
_CHUNK_ROWS = 256


class Estimate(TypedDict):
    """A mean and its 95% interval, as it stands in metrics.json."""

    value: float
    ci95: list[float]


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """How often each of P problems is drawn in each of R resamples of P problems."""

    times_RP: np.ndarray

    @classmethod
    def draw(cls, problems: int, resamples: int, seed: int) -> Bootstrap:
        """R resamples of `problems` problems with replacement; the same seed gives the same resamples.

        Raises:
            ValueError: no problems, or fewer than one resample.
        """
        if problems < 1 or resamples < 1:
            raise ValueError(f"bootstrap of {problems} problems with {resamples} resamples: expected at least one of each")
        rng = np.random.default_rng(seed)
        times_RP = np.empty((resamples, problems), np.uint16)
        for start in range(0, resamples, _CHUNK_ROWS):
            rows = min(_CHUNK_ROWS, resamples - start)
            drawn = rng.integers(problems, size=(rows, problems)) + problems * np.arange(rows)[:, None]
            times_RP[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * problems).reshape(rows, problems)
        return cls(times_RP)

    def estimates(self, values: dict[str, np.ndarray]) -> dict[str, Estimate]:
        """Mean over problems and percentile interval of every column, all columns at once.

        Args:
            values: for every figure its [P] values, one a problem.

        Returns:
            For every figure an Estimate.
        """
        if not values:
            return {}
        values_PM = np.stack([np.asarray(column, np.float64) for column in values.values()], axis=1)
        parts = np.array_split(self.times_RP, -(-len(self.times_RP) // _CHUNK_ROWS))
        means_RM = np.concatenate([part.astype(np.float64) @ values_PM for part in parts]) / len(values_PM)
        tail = 50 * (1 - _LEVEL)
        low_M, high_M = np.percentile(means_RM, [tail, 100 - tail], axis=0)
        rows = zip(values, values_PM.mean(axis=0), low_M, high_M, strict=True)
        return {name: Estimate(value=_tidy(value), ci95=[_tidy(low), _tidy(high)]) for name, value, low, high in rows}


def _tidy(value: float) -> float:
    """Rounds away the last bits, which differ between machines."""
    return round(float(value), 10) + 0.0
