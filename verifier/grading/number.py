"""What a number is: found in a plain line (`notation.plain`) by one pattern, and read exactly.

    number    [sign] [currency] [sign] amount [%]
    sign      minus or plus, or the word minus or negative; a dash after a word, and a bullet, are
              none (`_is_minus`)
    currency  any currency sign, with a country's letters (`US$`), or a code (`USD`, `Rs.`)
    amount    `18` `1,234.5` `.5` `1e5` `3/4` `1 3/4`

A point before a digit is a decimal one unless it follows a letter or point (`.5`, but `Rs.500` is
500). A power of ten is worked out (`1.5 x 10^6`); other powers, roots and expressions are no
numbers, nor are `1.2.3` and `1/2/3`. Everything works in time linear in the text and raises on
none.
"""

from __future__ import annotations

import re
from fractions import Fraction

from verifier.grading.notation import UNREADABLE, plain

_MAX_CHARACTERS = 100  # of a number that is read; longer ones are compared as text
_MAX_EXPONENT = 300  # ten to a larger power is not written out; such numbers are compared as text
_PLAIN = r"(?:[0-9]++(?:,[0-9]++)*+(?:\.[0-9]*+)?+|(?<![\w.])\.[0-9]++)(?:[eE][-+]?[0-9]++)?+"
_AMOUNT = rf"(?:[0-9]++(?:,[0-9]++)*+ [0-9]++ ?/ ?[0-9]++|{_PLAIN} ?/ ?[$-]?{_PLAIN}|{_PLAIN})"
_CODES = "USD|EUR|GBP|INR|CAD|AUD|NZD|JPY|CNY|CHF|SGD|HKD|PHP|PKR|BDT|Rs|Tk"
_CURRENCY = rf"(?:(?:[A-Z]{{1,2}})?[$¢-¥\u20a0-\u20cf\u0e3f]|(?:{_CODES})\.?)"
_SIGNED = (
    rf"(?:(?P<sign>[-+](?: {{0,2}}{_CURRENCY})?[({{*_`]{{0,3}}|(?:{_CURRENCY} ?)[-+]) {{0,2}}|"
    rf"{_CURRENCY} {{0,2}})?"
)
_FUNCTION = rf"{UNREADABLE}|\b(?:sqrt|log|ln|sin|cos|tan) ?(?=[(0-9])"
_EXPRESSION = rf" ?(?:\^|{UNREADABLE}|π|pi\b)"  # what makes one of the number before it
_NUMBER = re.compile(
    rf"{_SIGNED}(?P<amount>{_AMOUNT})(?P<run_on>[./][0-9]|[0-9]|(?P<more>{_EXPRESSION}))?|"
    rf"{_FUNCTION}"
)
_READ = re.compile(
    rf"(?P<sign>[-+]?)(?:(?P<whole>[0-9]+) )?(?P<top>{_PLAIN})(?:/(?P<bottom>-?{_PLAIN}))?"
)
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)")
_OPERATION = re.compile(
    r"(?: ?+[A-Za-z%$]++){0,3}?[ )]*+(?:[-+*/]|x(?= ?[0-9$])|(?:times|plus|minus|divided by|"
    r"of)\b)[ ($]*+-?\.?[0-9]"
)
_RAISED_TO = re.compile("[⁰¹²³⁴-⁹]")
_CALCULATION = re.compile(
    r" ?+\)?+ ?+(?:[+*]|x(?= ?[0-9$])|times\b|plus\b|minus\b|divided by\b)[ ($]*+-?\.?[0-9]"
)
_IN_A_WORD = re.compile(r"(?i)\b(?:minus|negative) $")
_VARIABLE = re.compile(r"[abinqrxyz](?![A-Za-z]|\.[a-z])")  # 3x is no 3, but 8a.m. is 8
# The left side of f(2) = 5 and a_3 = 5.
_NAMED = re.compile(
    r"[^\w(]*+[A-Za-z]{1,4}(?:_\{?[A-Za-z0-9]{1,3}\}?|[(\[][^()\[\]=]{0,30}[)\]]) ?="
)
_LIST_GOES_ON = re.compile(r"%?, ?[-$]{0,2}[0-9]")
_IN_A_LIST = re.compile(r",[0-9]{1,2}(?![0-9])")


