"""What goes into a sampling job and what comes out: prompts, completions, counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from verifier.config import SampleConfig
from verifier.decode.annotations import Calculator
from verifier.decode.likeliest import NOWHERE, Likeliest
from verifier.decode.split_model import Weights
from verifier.decode.state import DecodeStatic
from verifier.model.arch import Arch
from verifier.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What a problem's solutions are drawn from: start tokens and the rendered question."""

    problem_id: str
    tokens: Sequence[int]


def by_falling_length(prompts: Iterable[Prompt]) -> list[Prompt]:
    """The order in which jobs take prompts: their slots only ever shrink."""
    return sorted(prompts, key=lambda prompt: (-len(prompt.tokens), prompt.problem_id))


@dataclasses.dataclass(frozen=True)
class Completion:
    """One drawn solution.

    The lists run over its tokens; the end token, where it came, is the last one.
    """

    problem_id: str
    sample_id: int
    tokens: list[int]
    forced: list[bool]  # written by the calculator
    logprobs: list[float]  # the model's own, temperature 1; of forced tokens too
    finish: str  # "eos" | "length"
    text: str  # without the end token
    calculator_errors: int  # annotations that could not be evaluated
    # What the model held likely at each token, [T, U]; U is 0 where that is not asked for.
    likeliest: Likeliest = NOWHERE


@dataclasses.dataclass(frozen=True)
class Stored:
    """Solutions that an earlier start has drawn, their tokens one solution's behind the other's."""

    tokens: np.ndarray  # int32
    forced: np.ndarray  # bool
    # by problem and sample, the first token and the one behind the last
    spans: Mapping[str, Mapping[int, tuple[int, int]]]


NOTHING_STORED = Stored(np.zeros(0, np.int32), np.zeros(0, bool), {})


@dataclasses.dataclass
class Counts:
    """What a batch has done so far."""

    solutions: int = 0  # ended
    tokens: int = 0  # of solutions, whether written for one of them or for many at once
    prefixes: int = 0  # written by rows: what solutions have in common counts once
    read_again: int = (
        0  # tokens that a row read a second time, since they were in no page of its own
    )
    steps: int = 0
    slot_steps: int = 0  # tokens that could have been written: slots summed over steps
    answered: int = 0  # annotations of solutions that the calculator wrote the result of
    refused: int = 0  # annotations that it could not evaluate


@dataclasses.dataclass(frozen=True)
class Writer:
    """What every job of an engine needs."""

    arch: Arch
    static: DecodeStatic
    weights: Weights
    tokenizer: Tokenizer
    calculator: Calculator
    config: SampleConfig
    seed: int

    @property
    def top_logprobs(self) -> int:
        """U, how many of the likeliest ids of every token are kept."""
        return min(self.static.top_logprobs, self.static.vocab_size)


class Hooks(NamedTuple):
    """What a job asks and tells; see `Engine.run`."""

    progress: Callable[[Counts], None]
    claim: Callable[[str], bool]
    stored: Stored
