"""The calculator: finds an open `<< ... =` and evaluates it exactly.

It has its own parser and never calls `eval`.

Policy: digits, `+ - * / . ( )`, thousands commas, and spaces between (never within) numbers and
signs. `**`, names, `2(3)` and commas that do not part groups of three digits are refused. `//` is
read as a division where both sides are whole and it comes out even (the two uses in GSM8K train:
`560//10=56`, `180//3=60`), and refused where floor and quotient would differ. A refusal is a value
that says why; nothing here raises or hangs: the length of the input bounds its numbers, as there
are no powers, and the depth of parentheses is bounded.
"""

import dataclasses
import decimal
import functools
import re
from fractions import Fraction

# What a result and the end of its annotation are written with.
WRITTEN = frozenset("0123456789.->")
MAX_CHARACTERS = 256  # of an expression; the longest in GSM8K train has 30
_MAX_DEPTH = 32  # open parentheses
_MAX_RESULT = 30  # characters of a written result
_TEN_DIGITS = decimal.Context(prec=10)

_TOKEN = re.compile(r" *(?:(?P<number>[0-9.,]+)|(?P<sign>//|[-+*/()]))")
_NUMBER = re.compile(r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?:\.(?P<part>[0-9]*))?")
_CLOSED = re.compile(r"<<(?P<expression>[^<>=]*)=(?P<result>[^<>]*)>>")
_PADDED = re.compile(r"\.[0-9]0(?![0-9])")  # a sum of money such as 2.50
_BARE = re.compile(r"(?<![0-9])\.[0-9]")  # a decimal such as .5


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """A result as it is to be written, and its exact value."""

    text: str
    value: Fraction


@dataclasses.dataclass(frozen=True)
class Refused:
    """Why there is no result."""

    reason: str


@dataclasses.dataclass(frozen=True)
class OpenAnnotation:
    """An annotation that is being written."""

    expression: str  # between `<<` and the first `=`
    written: str  # what follows that `=`


@dataclasses.dataclass(frozen=True)
class Annotation:
    """A closed annotation `<<expression=result>>`."""

    expression: str
    result: str
    start: int  # character where the result starts
    end: int  # character after `>>`


class _Refusal(Exception):
    """Carries the reason from the parser to the door."""


def open_annotation(text: str) -> OpenAnnotation | None:
    """The annotation after the last `<<`, if it has an `=` and no `>>` yet.

    Cobbe et al. 2021, section 4, and the released code.
    """
    _, mark, inside = text.rpartition("<<")
    if not mark or ">>" in inside or "=" not in inside:
        return None
    expression, _, written = inside.partition("=")
    return OpenAnnotation(expression, written)


def annotations(text: str) -> list[Annotation]:
    """All closed annotations of a text, in order."""
    return [
        Annotation(match["expression"], match["result"], match.start("result"), match.end())
        for match in _CLOSED.finditer(text)
    ]


@functools.lru_cache(maxsize=1 << 14)  # samples of a problem ask the same
def evaluate(expression: str) -> Evaluated | Refused:
    """The value of an expression, and how GSM8K would write it.

    Whole numbers are written without a point. Other results have at most 10 significant digits and
    no exponent, and follow the expression's style: two places where it pads a number to two
    (`3*2.50` gives 7.50), no leading zero where it writes none (`.5*.5` gives .25). Of the 23,716
    annotations of GSM8K train all are met in value and 97.4% in writing; most others are whole
    numbers padded to `.00`.

    Args:
        expression: what stands between `<<` and `=`.

    Returns:
        The result, or the reason why there is none.
    """
    if len(expression) > MAX_CHARACTERS:
        return Refused(f"{len(expression)} characters, at most {MAX_CHARACTERS} are read")
    try:
        value = _Parser(_split(expression)).whole()
    except _Refusal as refusal:
        return Refused(str(refusal))
    text = _written(value, expression)
    if len(text) > _MAX_RESULT:
        return Refused(
            f"the result takes {len(text)} characters, at most {_MAX_RESULT} are written"
        )
    return Evaluated(text, value)


def value(expression: str) -> Fraction | None:
    """The exact value of an expression as `evaluate` reads it; None where it refuses."""
    evaluated = evaluate(expression)
    return evaluated.value if isinstance(evaluated, Evaluated) else None


def _written(value: Fraction, expression: str) -> str:
    """The result in the style of the expression."""
    if value.denominator == 1:
        return str(value.numerator)
    rounded = _TEN_DIGITS.divide(
        decimal.Decimal(value.numerator), decimal.Decimal(value.denominator)
    )
    text = format(rounded.normalize(_TEN_DIGITS), "f")
    if _PADDED.search(expression) and "." in text and text[-2] == ".":
        text += "0"
    if _BARE.search(expression):
        text = re.sub(r"^(-?)0\.", r"\1.", text)
    return text


def _split(expression: str) -> list[str]:
    """Numbers and signs of an expression."""
    if "**" in expression:
        raise _Refusal("'**' (a power) is not read")
    tokens, at = [], 0
    text = expression.rstrip(" ")
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _Refusal(f"{text[at:].lstrip(' ')[0]!r} is no part of arithmetic")
        tokens.append(match["number"] or match["sign"])
        at = match.end()
    if not tokens:
        raise _Refusal("there is nothing to evaluate")
    return tokens


def _number(token: str) -> Fraction:
    """The value of a run of digits, commas and points."""
    match = _NUMBER.fullmatch(token)
    if match is None or not (match["whole"] or match["part"]):
        raise _Refusal(f"{token!r} is not a number")
    part = match["part"] or ""
    return Fraction(int((match["whole"].replace(",", "") or "0") + part), 10 ** len(part))


class _Parser:
    """Reads sums of products of signed numbers and parentheses, left to right."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Fraction:
        """The value of all tokens."""
        value = self._sum()
        if self._peek():
            raise _Refusal(f"{self._peek()!r} follows a complete expression")
        return value

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _sum(self) -> Fraction:
        value = self._product()
        while self._peek() in ("+", "-"):
            value = value + self._product() if self._take() == "+" else value - self._product()
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while self._peek() in ("*", "/", "//"):
            sign, other = self._take(), self._signed()
            value = value * other if sign == "*" else _quotient(value, other, sign)
        return value

    def _signed(self) -> Fraction:
        negative = False
        while self._peek() in ("+", "-"):
            negative ^= self._take() == "-"
        value = self._atom()
        return -value if negative else value

    def _atom(self) -> Fraction:
        token = self._take()
        if token == "(":
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise _Refusal(f"more than {_MAX_DEPTH} open parentheses")
            value = self._sum()
            if self._take() != ")":
                raise _Refusal("a '(' is not closed")
            self._depth -= 1
            return value
        if not token:
            raise _Refusal("the expression breaks off")
        if token[0] in "+-*/)":
            raise _Refusal(f"{token!r} stands where a number should")
        return _number(token)


def _quotient(value: Fraction, other: Fraction, sign: str) -> Fraction:
    """`value / other`; `//` only where it is the same."""
    if other == 0:
        raise _Refusal("division by zero")
    quotient = value / other
    if sign == "//" and not (value.denominator == other.denominator == quotient.denominator == 1):
        raise _Refusal("'//' is read only where it divides whole numbers evenly")
    return quotient
