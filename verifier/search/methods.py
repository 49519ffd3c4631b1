"""The methods of search by name, as a configuration asks for them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from verifier.config import Config, SampleConfig
from verifier.search import beam, dvts, lookahead, rain, sample, scorers
from verifier.search.rain import Embed
from verifier.search.scorers import Scorer
from verifier.search.tree import Method, Node

RAIN, GREEDY = "rain", "greedy"
# Slots a problem of RAIN: it writes one clause at a time, and seldom all candidates of a leaf.
_RAIN_AT_ONCE = 2


class Drawing(NamedTuple):
    """How tokens are drawn, and what ends a step; methods of an equal one share their programs."""

    sample: SampleConfig
    step_ends: tuple[str, ...]
    at_once: int  # samples of a problem that are written at a time, most of the time


class Setup(NamedTuple):
    """What a method is searched with."""

    begin: Callable[..., Method]  # given the root and, by name, what it takes
    takes: Sequence[str]  # of `budget` and `embed`
    scorer: Scorer
    drawing: Drawing
    budgets: Sequence[int]  # candidates of a step that it is tried with

    def method(self, budget: int, embed: Embed | None = None) -> Callable[[Node], Method]:
        """How one problem is searched.

        Args:
            budget: candidates of a step; RAIN and greedy decoding take none.
            embed: RAIN's, of texts.
        """
        given = {"budget": budget, "embed": embed}
        return functools.partial(self.begin, **{name: given[name] for name in self.takes})


def judges_itself(config: Config) -> bool:
    """Whether RAIN's judge is the generator, not a verifier."""
    return config.rain.judge != "verifier"


def setup(name: str, config: Config) -> Setup:
    """Of a method.

    Args:
        name: one of `search.methods`, or greedy: what RAIN is held against.
        config: of the run.
    """
    return _rain(name, config) if name in (RAIN, GREEDY) else _of_steps(name, config)


def _of_steps(name: str, config: Config) -> Setup:
    knobs = config.search
    steps: dict[str, Any] = {
        "branching": knobs.branching,
        "max_steps": knobs.max_steps,
        "step_tokens": knobs.step_tokens or None,
    }
    beams = {**steps, "distinct": knobs.distinct}
    ahead = functools.partial(
        lookahead.score_ahead, ahead=knobs.ahead, step_tokens=steps["step_tokens"]
    )
    begins: dict[str, Callable[..., Method]] = {
        "sample": sample.search,
        "beam": functools.partial(beam.search, **beams),
        "dvts": functools.partial(dvts.search, **steps),
        "lookahead": functools.partial(beam.search, **beams, score=ahead),
    }
    by_name: dict[str, Callable[[], Scorer]] = {
        "value": functools.partial(scorers.by_value, knobs.aggregation),
        "logprob": scorers.by_logprob,
        "constant": scorers.constant,
    }
    drawing = Drawing(config.sample, (knobs.step_end,), max(knobs.budgets))
    return Setup(begins[name], ("budget",), by_name[knobs.scorer](), drawing, knobs.budgets)


def _rain(name: str, config: Config) -> Setup:
    knobs = config.rain
    drawn = dataclasses.replace(
        config.sample, temperature=knobs.temperature, top_k=knobs.top_k, top_p=1.0
    )
    scorer = scorers.by_choice() if judges_itself(config) else scorers.by_value()
    drawing = Drawing(drawn, tuple(knobs.clause_ends), min(_RAIN_AT_ONCE, knobs.candidates))
    if name == GREEDY:
        return Setup(sample.greedy, (), scorer, drawing, [knobs.candidates])
    begin = functools.partial(rain.search, knobs=knobs)
    return Setup(begin, ("embed",), scorer, drawing, [knobs.candidates])
