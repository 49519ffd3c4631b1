"""What a number is: found in a line, read exactly, in the ways in which people, models and LaTeX
write one. Knows no answers.

A line is first written plainly (`plain`): ASCII digits, `-` for every minus sign, `3/4` for every
fraction, no thousands separators but the comma. Then one pattern reads numbers in it. Everything
works in time linear in the text and raises on none.

    number    [sign] [currency] [sign] amount [%]
    sign      minus or plus, or the word minus or negative; a dash after a word, and a bullet, are
              none (`_is_minus`)
    currency  any currency sign, with a country's letters (`US$`), or a code (`USD`, `Rs.`)
    amount    `18` `1,234.5` `.5` `1e5` `3/4` `1 3/4`

Separators are a comma anywhere (`1,00` is 100), a space, apostrophe or `_` before three digits, and
points where there are two or more groups or a decimal comma follows (`1.250.000`, `1.234,56`;
`1.250` is a decimal). A point before a digit is a decimal one unless it follows a letter or point
(`.5`, but `Rs.500` is 500). Mixed numbers are `4 1/2`, `4-1/2`, `4 and 1/2`, `4 and a half`. A
power of ten is worked out (`1.5 x 10^6`); other powers, roots and expressions are no numbers, nor
are `1.2.3` and `1/2/3`. Words are not multiplied: `2 million` is 2.
"""

from __future__ import annotations

import html
import re
import unicodedata
from fractions import Fraction

# in a plain text: an expression that is no number, though there may be digits in it
UNREADABLE = "\x00"
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
# f(2) = 5, a_3 = 5
_NAMED = re.compile(
    r"[^\w(]*+[A-Za-z]{1,4}(?:_\{?[A-Za-z0-9]{1,3}\}?|[(\[][^()\[\]=]{0,30}[)\]]) ?="
)
_LIST_GOES_ON = re.compile(r"%?, ?[-$]{0,2}[0-9]")
_IN_A_LIST = re.compile(r",[0-9]{1,2}(?![0-9])")

# hyphens, figure and en dash, minus signs
_MINUS = "\u02d7\u2010\u2011\u2012\u2013\u2212\u2796\ufe63\uff0d"
_ALIKE = {
    **dict.fromkeys(_MINUS, "-"),
    **dict.fromkeys("\u2044\u2215\u00f7", "/"),
    **dict.fromkeys("\u2018\u2019\u02bc", "'"),
}
_ALIKE |= {
    "\u20a8": "Rs",
    "\u00d7": "*",
    "\u22c5": "*",
    "\u2248": "~",
    "\u066a": "%",
    "\u066b": ".",
    "\u066c": ",",
}
_ALIKE |= dict.fromkeys("√∛∜", UNREADABLE)
_RAISED = {ord(letter): "-+0123456789"[place] for place, letter in enumerate("⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹")}
_LOWERED = {ord(letter): "0123456789"[place] for place, letter in enumerate("₀₁₂₃₄₅₆₇₈₉")}
# a fraction in one letter: 1/2, 3/4, ...
_ONE_LETTER = re.compile(r"([0-9]?)([\u00bc-\u00be\u2150-\u215f\u2189])")
_TWO_LEVELS = re.compile(r"([⁰¹²³⁴-⁹]+)[\u2044/]([₀-₉]+)")
_TEN_TO = r"10 ?(?:\^ ?\{? ?([-+]?[0-9]{1,4})\}?|([⁻⁺]?[⁰¹²³⁴-⁹]{1,4}))"
_SCIENTIFIC = re.compile(rf"(?<![0-9.,])(?:([0-9]{{1,20}}(?:\.[0-9]{{1,20}})?) ?[*x] ?)?{_TEN_TO}")

