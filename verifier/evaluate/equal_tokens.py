"""Best-of-n with as many tokens as something else took.

Of a problem's m plain samples any n are as good as any others: what n of them take, and how often
the best of them is right, are means over all subsets of n. Both are exact. A prefix that c of the m
samples begin with is read unless all n are among the m - c others, so the chance is
1 - C(m - c, n) / C(m, n).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from verifier.evaluate.candidates import Candidates
from verifier.evaluate.curves import log_choose

_NEAR = 1e-9  # relative: a number of tokens that is met but for rounding is met


class Spent(NamedTuple):
    """Tokens a problem."""

    generated: float  # of all samples
    scored: float  # read by the verifier: the prompt, and every distinct prefix once

    @property
    def all(self) -> float:
        """Generated and scored."""
        return self.generated + self.scored


@dataclasses.dataclass(frozen=True)
class PlainSamples:
    """The scored plain samples of P problems, and what there is in them to be read.

    K: all that is known of prefixes, problem after problem.

    Attributes:
        candidates: the samples.
        tokens_P: of all samples of a problem together.
        prompt_tokens: of a problem's prompt, on average.
        problem_K: index of a problem.
        carriers_K: so many of its samples,
        prefixes_K: begin with each of so many distinct prefixes.
    """

    candidates: Candidates
    tokens_P: np.ndarray
    prompt_tokens: float
    problem_K: np.ndarray
    carriers_K: np.ndarray
    prefixes_K: np.ndarray

    @property
    def most(self) -> int:
        """Samples that every problem has."""
        return self.candidates.smallest

    def spent(self, n: int) -> Spent:
        """By n samples, on average over problems and over the subsets of n.

        Raises:
            ValueError: n < 1, or a problem has fewer samples.
        """
        if not 1 <= n <= self.most:
            raise ValueError(f"n={n}: expected 1 to {self.most}, the samples of every problem")
        count_P = self.candidates.count_P
        samples_K = count_P[self.problem_K]
        others_K = samples_K - self.carriers_K
        unread_K = np.exp(log_choose(others_K, n) - log_choose(samples_K, n))
        read_K = self.prefixes_K * np.where(others_K < n, 1.0, 1.0 - unread_K)
        return Spent(
            n * float(np.mean(self.tokens_P / count_P)),
            self.prompt_tokens + float(read_K.sum()) / len(count_P),
        )

    def affordable(self, tokens: float) -> int:
        """The most samples that take no more than so many tokens a problem; one at least."""
        low, high = 1, self.most  # more samples take more tokens
        while low < high:
            middle = (low + high + 1) // 2
            if self.spent(middle).all <= tokens * (1 + _NEAR):
                low = middle
            else:
                high = middle - 1
        return low

    def would_afford_more(self, tokens: float) -> bool:
        """Whether so many tokens are more than all samples take."""
        return self.spent(self.most).all < tokens * (1 - _NEAR)
