"""The methods of search by name, as a configuration asks for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from verifier.config import SearchConfig
from verifier.search import beam, dvts, sample, scorers
from verifier.search.scorers import Scorer
from verifier.search.tree import Method, Node


def method_of(name: str, config: SearchConfig, width: int) -> Callable[[Node], Method]:
    """How one problem is searched.

    Args:
        name: one of `SearchConfig.methods`.
        config: of the methods.
        width: candidates of a step.
    """
    steps: dict[str, Any] = {
        "beams": width // config.branching,
        "max_steps": config.max_steps,
        "step_tokens": config.step_tokens or None,
    }
    methods: dict[str, Callable[..., Method]] = {
        "sample": sample.search,
        "beam": functools.partial(beam.search, **steps, distinct=config.distinct),
        "dvts": functools.partial(dvts.search, **steps),
    }
    return functools.partial(methods[name], width=width)


def scorer_of(config: SearchConfig) -> Scorer:
    """By what nodes are judged."""
    if config.scorer == "value":
        return scorers.by_value(config.aggregation)
    return scorers.by_logprob() if config.scorer == "logprob" else scorers.constant()
