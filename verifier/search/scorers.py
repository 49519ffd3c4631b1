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
    reads: bool = False  # whether a model reads the node's tokens first


def by_value(aggregation: str = "last") -> Scorer:
    """The verifier's values so far, put together as whole solutions' are.

    aggregation: as in `token_values.aggregate`, all but `last_line`; of `product` the logarithm.
    """

    def score(node: Node) -> float:
        values = np.array(node.whole(lambda each: each.values))
        scores = token_values.aggregate(values, np.array([len(values)]), aggregation)
        return float((scores.score_R if scores.log_R is None else scores.log_R)[0])

    return Scorer(score, reads=True)


def by_choice() -> Scorer:
    """What the generator says of the text itself, asked twice (RAIN, section 3.3).

    The first probe offers the good description as (A), the second as (B). What is liked both times
    scores 1, what is never liked 0, and a model that always takes the same letter a half.
    """

    def score(node: Node) -> float:
        one, swapped = node.probed  # of the letter A over the letter B
        return ((one > 0) + (swapped < 0)) / 2

    return Scorer(score, reads=True)


def by_logprob() -> Scorer:
    """The generator's own log-probability of all tokens so far, a token on average."""

    def score(node: Node) -> float:
        logprobs = node.whole(lambda each: each.logprobs)
        return math.fsum(logprobs) / len(logprobs)

    return Scorer(score)


def constant() -> Scorer:
    """The same for all: nothing is preferred."""
    return Scorer(lambda _: 0.0)
