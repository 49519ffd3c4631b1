"""What a partial solution is worth: by the verifier, by the generator, or the same for all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from verifier.search.tree import Node

Aggregation = Literal["last", "mean", "min", "product"]


class Scorer(NamedTuple):
    """How a node is scored."""

    score: Callable[[Node], float]
    by_verifier: bool = False  # whether its tokens' values are read first


def by_value(aggregation: Aggregation = "last") -> Scorer:
    """The verifier's value at the last token, or the mean, least or product of all values so far.

    Raises:
        ValueError: another aggregation.
    """
    if aggregation not in _AGGREGATIONS:
        raise ValueError(
            f"aggregation is {aggregation!r}; expected one of {', '.join(_AGGREGATIONS)}"
        )
    of = _AGGREGATIONS[aggregation]
    return Scorer(lambda node: of(node.whole(lambda each: each.values)), by_verifier=True)


def by_logprob() -> Scorer:
    """The generator's own log-probability of all tokens so far, a token on average."""

    def score(node: Node) -> float:
        logprobs = node.whole(lambda each: each.logprobs)
        return math.fsum(logprobs) / len(logprobs)

    return Scorer(score)


def constant() -> Scorer:
    """The same for all: nothing is preferred."""
    return Scorer(lambda _: 0.0)


_AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "last": lambda values: values[-1],
    "mean": lambda values: math.fsum(values) / len(values),
    "min": min,
    "product": lambda values: math.prod(max(value, 0.0) for value in values),
}