_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_WRAPPED = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mbox|operatorname) ?\{([^{}]*)\}"
)
_PART = r" ?(?:\{([^{}]*)\}|([0-9]))"  # of a LaTeX fraction: in braces, or a single digit
_OVER = r"\\over(?![a-zA-Z])"
_FRACTION = re.compile(
    rf"\\(?:[dtc]?frac|nicefrac|sfrac){_PART}{_PART}|\{{((?:[^{{}}\\]|"
    rf"\\(?!over))*+){_OVER}([^{{}}]*+)\}}"
)
_SPACE = r"(?:\\[,;:! ]|~|\\(?:quad|qquad|thinspace|enspace|space|medspace)\b)"
_SPACED = re.compile(rf"(?<=[0-9]), ?{_SPACE} ?(?=[0-9]{{3}})|{_SPACE}")
_MACRO = re.compile(r"\\([a-zA-Z]+|[$%&#{}()\[\]/])")
_MACROS = {
    "times": "*",
    "cdot": "*",
    "div": "/",
    "approx": "~",
    "pounds": "£",
    "textdollar": "$",
    "$": "$",
    "%": "%",
    "/": "/",
    "le": "<",
    "ge": ">",
}
_MACROS |= dict.fromkeys(
    (
        "sqrt",
        "pi",
        "log",
        "ln",
        "sin",
        "cos",
        "tan",
        "binom",
        "sum",
        "prod",
        "frac",
        "dfrac",
        "over",
    ),
    UNREADABLE,
)
_DEGREES = re.compile(r"\^ ?(?:\{ ?\\circ ?\}|\\circ\b)")
_BRACED_SEPARATOR = re.compile(r"(?<![a-zA-Z])\{ ?([,.']|\\[,;:! ]) ?\}")
_BRACED_NUMBER = re.compile(r"\{ ?(-?[0-9.,]+) ?\}")

_SPACES = re.compile(r"(?<=[0-9])  +(?=[0-9])")
_GROUPS = re.compile(
    r"(?<![0-9.,/])([0-9]{1,3})((?:[ '_][0-9]{3})++)(?:,([0-9]{1,2}))?(?![0-9/]|,[0-9])"
)
_COMMA_AND_SPACE = re.compile(r"(?<=[0-9]), (?=0[0-9]{2}(?![0-9]))")  # 1, 000; but 18, 200 are two
_POINTS = re.compile(r"(?<![0-9.,])([0-9]{1,3}(?:\.[0-9]{3})++)(?:,([0-9]++))?(?![.,]?[0-9])")
_BRACKETED = re.compile(r"\((-?[0-9.,]++)\) ?/ ?\(?(-?[0-9.,]++)\)?")
_MIXED = re.compile(
    r"(?<![0-9./,])([0-9]{1,9})(?:[-_]| ?[+&] ?| and )([0-9]{1,9})/([0-9]{1,9})(?! ?(?:[0-9/=]|"
    r"\.[0-9]))"
)
_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "eighth": 8,
    "tenth": 10,
}
_MANY = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3}
_OVER_IN_WORDS = re.compile(r"(?<=[0-9]) over (?=[0-9])")
_IN_WORDS = re.compile(rf"(?<=[0-9]) and ({'|'.join(_MANY)})[ -]({'|'.join(_PARTS)})s?\b")
# in an ASCII text: something to be written plainly
_SPECIAL = re.compile(r"[\\{}~^(]|[0-9] ?(?:[ .'_x*+&-] ?[0-9]|and |over |, 0)")


class _Letters(dict[int, str]):
    """What each letter is in ASCII, looked up once: digits of all scripts, full-width signs, minus
    signs, spaces; others stay.
    """

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        kind = unicodedata.category(letter)
        if kind == "Nd":
            plainly = str(unicodedata.decimal(letter))
        elif "\uff01" <= letter <= "\uff5e" and letter not in _ALIKE:  # full-width forms
            plainly = chr(code - 0xFEE0)
        # a space; a mark without width, of the direction of writing, say
        elif kind in ("Zs", "Cf"):
            plainly = " " if kind == "Zs" else ""
        else:
            plainly = {"\uff04": "$", "\uffe1": "£", "\uffe5": "¥"}.get(letter) or _ALIKE.get(
                letter, letter
            )
        self[code] = plainly
        return plainly


_LETTERS = _Letters()


