"""Knobs of what searches: trees of partial solutions, and rollouts from their steps."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from verifier.config.kinds import Mark, Range
from verifier.config.ranges import Count, Number


@dataclasses.dataclass(frozen=True)
class RolloutsConfig:
    """Solutions that go on from the ends of stored samples' steps; drawn as `sample` says."""

    number: Count = 8  # from the end of each step
    temperature: Annotated[float, Range(0.01, 100)] = 1.0
    step_end: str = "\n"  # what a step ends with
    samples_per_problem: Number = 0  # whose steps are rolled out; 0: of all


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Search for solutions of test problems, guided by the verifier; drawn as `sample` says."""

    # sample: no search, best of as many plain samples | beam: OVM | dvts: independent subtrees
    methods: tuple[Literal["sample", "beam", "dvts"], ...] = ("sample", "beam", "dvts")
    budgets: tuple[Count, ...] = (4, 16, 64)  # candidates of a step
    branching: Count = 4  # candidates to each that goes on; divides every budget
    step_end: str = "\n"  # what a step ends with
    max_steps: Count = 10  # after so many, solutions are written to their ends
    step_tokens: Number = 0  # most tokens of a step; 0: as many as a solution may have
    scorer: Literal["value", "logprob", "constant"] = "value"
    aggregation: Literal["last", "mean", "min", "product"] = "last"  # of values, with scorer=value
    distinct: bool = False  # beam: distinct texts go before repeats
    test_problems: Number = 0  # so many of them; 0: all
    # Problems that are searched and stored together: a kill costs these.
    part_problems: Annotated[Count, Mark.NO_EFFECT] = 64
