"""The methods of search and the scorers by name, as a configuration asks for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from verifier.config import Config
from verifier.search import beam, dvts, sample, scorers
from verifier.search.scorers import Scorer
from verifier.search.tree import Method, Node


def method_of(name: str, config: Config, budget: int) -> Callable[[Node], Method]:
    """How one problem is searched.

    Args:
        name: one of `search.methods`.
        config: of the run.
        budget: candidates of a step.
    """
    knobs = config.search
    steps: dict[str, Any] = {
        "branching": knobs.branching,
        "max_steps": knobs.max_steps,
        "step_tokens": knobs.step_tokens or None,
    }
    methods: dict[str, Callable[..., Method]] = {
        "sample": sample.search,
        "beam": functools.partial(beam.search, **steps, distinct=knobs.distinct),
        "dvts": functools.partial(dvts.search, **steps),
    }
    return functools.partial(methods[name], budget=budget)


def scorer_of(config: Config) -> Scorer:
    """By what nodes are scored."""
    by_name: dict[str, Callable[[], Scorer]] = {
        "value": functools.partial(scorers.by_value, config.search.aggregation),
        "logprob": scorers.by_logprob,
        "constant": scorers.constant,
    }
    return by_name[config.search.scorer]()
