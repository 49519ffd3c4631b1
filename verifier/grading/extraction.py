"""Answers out of a column of solutions, each distinct ending looked at once.

Text repeats in what a model samples.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.grading.answer import GRADERS
from verifier.grading.answer_styles import WORD, from_mark, from_style
from verifier.text.answer_lines import MARK


def codes(column: pa.ChunkedArray | Sequence[str | None]) -> tuple[np.ndarray, list[str | None]]:
    """A column of text as [rows] numbers and the text of each number; -1 where there is none."""
    if not isinstance(column, (pa.ChunkedArray, pa.Array)):
        column = pa.array(column, pa.string())
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(whole, pa.ChunkedArray):  # of no chunk at all
        whole = pa.array([], whole.type)
    whole = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
    return pc.fill_null(whole.indices, -1).to_numpy(zero_copy_only=False).astype(
        np.int64
    ), whole.dictionary.to_pylist()


def answers(solution: pa.Array, grader: str) -> pa.DictionaryArray:
    """The answers that a grader finds in a column of solutions; null where it finds none.

    The grader is asked once for all solutions that agree in their ending, and for the whole of
    those in whose ending it finds nothing.
    """
    ending_of, extract_of = _ENDINGS.get(grader, (_whole, GRADERS[grader].extract))
    extract = functools.partial(_extracted, extract_of)
    ending = ending_of(solution).dictionary_encode()
    texts: list[str | None] = [extract(text) for text in ending.dictionary.to_pylist()]
    column = pa.array(texts, pa.string()).dictionary_encode()
    out = pa.DictionaryArray.from_arrays(column.indices.take(ending.indices), column.dictionary)
    undecided = (
        pc.and_(pc.is_null(out), pc.is_valid(ending.indices))
        if grader in _ENDING_MAY_LACK_IT
        else None
    )
    if undecided is None or not pc.any(undecided).as_py():
        return out
    undecided = pc.and_(undecided, pc.match_substring_regex(solution, _ENDING_MAY_LACK_IT[grader]))
    again = iter([GRADERS[grader].extract(text) for text in solution.filter(undecided).to_pylist()])
    texts = [
        next(again) if open_ else text
        for open_, text in zip(undecided.to_pylist(), out.to_pylist(), strict=True)
    ]
    return pa.array(texts, pa.string()).dictionary_encode()


_LONGER = f"{MARK}#"


@functools.lru_cache(maxsize=1 << 16)
def _extracted(extract: Callable[[str], str | None], text: str) -> str | None:
    """Pieces of a table have many endings in common."""
    return extract(text)


def _in_ending(ending: str) -> str | None:
    """What `numeric` finds in an ending: from a mark on, or the last line of a text without one."""
    if _LONGER in ending:
        return GRADERS["numeric"].extract(ending)
    return from_mark(ending) if ending.startswith(MARK) else from_style(ending)


def _from_last_mark(solution: pa.Array) -> pa.Array:
    """The ending from the last mark on, which mostly marks an answer, else the last line.

    A text with a longer row of the mark's sign, of which a mark could be cut, is its own ending.
    """
    marked = _marked(solution, reverse=True)
    line, _ = _last_part(pc.ascii_rtrim_whitespace(solution), "\n", reverse=True)
    whole = pc.match_substring(solution, _LONGER)
    return pc.if_else(whole, solution, pc.coalesce(marked, line))


def _from_first_mark(solution: pa.Array) -> pa.Array:
    """The ending from the first mark on, as `paper` and `strict` read it; null without one."""
    return _marked(solution, reverse=False)


def _marked(solution: pa.Array, reverse: bool) -> pa.Array:
    last, parts = _last_part(solution, MARK, reverse)
    return pc.binary_join_element_wise(
        MARK, pc.if_else(pc.equal(parts, 2), last, pa.scalar(None, last.type)), ""
    )


def _last_line(solution: pa.Array) -> pa.Array:
    """The ending for `flexible`: no number goes over the end of a line.

    The last number is therefore in the last line, where that has any.
    """
    return _last_part(solution, "\n", reverse=True)[0]


def _last_part(solution: pa.Array, mark: str, reverse: bool) -> tuple[pa.Array, pa.Array]:
    """What follows the first or, in reverse, the last mark, or the whole text.

    The second array says of how many parts, one or two, it is the last.
    """
    parts = pc.split_pattern(solution, mark, max_splits=1, reverse=reverse)
    ends = parts.offsets.to_numpy()[1:].astype(np.int64)
    return parts.values.take(pa.array(ends - 1)), pc.list_value_length(parts)


def _whole(solution: pa.Array) -> pa.Array:
    return solution


_ENDINGS: dict[str, tuple[Callable[[pa.Array], pa.Array], Callable[[str], str | None]]] = {
    "numeric": (_from_last_mark, _in_ending),
    "paper": (_from_first_mark, GRADERS["paper"].extract),
    "strict": (_from_first_mark, GRADERS["strict"].extract),
    "flexible": (_last_line, GRADERS["flexible"].extract),
}
# Graders that may find an answer before the ending, and what is in every text where they do; a text
# may end in what Python calls a space.
_ENDING_MAY_LACK_IT = {
    "numeric": f"{MARK}|{WORD}|[^!-~ \\t-\\r][ \\t-\\r]*$",
    "flexible": r"[$0-9.,]",
}
