"""Which example comes after which: seeded permutations, samples mixed with ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verifier.data.examples import Example, LazyExamples
from verifier.errors import DataError


class Mixed(LazyExamples):
    """Every sample followed by the ground-truth example that is its partner; holds neither."""

    def __init__(
        self, samples: Sequence[Example], ground_truth: Sequence[Example], partners: np.ndarray
    ) -> None:
        self._samples, self._ground_truth, self._partners = samples, ground_truth, partners

    def __len__(self) -> int:
        return 2 * len(self._partners)

    def _made(self, index: int) -> Example:
        pair, second = divmod(index, 2)
        return (
            self._ground_truth[int(self._partners[pair])]
            if second
            else self._samples[pair % len(self._samples)]
        )


def mix(
    samples: Sequence[Example], ground_truth: Sequence[Example], seed: int, passes: int = 1
) -> Sequence[Example]:
    """Every sample followed by one ground-truth example (Cobbe et al. 2021, section 4.2).

    The mix is an equal one, with ground truth upsampled, in each of the passes over the samples.

    Raises:
        DataError: there are samples, but no ground truth.
    """
    chosen = partners(passes * len(samples), len(ground_truth), seed)
    return Mixed(samples, ground_truth, chosen)


def partners(samples: int, ground_truth: int, seed: int) -> np.ndarray:
    """Which ground-truth example goes with each sample, by index.

    All are used evenly: all in a seeded order, then all again in another, until every sample has
    its partner.

    Args:
        samples: how many there are, in all passes.
        ground_truth: how many there are.
        seed: of the orders.

    Raises:
        DataError: there are samples, but no ground truth.
    """
    if samples and not ground_truth:
        raise DataError(
            f"{samples:,} samples, but no ground truth to mix them with; give some or set "
            "verify.lm_weight=0"
        )
    turns = range(-(-samples // max(ground_truth, 1)))
    orders = [shuffled(ground_truth, seed, turn) for turn in turns]
    return np.concatenate(orders)[:samples] if orders else np.zeros(0, np.int64)


def shuffled(count: int, seed: int, turn: int) -> np.ndarray:
    """A permutation that depends on (count, seed, turn) alone.

    Raw Philox words, which no version of numpy changes, give the order.
    """
    words = np.random.Philox(key=np.array([seed % 2**64, turn], np.uint64)).random_raw(count)
    return np.argsort(words, kind="stable")
