"""Words and the drafting helpers that generated word problems are made of."""

from __future__ import annotations

import dataclasses
import random

from verifier.text import calculator
from verifier.text.answer_lines import MARK

NAMES = (
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gus",
    "Hana",
    "Ivo",
    "Jan",
    "Kim",
    "Leo",
    "Mia",
    "Nora",
    "Omar",
    "Pia",
    "Ravi",
    "Sam",
    "Tia",
    "Uma",
)
THINGS = (
    "apples",
    "books",
    "cards",
    "coins",
    "eggs",
    "hats",
    "keys",
    "lemons",
    "marbles",
    "nuts",
    "pens",
    "plums",
    "shells",
    "stamps",
    "stones",
    "toys",
)
CONTAINERS = ("bags", "boxes", "jars", "trays", "crates", "baskets")

DISTRACTORS = (
    "{name} is {n} years old.",
    "It is {n} degrees outside.",
    "The bus ride there takes {n} minutes.",
    "{friend} owns {n} hats.",
    "{name} lives at number {n}.",
)


@dataclasses.dataclass(frozen=True)
class Draft:
    """A problem before it is known which split may have it.

    `combination` names the templates that were combined and `numbers` the numbers drawn: train and
    test share neither.
    """

    combination: tuple[str, ...]
    numbers: tuple[int, ...]
    sentences: tuple[str, ...]
    lines: tuple[str, ...]
    answer: int

    @property
    def question(self) -> str:
        return " ".join(self.sentences)

    @property
    def solution(self) -> str:
        return "\n".join((*self.lines, f"{MARK} {self.answer}"))


def annotate(expression: str) -> str:
    """`3+4` as GSM8K writes it: `<<3+4=7>>7`."""
    result = calculator.evaluate(expression)
    if isinstance(result, calculator.Refused):
        raise ValueError(
            f"a template wrote the expression {expression!r}, which the calculator refuses: "
            f"{result.reason}"
        )
    return f"<<{expression}={result.text}>>{result.text}"


def people(rng: random.Random) -> tuple[str, str]:
    """Two different names."""
    first, second = rng.sample(NAMES, 2)
    return first, second


def distract(rng: random.Random, draft: Draft, share: float = 0.25) -> Draft:
    """With probability `share`, a sentence whose number has no part in the solution.

    The sentence stands somewhere after the first one.
    """
    if rng.random() >= share:
        return draft
    which = rng.randrange(len(DISTRACTORS))
    name, friend = people(rng)
    sentence = DISTRACTORS[which].format(name=name, friend=friend, n=rng.randint(2, 40))
    index = rng.randint(1, len(draft.sentences) - 1)
    sentences = (*draft.sentences[:index], sentence, *draft.sentences[index:])
    return dataclasses.replace(
        draft, combination=(*draft.combination, f"distractor{which}"), sentences=sentences
    )
