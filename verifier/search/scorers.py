"""What a partial solution is worth: by the verifier, by the generator, or the same for all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from verifier.search.tree import Node
from verifier.tables import token_values


class Scorer(NamedTuple):
    """How a node is scored."""

    score: Callable[[Node], float]
    by_verifier: bool = False  # whether its tokens' values are read first


def by_value(aggregation: str = "last") -> Scorer:
    """The verifier's values so far, put together as whole solutions' are.

    aggregation: as in `token_values.aggregate`, all but `last_line`; of `product` the logarithm.
    """

    def score(node: Node) -> float:
        values = np.array(node.whole(lambda each: each.values))
        scores = token_values.aggregate(values, np.array([len(values)]), aggregation)
        return float((scores.score_R if scores.log_R is None else scores.log_R)[0])

    return Scorer(score, by_verifier=True)


def by_logprob() -> Scorer:
    """The generator's own log-probability of all tokens so far, a token on average."""

    def score(node: Node) -> float:
        logprobs = node.whole(lambda each: each.logprobs)
        return math.fsum(logprobs) / len(logprobs)

    return Scorer(score)


def constant() -> Scorer:
    """The same for all: nothing is preferred."""
    return Scorer(lambda _: 0.0)
