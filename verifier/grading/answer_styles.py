"""Where a solution says its answer: behind the last `####`, or in a style in common use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from verifier.grading.notation import plain
from verifier.grading.number import (
    begins_with_number,
    first_number,
    only_number,
    parse_number,
)
from verifier.text.answer_lines import MARK

_SECTION = (
    r"(?:(?:final|quick|sanity|another)\s+)?(?:step|part|section|case|method|approach|way|"
    r"option|problem|question|exercise"
)
_SECTION += "|example|phase|stage|notes?|given|hint"
_SECTION += "|explanation|explaining|proof|reasoning|analysis|breakdown|recap|details|workings?"
_SECTION += "|calculations?|alternative(?:ly)?"
_SECTION += "|check|checking|double-check|verify|verifying|verification|calculate|calculating"
_SECTION += "|compute|computing|find|finding|determine"
_SECTION += "|determining|solve|solving|understand|understanding|identify|let|set up|why|how|what)"
_HEADING = re.compile(
    # Step 2: Add. `Option: 18` states a number
    rf"(?i:{_SECTION}\b(?!\s*[=:]\s*[$-]?[0-9.,]+\W*$))"
    r"|[IVX]+\.\s"
    rf"|\(?[0-9]+(?:\.[0-9]+)*[.):]?\s*[-:]?\s*(?i:{_SECTION})\b"  # 4.1 Check, 4 - Verify
    # 4. Sum, 4) Sum, (4) Sum; but not `18. That is all.`
    r"|[0-9]{1,2}\.\s*[A-Za-z][^.!]*$|\(?[0-9]{1,2}\)\s*[A-Za-z]"
    r"|[^0-9=]*[A-Za-z].*:\W*$"  # The cost of 5 apples:
)
_ANNOUNCED = re.compile(
    r"(?i)\W*(?:(?:the|my|your|our|so|final|correct)\s+)*(?:answer|result|solution|"
    r"ans)\b\W*(?:is\W*)?$"
)

# In every text that has an answer before its last line, but no mark
WORD = r"\\(?:boxed|fbox)|[Aa]ns|ANS"
_WORD = re.compile(
    r"[\\<Aa](?:(?<=\\)(?:boxed|fbox)|(?<=<)answer>|(?<!\w[Aa])(?:(?:nswer|ns)\b|"
    r"(?<=A)(?:NSWER|NS)\b))"
)
_NOT_THE_ANSWER = re.compile(
    r"(?i)\b(?:wrong|incorrect|false|other|another|previous|initial|earlier|partial|"
    r"intermediate|if (?:the|my))[ *_]*$"
)
_LEADS = re.compile(
    r"[*_`]*\.?(?: to (?:the|this|your) (?:question|problem|puzzle))?[*_`]*(?:\s*(?:(?:is|are|"
    r"was|be|equals|(?:would|should|must|will) be|comes to|=|:|->|\u2192|\uff1a)(?![a-z]))++|"
    r"\s+[-\u2013\u2014]\s)(?:[\s*_`~,]*+(?:(?:approximately|about|around|roughly|nearly|"
    r"exactly|just|only|simply|equal to|therefore|thus|then|actually|now|indeed|a total of|"
    r"that|x =|the final answer is|the answer is)(?![a-z])))*+\s*+"
)

_IN_BRACES = r"[^{}]*+"
for _ in range(5):  # braces in braces, no deeper
    _IN_BRACES = rf"[^{{}}]*+(?:\{{{_IN_BRACES}\}}[^{{}}]*+)*+"
_BRACES = re.compile(rf" ?\{{({_IN_BRACES})\}}")
_TAGGED = re.compile(r"([^<]*+)</answer>")
_ALONE = re.compile(r"[\s#*_>-]*(?:(?:the|my|our|final|correct)\s+)*")
_MARKUP = " \t\r*_`\"'([{$#>~"
# A line that is no number: it begins with a letter.
_PROSE = re.compile(r"[ \t*_`\"'(\[{$#>~.]*+(?![A-Z][A-Z$]|Rs|Tk)[A-Za-z][ -%'-;=-\[\]-~]*+$")
_LEAD = re.compile(r"^[^\w($€£¥₹]+|^_+")
_DIGITS = frozenset("0123456789")

_BEFORE = 24  # characters before the word for an answer that are read
READ_AFTER = 400  # those after it; a longer line holds no answer without such a word
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_SHORT_ANSWER = re.compile(r"[\s*_`>]*A ?[:.][*_`]*\s*(.*)")


def stated_number(solution: str) -> str | None:
    """The number at the last `####` that marks one (`from_mark`); where none does, `from_style`."""
    marked = _at_mark(solution)
    return first_number(*marked) if marked else from_style(solution)


def from_mark(solution: str) -> str | None:
    """The number of the line of the last `####` that marks an answer.

    The line is the mark's own or, where that is empty or only announces (`#### Final Answer:`), the
    next one with text. A heading (`#### Step 2: Add`, `#### 4. Check`, `#### Explanation`) and a
    line without a digit mark none. By the first mark, as the released code has it, a solution could
    change its mind unseen. The first number counts, or the result of an equation
    (`number.first_number`); annotations (`<<3*6=18>>`) are the calculator's and not read.
    """
    marked = _at_mark(solution)
    return first_number(*marked) if marked else None


def from_style(text: str) -> str | None:
    """The number of a text without a mark that ends in a style in common use, else None.

    Other prose (`So the profit is $18.`) has none. The styles are:

    - the last `\\boxed{18}`, or the last of `The answer is 18`, `Answer: 18`, `answer = 18`,
      `Final Answer: The final answer is $18$. I hope it is correct.`, a heading or bold line
      `Answer` with the number below; the number follows at once, behind markup, currency and words
      such as "about"; not of a wrong, other or earlier answer;
    - a last line `A: 18`, a last line with `**18**` or `**18 apples**`, or that is nothing but a
      number.
    """
    text = text.rstrip()
    start = text.rfind("\n") + 1
    words = list(_WORD.finditer(text))
    for match in (each for each in reversed(words) if each.start() >= start):
        if (read := _after(text, match)) is not None:
            return read[0]
    if (answer := _in_last_line(text[start:])) is not None:
        return answer
    for match in (each for each in reversed(words) if each.start() < start):
        if (read := _after(text, match)) is not None:
            return read[0]
    return None


def answer_line(solution: str) -> str | None:
    """The line of the last `####` that marks an answer.

    Where none does, what follows the last one; None without the mark.
    """
    if MARK not in solution:
        return None
    return next(
        _marked_lines(solution, read=str),
        (solution.rpartition(MARK)[2].lstrip().partition("\n")[0], False),
    )[0]


def _at_mark(solution: str) -> tuple[str, bool] | None:
    """The plain line of the last mark of an answer, and whether a dash before it is a bullet."""
    return next(_marked_lines(solution, read=plain), None) if MARK in solution else None


def _marked_lines(solution: str, read: Callable[[str], str]) -> Iterator[tuple[str, bool]]:
    """The lines that `####` marks as answers, as `read` gives them, the last first.

    With each, whether it is another line than its mark's.
    """
    for part in reversed(solution.split(MARK)[1:]):
        own, _, below = part.partition("\n")
        line = own.strip()
        announced = _ANNOUNCED.fullmatch(line) is not None
        other = announced or not line
        if other:
            line = below.lstrip().partition("\n")[0].strip()
        plainly = plain(line)
        if not any(letter in _DIGITS for letter in plainly) or _HEADING.match(
            _LEAD.sub("", plainly)
        ):
            continue
        if not announced or only_number(plainly) is not None:
            yield (plainly if read is plain else line), other


def _after(text: str, match: re.Match[str]) -> tuple[str | None] | None:
    """The answer that follows a word for one, as (answer,); None where the word leads to none.

    An expression that is no number leads to one: (None,).
    """
    if match[0][0] in "\\<":
        inside = (_BRACES if match[0][0] == "\\" else _TAGGED).match(text, match.end())
        return (
            None
            if inside is None or len(inside[1]) > READ_AFTER
            else (only_number(plain(inside[1])),)
        )
    before = text[max(match.start() - _BEFORE, 0) : match.start()].rpartition("\n")[2]
    after = text[match.end() : match.end() + READ_AFTER]
    leads = _LEADS.match(after)
    # The word has a line of its own.
    if leads is None and (below := re.match(r"[*_`]*\s*\n\s*", after)) and _ALONE.fullmatch(before):
        leads = below
    if leads is None or _NOT_THE_ANSWER.search(before):
        return None
    line = plain(after[leads.end() :].partition("\n")[0])
    return (first_number(line),) if begins_with_number(line) else None


def _in_last_line(line: str) -> str | None:
    """The answer of a last line `A: 18`, `... **18**` or `18`."""
    if len(line) > READ_AFTER:
        return None
    if match := _SHORT_ANSWER.fullmatch(line):
        content = plain(match[1])
        return only_number(content) if begins_with_number(content) else None
    if bold := _BOLD.findall(line):
        return only_number(plain(bold[-1]))
    if _PROSE.match(line):
        return None
    content = plain(line).strip(_MARKUP + ")]}.")
    return only_number(content) if parse_number(content) is not None else None
