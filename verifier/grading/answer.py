"""The final answer of a solution: extracted and compared, in named modes.

Every mode works in time linear in the text and none raises on any text; "no answer found" is None.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Hashable

from verifier.grading import bbh, equations
from verifier.grading.answer_styles import READ_AFTER, stated_number
from verifier.grading.notation import plain
from verifier.grading.number import (
    first_number,
    only_number,
    parse_number,
)
from verifier.text.answer_lines import MARK

_MARKED = re.compile(rf"{MARK} (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_NO_ANSWER = frozenset({"", "none", "null", "nan", "[invalid]"})


@dataclasses.dataclass(frozen=True)
class Graded:
    """What a solution answers and whether that is right."""

    answer: str | None
    correct: bool


@dataclasses.dataclass(frozen=True)
class Grader:
    """A mode: how the answer is found, and how it is compared with the right one."""

    extract: Callable[[str], str | None]
    equal: Callable[[str, str], bool]


def extract(solution: str, grader: str) -> str | None:
    """The final answer of a solution, or None.

    Args:
        solution: the text of a solution.
        grader: a name in `GRADERS`.

    Raises:
        ValueError: there is no such grader.
    """
    return _grader(grader).extract(solution)


def grade(solution: str, gold: str, grader: str) -> Graded:
    """The final answer of a solution and whether it is right.

    Args:
        solution: the text of a solution.
        gold: the right answer, alone (`18`) or as the last line of a worked solution (`#### 18`).
        grader: a name in `GRADERS`.

    Raises:
        ValueError: there is no such grader.
    """
    mode = _grader(grader)
    answer = mode.extract(solution)
    return Graded(answer, answer is not None and mode.equal(answer, gold))


def same(a: str | None, b: str | None) -> bool:
    """Whether two answers are numerically equal; the same text where neither is a number.

    None equals nothing.
    """
    return a is not None and vote_key(a) is not None and vote_key(a) == vote_key(b)


@functools.lru_cache(maxsize=1 << 16)  # samples of a problem repeat each other's answers
def vote_key(answer: str | None) -> Hashable | None:
    """What answers are counted by: equal numbers share a key, other text counts as it stands.

    None casts no vote, nor does text without a letter or digit, nor a word for "none".
    """
    if answer is None:
        return None
    number = parse_number(answer)
    if number is not None:
        return number
    text = answer.strip()
    return (
        text
        if text.lower() not in _NO_ANSWER and any(letter.isalnum() for letter in text)
        else None
    )


def comparable(gold: str, grader: str) -> bool:
    """Whether a solution with the right answer would be right.

    Tried are one that ends as the gold answer does, and one that ends in `#### ` and its number.

    Raises:
        ValueError: there is no such grader.
    """
    return any(
        grade(text, gold, grader).correct
        for text in (gold, f"{MARK} {gold}", f"{MARK} {gold_number(gold)}")
    )


def _paper(solution: str) -> str | None:
    """The first `#### N`, commas dropped (openai/grade-school-math, dataset.py)."""
    match = _MARKED.search(solution)
    return match[1].replace(",", "") if match else None


def _paper_equal(answer: str, gold: str) -> bool:
    """The same string; commas are dropped from the gold answer too, as the released code does."""
    return answer == (_paper(gold) if MARK in gold else gold.strip().replace(",", ""))


def _strict(solution: str) -> str | None:
    """lm-evaluation-harness, task gsm8k, filter strict-match: the first `#### N`."""
    match = _MARKED.search(solution)
    return _ignore(match[1]) if match else None


def _flexible(solution: str) -> str | None:
    """lm-evaluation-harness, task gsm8k, filter flexible-extract: what last looks like a number."""
    numbers = [match[0] for match in _FLEXIBLE.finditer(solution)]
    return _ignore(numbers[-1]) if numbers else None


def _ignore(text: str) -> str:
    """What that harness's exact_match compares.

    No `,`, no `$`, nothing up to the last `#### `, no trailing point, lower case.
    """
    return (
        text.replace(",", "").replace("$", "").rpartition(f"{MARK} ")[2].removesuffix(".").lower()
    )


def _ignoring_equal(answer: str, gold: str) -> bool:
    return answer == _ignore(gold)


def _numeric_equal(answer: str, gold: str) -> bool:
    return same(answer, gold_number(gold) or gold)


@functools.lru_cache(maxsize=1 << 16)  # a problem has many answers
def gold_number(gold: str) -> str | None:
    """The number of a right answer; None where it has none.

    Read as `numeric` reads a solution's, or alone on a line, with its unit (`12 apples`).
    """
    if parse_number(gold) is not None:
        return first_number(plain(gold))
    answer = stated_number(gold)
    return (
        only_number(plain(gold))
        if answer is None and "\n" not in gold.strip() and len(gold) <= READ_AFTER
        else answer
    )


def _grader(name: str) -> Grader:
    if name not in GRADERS:
        raise ValueError(f"there is no grader {name!r}; take one of {', '.join(GRADERS)}")
    return GRADERS[name]


def _exact(solution: str) -> str | None:
    """The whole text, as the released code of distilling step-by-step compares labels."""
    return solution.strip() or None


def _exact_equal(answer: str, gold: str) -> bool:
    return answer == gold.strip()


GRADERS = {
    "numeric": Grader(stated_number, _numeric_equal),
    "paper": Grader(_paper, _paper_equal),
    "strict": Grader(_strict, _ignoring_equal),
    "flexible": Grader(_flexible, _ignoring_equal),
    "bbh": Grader(bbh.stated, bbh.same_answer),
    "bbh_substring": Grader(bbh.stated_somewhere, bbh.contains),
    "equation": Grader(equations.stated_value, equations.same_value),
    "exact": Grader(_exact, _exact_equal),
}
# Those that read answers of one kind, whose verdicts a report holds against each other.
NUMBERS = ("numeric", "paper", "strict", "flexible")
WORDS = ("bbh", "bbh_substring", "exact")
_BESIDE = {
    "bbh": ("bbh", "bbh_substring"),
    "bbh_substring": ("bbh", "bbh_substring"),
    "equation": ("equation", "exact"),
    "exact": ("exact", "bbh"),
}


def beside(grader: str) -> tuple[str, ...]:
    """The graders that read answers of the kind that a grader reads, itself among them where it
    needs no process of its own.
    """
    return _BESIDE.get(grader, NUMBERS)
