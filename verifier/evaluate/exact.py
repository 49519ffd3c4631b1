"""Exact 95% intervals, for however few problems: Clopper-Pearson, of differences McNemar.

A rate's is Clopper and Pearson's (1934), from the binomial distribution itself. A difference of two
rates on the same problems is (2t - 1) q: a share q of the problems tells the two apart, and of
these a share t is solved by the first. As in McNemar's test (1947) t is judged from the problems
that tell them apart alone; q is not known either, so each of the two has a Clopper-Pearson interval
of 97.5%, and both together hold in 95 of 100 cases at least. A mean of shares of a problem's
samples spreads no more than a rate of the same mean (Hoeffding 1963, section 5), so the same
formulas, taken at numbers that are not whole, are rather too wide for it than too narrow.
"""

from __future__ import annotations

import numpy as np

_MISSED = 0.05


def rate(value_P: np.ndarray) -> tuple[float, float]:
    """The interval of a mean of values within [0, 1]."""
    return clopper_pearson(float(value_P.sum()), len(value_P), _MISSED)


def difference(value_P: np.ndarray) -> tuple[float, float]:
    """The interval of a mean of differences within [-1, 1]."""
    told = float(np.abs(value_P).sum())
    least, most = clopper_pearson(told, len(value_P), _MISSED / 2)
    low, high = (
        2 * share - 1
        for share in clopper_pearson(float(value_P.clip(min=0).sum()), told, _MISSED / 2)
    )
    return low * (least if low > 0 else most), high * (most if high > 0 else least)


def clopper_pearson(successes: float, trials: float, missed: float) -> tuple[float, float]:
    """The rates at which so few, or so many, successes would come up in `missed` / 2 of all cases.

    Without a trial they are 0 and 1.
    """
    # Seldom needed, and its import takes as long as those of the rest.
    from scipy.special import betaincinv

    failures = round(trials - successes, 9)  # sums of shares are not exact
    low = betaincinv(successes, failures + 1, missed / 2) if round(successes, 9) > 0 else 0.0
    high = betaincinv(successes + 1, failures, 1 - missed / 2) if failures > 0 else 1.0
    return float(low), float(high)
