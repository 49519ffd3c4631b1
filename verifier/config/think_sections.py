"""Knobs of models that think while they write, and of answers without a worked solution."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from verifier.config.kinds import Mark
from verifier.config.ranges import Count, Number


@dataclasses.dataclass(frozen=True)
class ThinkConfig:
    """How a thinker writes (Quiet-STaR, Zelikman et al. 2024), with thoughts as it was taught."""

    # Where it thinks: before every token | step: before tokens that begin a solution or a line of
    # it | none: it writes as its decoder does
    every: Literal["token", "step", "none"] = "token"
    # Whether it answers the test problems of `data`, and decoders that do not think beside it: at
    # once (`direct`), and in solutions that vote (`sample`)
    answers: bool = False


@dataclasses.dataclass(frozen=True)
class DirectConfig:
    """Answers that are asked for at once, without exemplars and without a worked solution."""

    prompt: str = "Q: {question}\nA:"
    target: str = " {answer}\n"
    # Of what answers are made; beside the line's end nothing else has a chance: digits | letters,
    # A to E
    alphabet: Literal["digits", "letters"] = "digits"
    thoughts: Count = 1  # of a thinker before each token, over which an answer's chance is averaged
    max_new_tokens: Count = 12  # of an answer that is written freely
    test_problems: Number = 0  # so many of them; 0: all
    # Problems that are answered and stored together: a kill costs these.
    part_problems: Annotated[Count, Mark.NO_EFFECT] = 256