def parse_number(text: str) -> Fraction | None:
    """The number that a text is as a whole, with its sign, currency and `%`.

    None where it is none, or one of over 100 characters.
    """
    if len(text) > _MAX_CHARACTERS:
        return None
    text = plain(text).strip()
    match = _NUMBER.match(text)
    if (
        match is None
        or match["amount"] is None
        or match["run_on"]
        or not re.fullmatch(rf" ?(?:%|{_CURRENCY})?\.*", text[match.end() :])
    ):
        return None
    if any(abs(int(power)) > _MAX_EXPONENT for power in _EXPONENT.findall(text)):
        return None
    read = _READ.fullmatch(_tidy(match, negative="-" in (match["sign"] or "")))
    if read is None:
        return None
    top, bottom = Fraction(read["top"]), Fraction(read["bottom"] or 1)
    if bottom == 0 or (read["whole"] and not read["bottom"]):
        return None
    value = int(read["whole"] or 0) + top / bottom
    return -value if read["sign"] == "-" else value


def first_number(line: str, bullet: bool = False) -> str | None:
    """The first number of a plain line, or the result of an equation from it on (`9 + 9 = 18`).

    Args:
        line: from `plain`.
        bullet: a dash and a space before the line's text are a bullet, no sign.

    Returns:
        The number as `parse_number` reads it, without currency, `%` and commas; None where there is
        none, or an expression before it.
    """
    match = _NUMBER.search(line, _start(line))
    if match is None:
        return None
    if _is_equation(line, match):
        return first_number(line.rpartition("=")[2])
    if (
        not match["amount"]
        or match["run_on"]
        or _is_list(line, match)
        or _CALCULATION.match(line, match.end())
    ):
        return None
    return _tidy(match, _is_minus(line, match, bullet))


def begins_with_number(line: str) -> bool:
    """Whether a plain line has a number at its start, behind markup."""
    return _NUMBER.match(line.lstrip(" *_`\"'([{:=~>$")) is not None


def only_number(line: str) -> str | None:
    """The number of a plain line that states one and no other, else None.

    Lines of that kind are `12 apples`, `x = 12` and `9 + 3 = 12 apples`.
    """
    start = _start(line)
    match = _NUMBER.search(line, start)
    if match and _is_equation(line, match):
        return only_number(line.rpartition("=")[2])
    # The digit of m2 is part of a unit.
    numbers = [
        one
        for one in _NUMBER.finditer(line, start)
        if not line[max(one.start() - 1, 0) : one.start()].isalpha()
    ]
    if (
        match is None
        or len(numbers) != 1
        or numbers[0].start() != match.start()
        or _VARIABLE.match(line, match.end())
    ):
        return None
    return first_number(line)


def _is_equation(line: str, match: re.Match[str]) -> bool:
    """Whether a number or a root begins an expression with its result.

    Such expressions are `9 + 9 = 18`, `18 apples - 3 = 15` and `3^2 = 9`.
    """
    if "=" not in line[match.end() :]:
        return False
    return bool(
        not match["amount"]
        or match["more"]
        or _RAISED_TO.match(line, match.end())
        or _OPERATION.match(line, match.end())
    )


def _is_list(line: str, match: re.Match[str]) -> bool:
    """Whether a number is the first of several in brackets, one answer: `(5, 6)`, `{1,2}`."""
    if line[max(match.start() - 1, 0) : match.start()] not in ("(", "[", "{"):
        return False
    return bool(_LIST_GOES_ON.match(line, match.end()) or _IN_A_LIST.search(match["amount"]))


def _start(line: str) -> int:
    """Where the numbers of a line begin: behind a left side such as `f(2) =`."""
    named = _NAMED.match(line)
    return named.end() if named else 0


def _is_minus(line: str, match: re.Match[str], bullet: bool) -> bool:
    """Whether a number is negative: by a word, or by a dash that is its sign.

    A dash is one after the currency (`$-5`), close to the number and after no word, and apart from
    it where nothing or `=`, `:`, `is` precedes.
    """
    before = line[: match.start()]
    if not match["sign"]:
        return _IN_A_WORD.search(before[-12:]) is not None
    if "-" not in match["sign"] or match["sign"][0] != "-":
        return "-" in match["sign"]
    if line[match.start() + 1] != " ":
        return not re.match(r"[\w)%-]", before[-1:])
    if not before.strip(" *_`\"'([{$"):
        return not bullet
    return re.search(r"(?:[=:(]|\bis)[ *_`\"'($]*$", before[-12:]) is not None


def _tidy(match: re.Match[str], negative: bool) -> str:
    """A number as it stands, without currency, `+`, commas and trailing points.

    All commas go (`1,00` is 100), and a sign that is none.
    """
    amount = re.sub(r" ?/ ?", "/", match["amount"].replace(",", "").replace("$", "")).rstrip(".")
    return "-" * negative + amount
