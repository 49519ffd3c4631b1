"""Equations as answers, such as `( 8.0 - 3.0 )`: what they come to, and which come to the same.

The labels of SVAMP in distilling step-by-step (Hsieh et al. 2023, section 4), whose released code
hands them to Python's `eval`. Here the calculator's parser reads them (`text.calculator`): numbers,
`+ - * /` and parentheses, white space anywhere between them, values exact. What it refuses (a name,
a power, a division by zero, an `=`) has no value and equals nothing, itself included. Two equations
whose values differ in floats alone are equal here and were not there: `0.1 + 0.2` and `0.3`.
"""

from __future__ import annotations

import re
from fractions import Fraction

from verifier.text import calculator

_STATED = re.compile(r"(?i)\bthe answer is\b[ :]*")


def value(equation: str) -> Fraction | None:
    """What an equation comes to; None where it comes to nothing."""
    return calculator.value(" ".join(equation.split()))


def stated_value(solution: str) -> str | None:
    """What the equation comes to that a solution states, as a number such as `5` or `10/3`.

    The equation is the whole solution, or what follows the last "The answer is", with or without a
    full stop. Votes count values: solutions agree whose equations come to the same.
    """
    *_, equation = _STATED.split(solution)
    came_to = value(equation.strip().removesuffix("."))
    return None if came_to is None else str(came_to)


def same_value(answer: str, gold: str) -> bool:
    """Whether an answer and a right one, each an equation or a number, come to the same."""
    came_to = value(answer)
    return came_to is not None and came_to == value(gold)