def parse_number(text: str) -> Fraction | None:
    """The number that a text is as a whole, with its sign, currency and `%`; None where it is none,
    or one of over 100 characters.
    """
    if len(text) > _MAX_CHARACTERS:
        return None
    text = plain(text).strip()
    found = _NUMBER.match(text)
    if (
        found is None
        or found["amount"] is None
        or found["run_on"]
        or not re.fullmatch(rf" ?(?:%|{_CURRENCY})?\.*", text[found.end() :])
    ):
        return None
    if any(abs(int(power)) > _MAX_EXPONENT for power in _EXPONENT.findall(text)):
        return None
    read = _READ.fullmatch(_tidy(found, negative="-" in (found["sign"] or "")))
    if read is None:
        return None
    top, bottom = Fraction(read["top"]), Fraction(read["bottom"] or 1)
    if bottom == 0 or (read["whole"] and not read["bottom"]):
        return None
    value = int(read["whole"] or 0) + top / bottom
    return -value if read["sign"] == "-" else value


def first_number(line: str, bullet: bool = False) -> str | None:
    """The number that a plain line states: the first one, or the result of an equation that begins
    with it (`9 + 9 = 18`).

    Args:
        line: from `plain`.
        bullet: a dash and a space before the line's text are a bullet, no sign.

    Returns:
        The number as `parse_number` reads it, without currency, `%` and commas; None where there is
        none, or an expression before it.
    """
    found = _NUMBER.search(line, _start(line))
    if found is None:
        return None
    if _is_equation(line, found):
        return first_number(line.rpartition("=")[2])
    if (
        not found["amount"]
        or found["run_on"]
        or _is_list(line, found)
        or _CALCULATION.match(line, found.end())
    ):
        return None
    return _tidy(found, _is_minus(line, found, bullet))


def begins_with_number(line: str) -> bool:
    """Whether a plain line has a number at its start, behind markup."""
    return _NUMBER.match(line.lstrip(" *_`\"'([{:=~>$")) is not None


def only_number(line: str) -> str | None:
    """The number of a plain line that states one and no other: `12 apples`, `x = 12`, `9 + 3 = 12
    apples`; else None.
    """
    start = _start(line)
    found = _NUMBER.search(line, start)
    if found and _is_equation(line, found):
        return only_number(line.rpartition("=")[2])
    # m2 is a unit
    numbers = [
        one
        for one in _NUMBER.finditer(line, start)
        if not line[max(one.start() - 1, 0) : one.start()].isalpha()
    ]
    if (
        found is None
        or len(numbers) != 1
        or numbers[0].start() != found.start()
        or _VARIABLE.match(line, found.end())
    ):
        return None
    return first_number(line)


def _is_equation(line: str, found: re.Match[str]) -> bool:
    """Whether a number or a root begins an expression with its result: `9 + 9 = 18`, `18 apples - 3
    = 15`, `3^2 = 9`.
    """
    if "=" not in line[found.end() :]:
        return False
    return bool(
        not found["amount"]
        or found["more"]
        or _RAISED_TO.match(line, found.end())
        or _OPERATION.match(line, found.end())
    )


def _is_list(line: str, found: re.Match[str]) -> bool:
    """Whether a number is the first of several in brackets, which are one answer: `(5, 6)`,
    `{1,2}`.
    """
    if line[max(found.start() - 1, 0) : found.start()] not in ("(", "[", "{"):
        return False
    return bool(_LIST_GOES_ON.match(line, found.end()) or _IN_A_LIST.search(found["amount"]))


def _start(line: str) -> int:
    """Where the numbers of a line begin: behind a left side such as `f(2) =`, whose number is none
    of them.
    """
    named = _NAMED.match(line)
    return named.end() if named else 0


def plain(text: str) -> str:
    """A text whose numbers are written in ASCII, as the module's first lines say; `UNREADABLE`
    stands for roots and the like.
    """
    if "&" in text:
        text = html.unescape(text)
    if "<<" in text:
        text = _ANNOTATION.sub(_annotated, text)
    if not text.isascii():
        text = _TWO_LEVELS.sub(
            lambda found: f" {found[1].translate(_RAISED)}/{found[2].translate(_LOWERED)}", text
        )
        text = _ONE_LETTER.sub(
            lambda found: found[1] + " " * bool(found[1]) + unicodedata.normalize("NFKC", found[2]),
            text,
        )
        text = text.translate(_LETTERS)
    elif _SPECIAL.search(text) is None:
        return text
    if "\\" in text or "{" in text or "~" in text:
        text = _without_latex(text)
    text = _SPACES.sub(" ", text)
    text = _GROUPS.sub(_grouped, _COMMA_AND_SPACE.sub(",", text))
    text = _POINTS.sub(_pointed, text)
    text = _SCIENTIFIC.sub(
        lambda found: f"{found[1] or 1}e{found[2] or found[3].translate(_RAISED)}", text
    )
    text = _BRACKETED.sub(r"\1/\2", _OVER_IN_WORDS.sub("/", text))
    text = _IN_WORDS.sub(lambda found: f" {_MANY[found[1]]}/{_PARTS[found[2]]}", text)
    return _MIXED.sub(
        lambda found: (
            f"{found[1]} {found[2]}/{found[3]}" if int(found[2]) < int(found[3]) else found[0]
        ),
        text,
    )


