"""The equation behind a worked solution, put together from its annotations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from verifier.text import calculator

_NUMBER = re.compile(r"(?<![\d.])\d[\d,]*(?:\.\d+)?")


def composed(solution: str, answer: str) -> str | None:
    """One equation that comes to the answer of a worked solution.

    It is what the last annotation of that value says, in which results of earlier annotations are
    replaced by what they were computed from, the latest of equal ones first:
    `<<48/2=24>>24 .. <<48+24=72>>72` with the answer 72 is `48+(48/2)`. A result stays where the
    whole would be longer than the calculator reads.

    Args:
        solution: with annotations.
        answer: a number.

    Returns:
        None where no annotation comes to the answer.
    """
    wanted, known, last = calculator.value(answer), dict[Fraction, str](), None
    for annotation in calculator.annotations(solution):
        came_to = calculator.value(annotation.expression)
        if came_to is None:
            continue
        written = "".join(annotation.expression.split())
        whole = _NUMBER.sub(lambda number: _replaced(number.group(), known), written)
        if calculator.value(whole) is None:
            whole = written  # longer than the calculator, or a grader, reads
        known[came_to] = f"({whole})"
        if came_to == wanted:
            last = whole
    return last


def _replaced(number: str, known: Mapping[Fraction, str]) -> str:
    return known.get(Fraction(number.replace(",", "")), number)
