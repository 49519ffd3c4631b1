"""What a teacher wrote, taken apart into its rationale and its label.

The rules are those of distilling step-by-step (Hsieh et al. 2023; data_utils.py of their code), a
style for each data set that their teacher was shown exemplars of. Theirs keeps what it cannot read
as a rationale and a label of one space, and trains on it; here it is a value with its reason.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Callable, Collection, Iterable

from verifier.text.answer_lines import CONCLUDES, STATES, ended

_CHOICE = re.compile(r"\(.\)")


@dataclasses.dataclass(frozen=True)
class Rationale:
    """Why, which may be empty, and the label that it leads to, which is not."""

    text: str
    label: str


@dataclasses.dataclass(frozen=True)
class Unparsed:
    """Why a text is no rationale with its label."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Style:
    """How a teacher writes.

    Attributes:
        mark: what stands between rationale and label.
        follows: what a further exemplar begins with, which the teacher may go on to write.
        read: the label of what stands behind the mark; None where there is none.
        once: a text with more than one mark is not read; else the first one counts.
    """

    mark: str
    follows: str
    read: Callable[[str], str | None]
    once: bool = True


def parse(text: str, style: str, labels: Collection[str] = ()) -> Rationale | Unparsed:
    """The rationale and the label of a teacher's text.

    Args:
        text: what the teacher wrote behind the question.
        style: a name in `STYLES`.
        labels: those that there are; empty: any.

    Raises:
        ValueError: there is no such style.
    """
    if style not in STYLES:
        raise ValueError(f"there is no style {style!r} of rationales; take one of {list(STYLES)}")
    how = STYLES[style]
    parts = text.partition(how.follows)[0].split(how.mark)
    if len(parts) == 1:
        return Unparsed(f"it lacks {how.mark!r}")
    if how.once and len(parts) > 2:
        return Unparsed(f"it has {how.mark!r} more than once")
    label = how.read(parts[1].strip())
    if not label:
        return Unparsed(f"no label follows {how.mark!r}")
    if labels and label not in labels:
        return Unparsed("its label is none of those that there are")
    return Rationale(parts[0].strip(), label)


def parse_all(
    texts: Iterable[str], style: str, labels: Collection[str] = ()
) -> tuple[list[Rationale | Unparsed], dict[str, int]]:
    """Each of some texts as `parse` reads it, and how many it does not read, by reason."""
    parsed = [parse(text, style, labels) for text in texts]
    reasons = collections.Counter(each.reason for each in parsed if isinstance(each, Unparsed))
    return parsed, dict(reasons.most_common())


def told(rationale: str, label: str) -> str:
    """A rationale and its label as one text, which the style "anli" takes apart again."""
    return ended(rationale, CONCLUDES, f"{label}.")


def _sentence(text: str) -> str:
    """A label with or without a full stop: ` neutral.`."""
    return text.removesuffix(".").rstrip()


def _lettered(text: str) -> str | None:
    """The choice that a letter in parentheses leads to: ` (b) shirt pocket.`."""
    _, *choices = _CHOICE.split(text)
    return _sentence(choices[0].strip()) if choices else None


def _parenthesised(text: str) -> str | None:
    """The first span in parentheses that are closed: ` ( ( 4.0 - 2.0 ) + 3.0 ).`.

    The released code takes what stands between the first and the last parenthesis of a line.
    """
    depth, start = 0, text.find("(")
    for index in range(max(start, 0), len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if not depth:
            return text[start : index + 1] if start >= 0 else None
    return None


STYLES = {
    "esnli": Style("Answer:", "Premise", _sentence, once=False),
    "anli": Style(CONCLUDES, "Premise:", _sentence),
    "cqa": Style(CONCLUDES, "Q:", _lettered),
    "svamp": Style(STATES, "Q:", _parenthesised),
    "asdiv": Style(STATES, "Q:", _parenthesised),
}
