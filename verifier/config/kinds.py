"""What a knob takes: its declared type, the range or the choices, and text read as such a value.

Declared types are int, float, bool, str, a Literal of texts, Annotated[int or float, Range(...)],
and tuple[one of these, ...]; Annotated adds marks, too.
"""

from __future__ import annotations

import contextlib
import enum
import json
import numbers
import os
import re
import typing
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

LONGEST_LIST = 1000  # entries
_MOST_CHARACTERS = 60  # characters of a value in a message
_WORDS = dict.fromkeys(("true", "yes", "y", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "n", "off", "0"), False
)
_WHOLE = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*")
# Of a whole number: all ranges end far below, and Python reads none of more than 4,300.
_MOST_DIGITS = 400
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_BLANK = re.compile(r"\s*")
_ENTRY = re.compile(
    r"""\s*(?:("(?:[^"\\]|\\.)*")\s*|'((?:[^']|'')*)'\s*|([^,\[\]{}"'\s][^,\[\]{}]*))(?:,|$)""",
    re.DOTALL,
)


class Mark(enum.Enum):
    """What else there is to know of a knob, declared beside it."""

    NO_EFFECT = "changes how fast or how safely a result comes, never what it is"
    PATH = "leads to files on somebody's disk"
    WEIGHTS = "names a model: a folder or a hub id"
    TEXTS = "names a file of texts"
    ENCODER = "names a folder of a sentence encoder"


class Range(NamedTuple):
    """The numbers from `low` to `high`."""

    low: float
    high: float
    above: bool = False  # `low` itself is left out
    below: bool = False  # `high` itself is left out
    off: float | None = None  # one more number, which stands for something else

    def takes(self, value: float) -> bool:
        """Whether a number lies in it; NaN does not."""
        inside = (value > self.low if self.above else value >= self.low) and (
            value < self.high if self.below else value <= self.high
        )
        return inside or value == self.off

    def __str__(self) -> str:
        bounds = (
            f"{'above' if self.above else 'from'} {self.low:,} "
            f"{'and below' if self.below else 'to'} {self.high:,}"
        )
        return bounds if self.off is None else f"that is {self.off:,}, or {bounds}"


def parse(text: str, declared: Any) -> Any:
    """The value that a text stands for.

    Args:
        text: `3`, `0.7`, `1e-4`, `true`; of a text knob the text as it stands; of a list `[1,3]` or
            `[one,"two, three"]`.
        declared: the type, as above.

    Raises:
        ValueError: it stands for no value of this type; says what is expected. Ranges and choices
            are `refusal`'s.
    """
    entry, plain = _of_entries(declared), text.strip()
    if entry is not None:
        if plain[:1] + plain[1:][-1:] == "[]":
            return tuple(parse(each, entry) for each in _entries(plain[1:-1]))
        raise ValueError(f"expected {expected(declared)}")
    kind, _ = _parts(declared)
    if kind is str:
        return text
    if kind is bool and plain.lower() in _WORDS:
        return _WORDS[plain.lower()]
    if kind is int and len(plain) <= _MOST_DIGITS and _WHOLE.fullmatch(plain):
        return int(plain)
    if kind is float and _NUMBER.fullmatch(plain):
        return float(plain)
    raise ValueError(f"expected {expected(declared)}")


def settled(value: Any, declared: Any) -> Any:
    """A value that a program gave, as one of the declared type.

    Whole numbers become floats, lists tuples and paths texts.

    Raises:
        ValueError: it is of another type; says what is expected.
    """
    entry = _of_entries(declared)
    if entry is not None and isinstance(value, (tuple, list)):
        return tuple(settled(each, entry) for each in value)
    kind, _ = _parts(declared)
    is_bool = isinstance(value, bool)
    if kind is str and isinstance(value, os.PathLike):
        value = os.fspath(value)
    if (kind is bool and is_bool) or (kind is str and isinstance(value, str)):
        return value
    if kind is int and isinstance(value, numbers.Integral) and not is_bool:
        return int(value)
    if kind is float and isinstance(value, numbers.Real) and not is_bool:
        with contextlib.suppress(OverflowError):  # of a whole number beyond all floats
            return float(value)
    raise ValueError(f"expected {expected(declared)}")


