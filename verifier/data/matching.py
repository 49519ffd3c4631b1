"""Which tokens of a teacher and of a student belong together: spans that tile both sides."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NONE = -1  # no span, or no token that is the only one


class Matches(NamedTuple):
    """S tokens of a teacher and T of a student, cut into the same number of spans.

    Spans are numbered from 0 on in the order of the text; every one has tokens of both sides.

    teacher   17  +   5  =   22         span_S     0 1 2 3 4
    student   1 7 +   5  =   2 2        span_T     0 0 1 2 3 4 4
                                        single_T  -1 -1 1 2 3 -1 -1
    """

    span_S: np.ndarray  # int64, NONE for a token that is left out of the alignment
    span_T: np.ndarray  # int64, likewise
    single_T: np.ndarray  # int64: the teacher's token where it is the only match, else NONE


def same(tokens: int) -> Matches:
    """Every token matches the one at its own index."""
    indices = np.arange(tokens)
    return Matches(indices, indices, indices)


def nothing(teacher_tokens: int, student_tokens: int) -> Matches:
    """No token matches any."""
    none_T = np.full(student_tokens, NONE)
    return Matches(np.full(teacher_tokens, NONE), none_T, none_T)


def by_bytes(length_S: np.ndarray, length_T: np.ndarray) -> Matches:
    """Spans that end wherever a token of either side ends at the same byte.

    This is the walk that takes the side whose token ends earlier a token further and closes a span
    where both ends are equal (`_align_by_byte_offsets` of TRL), for all tokens at once. A token
    without bytes belongs to the span that ends where it stands, at the start to the first one.

    Args:
        length_S: bytes of the teacher's tokens.
        length_T: of the student's, as many in all.
    """
    end_S, end_T = length_S.cumsum(), length_T.cumsum()
    ends = np.zeros((2, int(end_S[-1] if len(end_S) else 0) + 1), bool)
    ends[0, end_S], ends[1, end_T] = True, True
    is_common = ends[0] & ends[1]
    is_common[0] = False  # of tokens without bytes
    span = is_common.cumsum() - is_common  # of what ends there: the common ends before it
    span_S, span_T = span[end_S], span[end_T]
    if not is_common.any():
        return nothing(len(length_S), len(length_T))
    is_alone_Z = (np.bincount(span_S) == 1) & (np.bincount(span_T) == 1)
    first_Z = np.searchsorted(span_S, np.arange(len(is_alone_Z)))
    return Matches(span_S, span_T, np.where(is_alone_Z, first_Z, NONE)[span_T])


def by_path(path_S: np.ndarray, path_T: np.ndarray) -> Matches:
    """What a path of time warping matches; a span goes on while it stays with a token.

    A token of the student is matched by a single one where the path has it once, though that one
    may be matched by further tokens of the student (section 3 of Fu et al. 2023 keeps a
    distribution only where both also spell the same).

    Args:
        path_S: the teacher's tokens of its pairs, in the order of the text, from the first token
            of both sides to the last of both; a step goes on by one on either side or on both.
        path_T: the student's.
    """
    span_K = np.zeros(len(path_S), np.int64)
    np.cumsum(np.diff(path_S) * np.diff(path_T), out=span_K[1:])
    span_S = np.zeros(path_S[-1] + 1, np.int64)
    span_T, single_T = np.zeros((2, path_T[-1] + 1), np.int64)
    span_S[path_S], span_T[path_T], single_T[path_T] = span_K, span_K, path_S
    single_T[np.bincount(path_T) > 1] = NONE
    return Matches(span_S, span_T, single_T)


def with_ends(matches: Matches, teacher_ended: bool, student_ended: bool) -> Matches:
    """The same with the end tokens behind it: a span where both sides have one, else left out."""
    span_S, span_T, single_T = matches
    both = teacher_ended and student_ended
    last = max(span_S.max(initial=NONE), span_T.max(initial=NONE)) + 1 if both else NONE
    single = len(span_S) if both else NONE
    if teacher_ended:
        span_S = np.append(span_S, last)
    if student_ended:
        span_T, single_T = np.append(span_T, last), np.append(single_T, single)
    return Matches(span_S, span_T, single_T)
