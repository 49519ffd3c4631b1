"""The final answer of a solution: found, read as a number, compared, in named modes. Knows no data set and no votes.

Every mode works in time linear in the text and none raises on any text; "no answer found" is None.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from collections.abc import Callable, Hashable
from fractions import Fraction

_MARK = "####"
_MAX_CHARACTERS = 100  # of a number that is read; longer ones are compared as text
_MINUS = "-\u2212\u2013\ufe63\uff0d"  # hyphen, minus sign, en dash, small and full-width hyphen
_CURRENCY = "$€£¥₹"
_PLAIN = r"(?:(?:[0-9]+(?:,[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
_SIGNED = rf"(?:[{_MINUS}+] ?(?:[{_CURRENCY}] ?)?|[{_CURRENCY}] ?(?:[{_MINUS}+] ?)?)?"
_AMOUNT = rf"(?:[0-9]+ [0-9]+/[0-9]+|{_PLAIN} ?/ ?[$]?{_PLAIN}|{_PLAIN})"
_NUMBER = re.compile(_SIGNED + _AMOUNT)
_WHOLE = re.compile(rf"\s*{_SIGNED}{_AMOUNT} ?%?\.*\s*")
_READ = re.compile(rf"(?P<sign>[-+]?)(?:(?P<whole>[0-9]+) )?(?P<top>{_PLAIN})(?:/(?P<bottom>{_PLAIN}))?")
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)")
_MAX_EXPONENT = 300  # ten to a larger power is not written out; such numbers are compared as text
_ANNOTATION = re.compile(r"<<[^<>]*>>")
_GROUP_SPACE = re.compile(r"(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")  # no-break and thin: 1 000 with no plain space
_PART = r" ?(?:\{([^{}]*)\}|([0-9]))"  # of a LaTeX fraction: in braces, or a single digit
_FRACTION = re.compile(rf" ?\\[dt]?frac{_PART}{_PART}")
_ONE_LETTER = re.compile(r"[ \u00a0\u2009\u202f]?([\u00bc-\u00be\u2150-\u215f\u2189])")  # a fraction in one letter: 1/2, 3/4, ...
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
    """The number that a text is as a whole: sign, `$`, `%`, thousands commas, trailing point, decimals, `3/4`, `1 3/4`, `1e5`; else None.

    Other scripts' digits, `½` and LaTeX's `\\frac{3}{4}`, `9{,}500` and `\\$` are read too.
    """
    if len(text) > _MAX_CHARACTERS:
        return None
    text = _plain_text(text)
    if _WHOLE.fullmatch(text) is None or any(abs(int(power)) > _MAX_EXPONENT for power in _EXPONENT.findall(text)):
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
    follows is no answer. Annotations (`<<3*6=18>>`) are the calculator's and not read; an expression is not worked out, its first number
    counts.
    """
    line = answer_line(solution)
    found = _NUMBER.search(_ANNOTATION.sub("", _plain_text(line))) if line else None
    return _tidy(found[0]) if found else None


def answer_line(solution: str) -> str | None:
    """The first line with text after the last `####`, "" where there is none; None without the mark."""
    _, mark, rest = solution.rpartition(_MARK)
    return rest.lstrip().partition("\n")[0] if mark else None


def _plain_text(text: str) -> str:
    """A text whose numbers are written in ASCII: digits of all scripts, full-width signs, `½`, separating spaces, LaTeX.

    A fraction has one space before it, its own or a new one, so that `2\\frac12` and `2 ½` both read as `2 1/2`.
    """
    if not text.isascii():
        text = _ONE_LETTER.sub(_fraction, text)
        text = _GROUP_SPACE.sub("", "".join(map(_ascii, text)))
    text = text.replace("{,}", ",")
    if "\\" in text:
        text = _FRACTION.sub(r" \1\2/\3\4", text.replace("\\$", "$").replace("\\%", "%").replace("\\,", "").replace("\\!", ""))
    return text


def _ascii(letter: str) -> str:
    if letter.isascii():
        return letter
    if unicodedata.category(letter) == "Nd":
        return str(unicodedata.decimal(letter))
    if "\uff01" <= letter <= "\uff5e":  # full-width forms
        return chr(ord(letter) - 0xFEE0)
    return letter


def _fraction(found: re.Match[str]) -> str:
    return " " + unicodedata.normalize("NFKC", found[1]).replace("\u2044", "/")


def _tidy(text: str) -> str:
    """A number as `_NUMBER` finds it, without currency, `%`, `+`, commas (all: `1,00` is 100) and trailing points, with an ASCII minus."""
    text = re.sub(rf"[{_MINUS}]", "-", text.strip())
    text = re.sub(rf"[{_CURRENCY}%,+]", "", text).lstrip().rstrip(" .")
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