def refusal(value: Any, declared: Any) -> str:
    """What is expected instead of a value of its type that a knob cannot take; empty: it can."""
    if (entry := _of_entries(declared)) is not None:
        if len(value) > LONGEST_LIST:
            return f"expected a list of at most {LONGEST_LIST:,} entries"
        return next(
            (f"{shortened(each)}: {reason}" for each in value if (reason := refusal(each, entry))),
            "",
        )
    _, limits = _parts(declared)
    if not (limits.takes(value) if isinstance(limits, Range) else not limits or value in limits):
        return f"expected {expected(declared)}"
    if isinstance(value, str) and (
        "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)
    ):
        return "expected text that UTF-8 can hold, without null characters"
    return ""


def expected(declared: Any) -> str:
    """What a knob takes, in words."""
    if (entry := _of_entries(declared)) is not None:
        if named := choices(declared):
            return f"a list such as [one,two] out of {_in_words(named)}"
        return (
            f"a list such as {'[1,3]' if _parts(entry)[0] is int else '[one,two]'}, each entry "
            f"{expected(entry)}"
        )
    kind, limits = _parts(declared)
    if limits and not isinstance(limits, Range):
        return f"one of {_in_words(limits)}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    return f"{words} {limits}" if limits else words


def _in_words(named: tuple[str, ...]) -> str:
    return ", ".join(text or "nothing" for text in named)


def choices(declared: Any) -> tuple[str, ...]:
    """The texts that a knob, or an entry of its list, chooses from; none where any will do."""
    _, limits = _parts(_of_entries(declared) or declared)
    return () if isinstance(limits, Range) else limits


def shortened(value: Any) -> str:
    """A value in a message: as Python writes it, shortened where it is long."""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return (
        text
        if len(text) <= _MOST_CHARACTERS
        else f"{text[:_MOST_CHARACTERS]}... ({len(text):,} characters)"
    )


def _of_entries(declared: Any) -> Any:
    """The type of a list's entries; None for what is no list."""
    return typing.get_args(declared)[0] if typing.get_origin(declared) is tuple else None


def _parts(declared: Any) -> tuple[type, Any]:
    """The type itself, and its Range, its choices or nothing."""
    if typing.get_origin(declared) is typing.Annotated:
        kind, *notes = typing.get_args(declared)
        ranges = [note for note in notes if isinstance(note, Range)]
        return (kind, ranges[0]) if ranges else _parts(kind)
    if typing.get_origin(declared) is Literal:
        return str, typing.get_args(declared)
    return declared, ()


def marks(declared: Any) -> tuple[Mark, ...]:
    """The marks of a knob."""
    notes = typing.get_args(declared)[1:] if typing.get_origin(declared) is typing.Annotated else ()
    return tuple(note for note in notes if isinstance(note, Mark))


def _entries(text: str) -> Iterator[str]:
    """The entries of a list, quotes taken off; a comma may follow the last."""
    position = 0
    while (blank := _BLANK.match(text, position)) and blank.end() < len(text):
        entry = _ENTRY.match(text, position)
        if entry is None:
            raise ValueError(
                f"at {shortened(text[position:])}: expected entries with commas between them, in "
                "quotes where they hold , [ ] { }"
            )
        double, single, bare = entry.groups()
        if double:
            yield _unquoted(double)
        elif single is not None:
            yield single.replace("''", "'")
        else:
            yield bare.rstrip()
        position = entry.end()


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError as error:
        raise ValueError(
            f"at {shortened(text)}: in double quotes, \\ is followed as in JSON; single quotes "
            "take it as it stands"
        ) from error
