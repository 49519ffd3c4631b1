"""95% bootstrap intervals over problems: the same resampled problems for every figure, so that differences are paired. Knows no methods.

Two things are left to chance: which problems are in the set, and which samples were drawn of each. What a problem contributes varies by
both, and problems are independent of each other, so the spread between problems holds both already, for
Var[v] = Var[E[v|p]] + E[Var[v|p]]: drawing problems with replacement and keeping each one's samples as they are gives the interval for new
problems with new samples. To resample the samples inside as well would count the second part twice (Davison and Hinkley 1997, section 3.8,
who draw without replacement at the lower level for this reason). The part of the samples alone, for these very problems, is in `nested`.
"""

from __future__ import annotations

import dataclasses
from typing import TypedDict

import numpy as np

_LEVEL = 0.95
_TAILS = (50 * (1 - _LEVEL), 50 * (1 + _LEVEL))  # percentiles
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
        means_RM = self._sums(values_PM) / len(values_PM)
        low_M, high_M = np.percentile(means_RM, _TAILS, axis=0)
        rows = zip(values, values_PM.mean(axis=0), low_M, high_M, strict=True)
        return {name: Estimate(value=_tidy(value), ci95=[_tidy(low), _tidy(high)]) for name, value, low, high in rows}

    def ratio(self, part_P: np.ndarray, whole_P: np.ndarray) -> Estimate | None:
        """Sum of one column over the sum of another, with its percentile interval.

        Args:
            part_P: [P] values.
            whole_P: [P] values of at least 0. Resamples in which they sum to 0 have no ratio and do not count.

        Returns:
            None where `whole_P` sums to 0, in the data or in every resample.
        """
        sums_R2 = self._sums(np.stack([part_P, whole_P], axis=1).astype(np.float64))
        there_R2 = sums_R2[sums_R2[:, 1] > 0]
        if not (whole_P.sum() > 0 and len(there_R2)):
            return None
        low, high = np.percentile(there_R2[:, 0] / there_R2[:, 1], _TAILS)
        return Estimate(value=_tidy(part_P.sum() / whole_P.sum()), ci95=[_tidy(low), _tidy(high)])

    def _sums(self, values_PM: np.ndarray) -> np.ndarray:
        """[R, M] sums of every column over each resample."""
        parts = np.array_split(self.times_RP, -(-len(self.times_RP) // _CHUNK_ROWS))
        return np.concatenate([part.astype(np.float64) @ values_PM for part in parts])


def _tidy(value: float) -> float:
    """Rounds away the last bits, which differ between machines."""
    return round(float(value), 10) + 0.0
