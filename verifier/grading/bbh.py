"""Answers of BIG-Bench Hard (Suzgun et al. 2022): options, words, numbers and lists.

`bbh` is strict: what a solution states must be the target in another spelling at most. The grader
of Fu et al. 2023 (section 4; their test_bbh.py) is kept beside it as `bbh_substring`: it looks for
the target anywhere in what follows "the answer is", so that `invalid` is right where `valid` is,
and `124` where `24` is.
"""

from __future__ import annotations

import re
from fractions import Fraction

from verifier.grading.number import parse_number

_STATES = "the answer is"
_STATED = re.compile(rf"(?i)\b{_STATES}\b[\s:*_`]*")
# A model that is shown exemplars goes on with a question of its own.
_NEXT_QUESTION = re.compile(r"^Q: ", re.MULTILINE)
_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_ONLY_BRACKETS = re.compile(r"[()\[\]{}<> ]+")
_OPTION = re.compile(r"\(?([A-Za-z])\)")
_QUOTES = "\"'\u2018\u2019\u201c\u201d`*$"
_BETWEEN_ITEMS = re.compile(r",(?!\d{3}(?!\d))")  # any other comma parts groups of digits
_LONGEST = 1000  # characters of an answer; the longest target has 182


def stated(solution: str) -> str | None:
    """The answer of a solution in one spelling: `A`, `true`, `24`, `barn damp delmarva`, `] ] >`.

    It is the line behind the last "the answer is" in any case, or a solution of one line that has
    no such words. What follows a line that begins with `Q: ` is the model's own next question.
    """
    text = _NEXT_QUESTION.split(solution, 1)[0].rstrip()
    *before, last = _STATED.split(text)
    if not before and "\n" in last.strip():
        return None
    return spelled(last.strip().partition("\n")[0]) or None


def same_answer(answer: str, target: str) -> bool:
    """Whether an answer is the target.

    Case, white space and quotes count for nothing, nor do brackets around it and a full stop at its
    end; numbers are compared by value, lists by their items, an option by its letter.
    """
    one, other = spelled(answer), spelled(target)
    if not one:
        return False
    return one == other or (_number(answer) is not None and _number(answer) == _number(target))


def spelled(text: str) -> str:
    """An answer in the one spelling that equal answers share, numbers apart; empty: there is none.

    The items of a list stand apart by one space. A run of brackets, the answer of dyck_languages,
    is a list of them.
    """
    bare = _bare(text) if len(text) <= _LONGEST else ""
    if option := _OPTION.fullmatch(bare):
        return option[1].upper()
    items = filter(None, (_bare(item) for item in re.split(r"[\s,;]+", bare)))
    joined = " ".join(items).casefold()
    if _ONLY_BRACKETS.fullmatch(joined):
        return " ".join(joined.replace(" ", ""))
    # Items without their quotes may leave others at the ends.
    return joined.upper() if len(joined) == 1 else spelled(joined) if joined != text else joined


def _bare(text: str) -> str:
    """A text without the quotes and brackets around it and the full stop at its end."""
    while True:
        bare = text.strip().rstrip(".,;").strip(_QUOTES).strip()
        if _BRACKETS.get(bare[:1]) == bare[-1:] and _encloses(bare) and re.search(r"\w", bare):
            bare = bare[1:-1]
        if bare == text:
            return bare
        text = bare


def _encloses(text: str) -> bool:
    """Whether the bracket that a text begins with is closed by its last character."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == text[0]) - (letter == text[-1])
        if not depth:
            return index == len(text) - 1
    return False


def _number(text: str) -> Fraction | None:
    """The number that an answer is; None for a list of some."""
    bare = _bare(text) if len(text) <= _LONGEST else ""
    return None if _BETWEEN_ITEMS.search(bare) else parse_number(bare)


def stated_somewhere(solution: str) -> str | None:
    """What follows the first "the answer is", up to the second, as test_bbh.py of Fu et al. has it.

    A solution of one line that lacks the words is read whole, as it is there after prompts that ask
    for the answer alone.
    """
    _, words, after = solution.partition(_STATES)
    if not words:
        return solution if "\n" not in solution.strip() else None
    return after.partition(_STATES)[0]


def contains(answer: str, target: str) -> bool:
    """Whether the target stands anywhere in an answer, letter for letter."""
    return bool(target) and target in answer
