"""One notation for the numbers of a text, in whatever way people, models and LaTeX wrote them.

ASCII digits, `-` for every minus sign, `3/4` for every fraction, `1e6` for powers of ten, no
thousands separators but the comma. Every pattern works in time linear in the text, and none raises.

Separators are a comma anywhere (`1,00` is 100), a space, apostrophe or `_` before three digits, and
points where there are two or more groups or a decimal comma follows (`1.250.000`, `1.234,56`;
`1.250` is a decimal). Mixed numbers are `4 1/2`, `4-1/2`, `4 and 1/2`, `4 and a half`. Words are
not multiplied: `2 million` is 2.
"""

from __future__ import annotations

import html
import re
import unicodedata

# In a plain text: an expression that is no number, though there may be digits in it.
UNREADABLE = "\x00"

# Hyphens, figure and en dash, minus signs.
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
_SUPERSCRIPT = {ord(letter): "-+0123456789"[index] for index, letter in enumerate("⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹")}
_SUBSCRIPT = {ord(letter): "0123456789"[digit] for digit, letter in enumerate("₀₁₂₃₄₅₆₇₈₉")}

# A fraction in one letter: 1/2, 3/4, ...
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
# Something in an ASCII text that is to be written plainly.
_SPECIAL = re.compile(r"[\\{}~^(]|[0-9] ?(?:[ .'_x*+&-] ?[0-9]|and |over |, 0)")

_CURRENCIES = {"\uff04": "$", "\uffe1": "£", "\uffe5": "¥"}


class _Letters(dict[int, str]):
    """What each letter is in ASCII, looked up once; others stay.

    Written in ASCII are digits of all scripts, full-width signs, minus signs and spaces.
    """

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        kind = unicodedata.category(letter)
        if kind == "Nd":
            plainly = str(unicodedata.decimal(letter))
        elif "\uff01" <= letter <= "\uff5e" and letter not in _ALIKE:  # full-width forms
            plainly = chr(code - 0xFEE0)
        elif kind in ("Zs", "Cf"):  # a space; a mark without width, as of the direction of writing
            plainly = " " if kind == "Zs" else ""
        else:
            plainly = _CURRENCIES.get(letter) or _ALIKE.get(letter, letter)
        self[code] = plainly
        return plainly


_LETTERS = _Letters()


def plain(text: str) -> str:
    """A text whose numbers are in that notation; `UNREADABLE` stands for roots and the like."""
    if "&" in text:
        text = html.unescape(text)
    if "<<" in text:
        text = _ANNOTATION.sub(_annotated, text)
    if not text.isascii():
        text = _TWO_LEVELS.sub(
            lambda match: f" {match[1].translate(_SUPERSCRIPT)}/{match[2].translate(_SUBSCRIPT)}",
            text,
        )
        text = _ONE_LETTER.sub(
            lambda match: match[1] + " " * bool(match[1]) + unicodedata.normalize("NFKC", match[2]),
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
        lambda match: f"{match[1] or 1}e{match[2] or match[3].translate(_SUPERSCRIPT)}", text
    )
    text = _BRACKETED.sub(r"\1/\2", _OVER_IN_WORDS.sub("/", text))
    text = _IN_WORDS.sub(lambda match: f" {_MANY[match[1]]}/{_PARTS[match[2]]}", text)
    return _MIXED.sub(
        lambda match: (
            f"{match[1]} {match[2]}/{match[3]}" if int(match[2]) < int(match[3]) else match[0]
        ),
        text,
    )


def _without_latex(text: str) -> str:
    """Wrappers opened, `\\frac` and `\\over` as `3/4` behind a space, spacing and escapes gone."""
    text = _BRACED_SEPARATOR.sub(r"\1", _DEGREES.sub(" ", text))
    text = _SPACED.sub(
        lambda match: "," if match[0][0] == "," else "" if match[0] == "\\!" else " ", text
    )
    for _ in range(4):  # one within the other, no deeper
        text, count = _WRAPPED.subn(r"\1", text)
        text = _FRACTION.sub(_divided, text)
        if not count:
            break
    text = _MACRO.sub(lambda match: _MACROS.get(match[1], " "), text)
    return _BRACED_NUMBER.sub(r"\1", text)


def _divided(match: re.Match[str]) -> str:
    """A LaTeX fraction of two numbers as `3/4`."""
    top = (match[1] or match[2] or match[5] or "").strip()
    bottom = (match[3] or match[4] or match[6] or "").strip()
    before = match.string[max(match.start() - 1, 0) : match.start()]
    parts = [re.sub(r"[\s{}()]|(?<=[0-9]),", "", part) for part in (top, bottom)]
    if not all(re.fullmatch(r"-?[0-9.]*[0-9]", part) for part in parts):
        return UNREADABLE
    return (" " if before.isdigit() or before == "}" else "") + "/".join(parts)


def _annotated(match: re.Match[str]) -> str:
    """Nothing of an annotation (`<<3*6=18>>`), which is the calculator's.

    Of an annotation without `=` what is in it stays, apart from what follows.
    """
    after = match.string[match.end() : match.end() + 1].isdigit()
    before = match.string[max(match.start() - 1, 0) : match.start()].isdigit()
    if "=" in match[1]:
        return ";" if after and before else ""
    return ";" if before else match[1] + ";"


def _grouped(match: re.Match[str]) -> str:
    """Groups of three joined, a decimal comma after them as a point."""
    return match[1] + re.sub("[ '_]", "", match[2]) + (f".{match[3]}" if match[3] else "")


def _pointed(match: re.Match[str]) -> str:
    """Points between groups of three left out, where they are none of decimals.

    More than one group or a decimal comma tells that they are none.
    """
    if match[2] is None and match[1].count(".") < 2:
        return match[0]
    return match[1].replace(".", "") + (f".{match[2]}" if match[2] else "")
