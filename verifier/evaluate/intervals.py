"""95% intervals over problems.

All figures share the resampled problems, so that differences are paired.

Two things are left to chance: which problems are in the set, and which samples were drawn of each.
What a problem contributes varies by both, and problems are independent of each other, so the spread
between problems holds both already, for Var[v] = Var[E[v|p]] + E[Var[v|p]]: drawing problems with
replacement and keeping each one's samples as they are gives the interval for new problems with new
samples. To resample the samples inside as well would count the second part twice (Davison and
Hinkley 1997, section 3.8, who draw without replacement at the lower level for this reason). The
part of the samples alone, for these very problems, is in `nested`.

Where there are few problems, or few that differ from the others, resamples are all alike and the
bootstrap says nothing; there an exact interval stands in its place, and says so (`exact`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NotRequired, TypedDict

import numpy as np

from verifier.evaluate import exact

FEWEST = 10  # problems; with fewer no conclusion is drawn, and every interval is exact
# Problems solved, not solved, or told apart by a difference: resamples often have none of fewer.
RARE = 5
_LEVEL = 0.95
_TAILS = (50 * (1 - _LEVEL), 50 * (1 + _LEVEL))  # percentiles
_CHUNK_ROWS = 256
_LOTS = 20_000


class Estimate(TypedDict):
    """A mean and its 95% interval, as it stands in metrics.json.

    `interval` is "exact" where it is not from resampled problems.
    """

    value: float
    ci95: list[float]
    interval: NotRequired[str]


@dataclasses.dataclass(frozen=True)
class Bootstrap:
    """How often each of L lots of problems is drawn in each of R resamples of as many lots.

    A lot is one problem; more than 20,000 problems are shared out to as many lots, for of so many
    the mean is known to all its digits, and the resamples would outgrow the samples.
    """

    times_RL: np.ndarray
    lot_P: np.ndarray

    @classmethod
    def draw(cls, problems: int, resamples: int, seed: int) -> Bootstrap:
        """R resamples of `problems` problems with replacement; a seed always gives the same ones.

        Raises:
            ValueError: no problems, or fewer than one resample.
        """
        if problems < 1 or resamples < 1:
            raise ValueError(
                f"bootstrap of {problems} problems with {resamples} resamples: expected at "
                "least one of each"
            )
        rng, lots = np.random.default_rng(seed), min(problems, _LOTS)
        times_RL = np.empty((resamples, lots), np.uint16)
        for start in range(0, resamples, _CHUNK_ROWS):
            rows = min(_CHUNK_ROWS, resamples - start)
            drawn = rng.integers(lots, size=(rows, lots)) + lots * np.arange(rows)[:, None]
            times_RL[start : start + rows] = np.bincount(
                drawn.ravel(), minlength=rows * lots
            ).reshape(rows, lots)
        return cls(times_RL, np.arange(problems) % lots)

    def estimates(self, values: dict[str, np.ndarray]) -> dict[str, Estimate]:
        """Mean over problems and interval of every column, all columns at once.

        Args:
            values: for every figure its [P] values, one a problem; rates and shares, within [0, 1].

        Returns:
            For every figure an Estimate.
        """
        return self._estimates(
            values, exact.rate, lambda value_P: min(value_P.sum(), (1 - value_P).sum())
        )

    def differences(self, values: dict[str, np.ndarray]) -> dict[str, Estimate]:
        """As `estimates`, of differences between two figures, within [-1, 1]."""
        return self._estimates(values, exact.difference, lambda value_P: np.abs(value_P).sum())

    def ratio(self, part_P: np.ndarray, whole_P: np.ndarray) -> Estimate | None:
        """Sum of one column over the sum of another, with its percentile interval.

        Args:
            part_P: [P] values.
            whole_P: [P] values of at least 0. Resamples in which they sum to 0 have no ratio and do
                not count.

        Returns:
            None where `whole_P` sums to 0, in the data or in every resample.
        """
        sums_R2 = self.sums({"part": part_P, "whole": whole_P})
        there_R2 = sums_R2[sums_R2[:, 1] > 0]
        if not (whole_P.sum() > 0 and len(there_R2)):
            return None
        low, high = np.percentile(there_R2[:, 0] / there_R2[:, 1], _TAILS)
        return Estimate(value=_tidy(part_P.sum() / whole_P.sum()), ci95=[_tidy(low), _tidy(high)])

    def sums(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """[R, M] sums of every column over each resample."""
        lots_LM = np.stack([np.bincount(self.lot_P, column) for column in values.values()], axis=1)
        parts = np.array_split(self.times_RL, -(-len(self.times_RL) // _CHUNK_ROWS))
        return np.concatenate([part.astype(np.float64) @ lots_LM for part in parts])

    def _estimates(
        self,
        values: dict[str, np.ndarray],
        instead: Callable[[np.ndarray], tuple[float, float]],
        rarest: Callable[[np.ndarray], float],
    ) -> dict[str, Estimate]:
        """Estimates by bootstrap, or with the interval `instead` where problems are few.

        Problems count as few, too, where by `rarest` a figure depends on few of them.
        """
        if not values:
            return {}
        problems, lots = len(self.lot_P), self.times_RL.shape[1]
        drawn = problems if problems == lots else self.sums({"": np.ones(problems)})
        low_M, high_M = np.percentile(self.sums(values) / drawn, _TAILS, axis=0)
        out = {}
        for (name, column), *ends in zip(values.items(), low_M, high_M, strict=True):
            value_P = np.asarray(column, np.float64)
            few = problems < FEWEST or rarest(value_P) < RARE
            out[name] = Estimate(
                value=_tidy(value_P.mean()),
                ci95=[_tidy(end) for end in (instead(value_P) if few else ends)],
            )
            if few:
                out[name]["interval"] = "exact"
        return out


def _tidy(value: float) -> float:
    """Rounds away the last bits, which differ between machines."""
    return round(float(value), 10) + 0.0
