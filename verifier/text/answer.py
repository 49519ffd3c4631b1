"""The final answer of a solution: found, read as a number, compared, in named modes. Knows no data set and no votes.

Every mode works in time linear in the text and none raises on any text; "no answer found" is None.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Hashable
from fractions import Fraction

_MARK = "####"
_MAX_CHARACTERS = 100  # of a number that is read; longer ones are compared as text
_MINUS = "-\u2212\u2013\ufe63\uff0d"  # hyphen, minus sign, en dash, small and full-width hyphen
_PLAIN = r"(?:[0-9]+(?:,[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)"
_SIGNED = rf"(?:[{_MINUS}+] ?(?:[$€£] ?)?|[$€£] ?(?:[{_MINUS}+] ?)?)?"
_AMOUNT = rf"(?:[0-9]+ [0-9]+/[0-9]+|{_PLAIN} ?/ ?[$]?{_PLAIN}|{_PLAIN})"
_NUMBER = re.compile(_SIGNED + _AMOUNT)
_WHOLE = re.compile(rf"\s*{_SIGNED}{_AMOUNT} ?%?\.*\s*")
_READ = re.compile(rf"(?P<sign>[-+]?)(?:(?P<whole>[0-9]+) )?(?P<top>{_PLAIN})(?:/(?P<bottom>{_PLAIN}))?")
_MARKED = re.compile(r"#### (-?[0-9.,]+)")
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


def parse_number(text: str) -> Fraction | None:
    """The number that a text is as a whole: sign, `$`, `%`, thousands commas, trailing point, decimals, `3/4`, `1 3/4`; else None."""
    if len(text) > _MAX_CHARACTERS or _WHOLE.fullmatch(text) is None:
        return None
    found = _READ.fullmatch(_tidy(text))
    if found is None:
        return None
    top, bottom = Fraction(found["top"]), Fraction(found["bottom"] or 1)
    if bottom == 0 or (found["whole"] and not found["bottom"]):
        return None
    value = int(found["whole"] or 0) + top / bottom
    return -value if found["sign"] == "-" else value


def same(a: str | None, b: str | None) -> bool:
    """Whether two answers are numerically equal; the same text where neither is a number. None equals nothing."""
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
    return text if text.lower() not in _NO_ANSWER and any(letter.isalnum() for letter in text) else None


def _numeric(solution: str) -> str | None:
    """The first number of the first line after the last `####`.

    The last mark counts: by the first one, as the released code has it, a solution could change its mind unseen. A last mark that no number
    follows is no answer.
    """
    _, mark, rest = solution.rpartition(_MARK)
    lines = rest.lstrip().split("\n", 1) if mark else []
    found = _NUMBER.search(lines[0]) if lines else None
    return _tidy(found[0]) if found else None


def _tidy(text: str) -> str:
    """A number as `_NUMBER` finds it, without currency, `%`, `+`, commas (all: `1,00` is 100) and trailing points, with an ASCII minus."""
    text = re.sub(rf"[{_MINUS}]", "-", text.strip())
    text = re.sub(r"[$€£%,+]", "", text).lstrip().rstrip(" .")
    text = re.sub(r" ?/ ?", "/", text)
    return re.sub(r"^- +", "-", text)


def _paper(solution: str) -> str | None:
    """The first `#### N`, commas dropped (openai/grade-school-math, dataset.py)."""
    found = _MARKED.search(solution)
    return found[1].replace(",", "") if found else None


def _paper_equal(answer: str, gold: str) -> bool:
    """The same string; commas are dropped from the gold answer too, as the released code does."""
    return answer == (_paper(gold) if _MARK in gold else gold.strip().replace(",", ""))


def _strict(solution: str) -> str | None:
    """lm-evaluation-harness, task gsm8k, filter strict-match: the first `#### N`."""
    found = _MARKED.search(solution)
    return _ignore(found[1]) if found else None


def _flexible(solution: str) -> str | None:
    """lm-evaluation-harness, task gsm8k, filter flexible-extract: the last thing that looks like a number."""
    found = [one[0] for one in _FLEXIBLE.finditer(solution)]
    return _ignore(found[-1]) if found else None


def _ignore(text: str) -> str:
    """What that harness's exact_match compares: no `,`, no `$`, nothing up to the last `#### `, no trailing point, lower case."""
    return text.replace(",", "").replace("$", "").rpartition("#### ")[2].removesuffix(".").lower()


def _ignoring_equal(answer: str, gold: str) -> bool:
    return answer == _ignore(gold)


def _numeric_equal(answer: str, gold: str) -> bool:
    return same(answer, _numeric(gold) if _MARK in gold else gold)


def _grader(name: str) -> Grader:
    if name not in GRADERS:
        raise ValueError(f"there is no grader {name!r}; take one of {', '.join(GRADERS)}")
    return GRADERS[name]


GRADERS = {
    "numeric": Grader(_numeric, _numeric_equal),
    "paper": Grader(_paper, _paper_equal),
    "strict": Grader(_strict, _ignoring_equal),
    "flexible": Grader(_flexible, _ignoring_equal),
}
