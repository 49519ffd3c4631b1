"""The methods of search and the scorers by name, as a configuration asks for them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from verifier.config import Config, SampleConfig
from verifier.search import beam, dvts, lookahead, rain, sample, scorers
from verifier.search.rain import Embed
from verifier.search.scorers import Scorer
from verifier.search.tree import Method, Node

RAIN, GREEDY = "rain", "greedy"
_RAIN_AT_ONCE = 2
AS_RAIN = (RAIN, GREEDY)  # are judged, and end steps, as `rain` says


def method_of(
    name: str, config: Config, budget: int, embed: Embed | None = None
) -> Callable[[Node], Method]:
    """How one problem is searched.

    Args:
        name: one of `search.methods`, or greedy.
        config: of the run.
        budget: candidates of a step; of RAIN and greedy decoding there is none.
        embed: RAIN's, of texts.
    """
    knobs = config.search
    steps: dict[str, Any] = {
        "budget": budget,
        "branching": knobs.branching,
        "max_steps": knobs.max_steps,
        "step_tokens": knobs.step_tokens or None,
    }
    beams = {**steps, "distinct": knobs.distinct}
    methods: dict[str, Callable[[Node], Method]] = {
        "sample": functools.partial(sample.search, budget=budget),
        "beam": functools.partial(beam.search, **beams),
        "dvts": functools.partial(dvts.search, **steps),
        "lookahead": functools.partial(lookahead.search, **beams, ahead=knobs.ahead),
        GREEDY: sample.greedy,
        RAIN: functools.partial(rain.search, knobs=config.rain, embed=embed),
    }
    return methods[name]


def budgets_of(name: str, config: Config) -> Sequence[int]:
    """Candidates of a step that a method is tried with; RAIN has its own, and one budget."""
    return [config.rain.candidates] if name == RAIN else config.search.budgets


def at_once(name: str, config: Config) -> int:
    """How many samples of a problem are written at a time, most of the time: more slots would stay
    empty. RAIN mostly writes one clause.
    """
    return (
        min(_RAIN_AT_ONCE, config.rain.candidates)
        if name in AS_RAIN
        else max(config.search.budgets)
    )


def drawn_by(name: str, config: Config) -> SampleConfig:
    """How a method's tokens are drawn."""
    if name not in AS_RAIN:
        return config.sample
    return dataclasses.replace(
        config.sample, temperature=config.rain.temperature, top_k=config.rain.top_k, top_p=1.0
    )


def step_ends_of(name: str, config: Config) -> Sequence[str]:
    """The texts that a method's steps end with."""
    return list(config.rain.clause_ends) if name in AS_RAIN else [config.search.step_end]


def scorer_of(name: str, config: Config) -> Scorer:
    """By what a method's nodes are scored."""
    if name in AS_RAIN:
        return scorers.by_value() if config.rain.judge == "verifier" else scorers.by_choice()
    by_name: dict[str, Callable[[], Scorer]] = {
        "value": functools.partial(scorers.by_value, config.search.aggregation),
        "logprob": scorers.by_logprob,
        "constant": scorers.constant,
    }
    return by_name[config.search.scorer]()