def _without_latex(text: str) -> str:
    """Wrappers opened, `\\frac` and `\\over` as `3/4` behind a space of their own, spacing and
    escapes gone.
    """
    text = _BRACED_SEPARATOR.sub(r"\1", _DEGREES.sub(" ", text))
    text = _SPACED.sub(
        lambda found: "," if found[0][0] == "," else "" if found[0] == "\\!" else " ", text
    )
    for _ in range(4):  # one within the other, no deeper
        text, count = _WRAPPED.subn(r"\1", text)
        text = _FRACTION.sub(_divided, text)
        if not count:
            break
    text = _MACRO.sub(lambda found: _MACROS.get(found[1], " "), text)
    return _BRACED_NUMBER.sub(r"\1", text)


def _divided(found: re.Match[str]) -> str:
    top, bottom = (
        (found[1] or found[2] or found[5] or "").strip(),
        (found[3] or found[4] or found[6] or "").strip(),
    )
    before = found.string[max(found.start() - 1, 0) : found.start()]
    parts = [re.sub(r"[\s{}()]|(?<=[0-9]),", "", part) for part in (top, bottom)]
    if not all(re.fullmatch(r"-?[0-9.]*[0-9]", part) for part in parts):
        return UNREADABLE
    return (" " if before.isdigit() or before == "}" else "") + "/".join(parts)


def _annotated(found: re.Match[str]) -> str:
    """Nothing of an annotation (`<<3*6=18>>`), which is the calculator's; of one without `=` what
    is in it, apart from what follows.
    """
    after = found.string[found.end() : found.end() + 1].isdigit()
    before = found.string[max(found.start() - 1, 0) : found.start()].isdigit()
    if "=" in found[1]:
        return ";" if after and before else ""
    return ";" if before else found[1] + ";"


def _grouped(found: re.Match[str]) -> str:
    """Groups of three joined, a decimal comma after them as a point."""
    return found[1] + re.sub("[ '_]", "", found[2]) + (f".{found[3]}" if found[3] else "")


def _pointed(found: re.Match[str]) -> str:
    """Points between groups of three, where more than one group or a decimal comma tells that they
    are none of decimals.
    """
    if found[2] is None and found[1].count(".") < 2:
        return found[0]
    return found[1].replace(".", "") + (f".{found[2]}" if found[2] else "")


def _is_minus(line: str, found: re.Match[str], bullet: bool) -> bool:
    """Whether a number is negative: by a word, or by a dash that is its sign.

    A dash is one after the currency (`$-5`), close to the number and after no word, and apart from
    it where nothing or `=`, `:`, `is` precedes.
    """
    before = line[: found.start()]
    if not found["sign"]:
        return _IN_A_WORD.search(before[-12:]) is not None
    if "-" not in found["sign"] or found["sign"][0] != "-":
        return "-" in found["sign"]
    if line[found.start() + 1] != " ":
        return not re.match(r"[\w)%-]", before[-1:])
    if not before.strip(" *_`\"'([{$"):
        return not bullet
    return re.search(r"(?:[=:(]|\bis)[ *_`\"'($]*$", before[-12:]) is not None


def _tidy(found: re.Match[str], negative: bool) -> str:
    """A number as it was found, without currency, `+`, commas (all: `1,00` is 100), a sign that is
    none and trailing points.
    """
    amount = re.sub(r" ?/ ?", "/", found["amount"].replace(",", "").replace("$", "")).rstrip(".")
    return "-" * negative + amount
