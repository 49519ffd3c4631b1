"""A teacher's solution in a student's tokens: who is to learn which distribution, and where.

Three ways, by the knob `distill.align`:

- "same": both have the same ids, and every token its own distribution;
- "dtw": dynamic time warping over the pieces as text (Fu et al. 2023, section 3), which makes all
  tokens but the plainest one-hot;
- "bytes": a walk along the bytes, for pieces whose bytes are known.

A student's token has the teacher's distribution, mapped id by id, where it is matched by a single
token that the student writes in the same way; else it is one-hot on itself. What the student has no
id for is left out, and nothing is normalised anew here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from verifier.data import matching, time_warping
from verifier.data.alignment_report import AlignmentReport, Counts
from verifier.data.edit_distance import EditDistances
from verifier.data.matching import Matches
from verifier.data.vocabularies import NONE, SPACE, Vocabulary, map_ids, vocabulary
from verifier.errors import AlignmentError
from verifier.text.tokenizer import Tokenizer, same_ids

Way = Literal["same", "dtw", "bytes"]
_AT_ONCE = 128  # solutions whose paths are found together, at most
_CELLS = 2**22  # pairs of tokens at once; each takes some 10 bytes
_SHOWN = 300  # characters of a text in a message


class Taught(NamedTuple):
    """A teacher's solution: S tokens, the end token where it came, and what it thought of them."""

    tokens_S: np.ndarray  # int32
    logprobs_S: np.ndarray  # float32, of the tokens, at temperature 1
    # C alternatives of each, at temperature 1: those of the columns top_ids and top_logprobs of
    # the table `samples`; None where they are not kept
    top_ids_SC: np.ndarray | None = None  # int32
    top_logprobs_SC: np.ndarray | None = None  # float32; -inf where fewer than C were told


class Aligned(NamedTuple):
    """The same for T tokens of a student, in Z spans."""

    tokens_T: np.ndarray  # int32
    top_ids_TC: np.ndarray  # int32, of the student; NONE where there is none
    top_logprobs_TC: np.ndarray  # float32, the teacher's at temperature 1; -inf where id is NONE
    one_hot_T: np.ndarray  # bool: the token itself with log-probability 0, and nothing else
    span_T: np.ndarray  # int64, matching.NONE outside all spans
    # float32: the teacher's log-probability of each span's text, the sum over its tokens
    span_logprobs_Z: np.ndarray
    report: AlignmentReport


class _Pair(NamedTuple):
    """A solution in the tokens of both sides, without end tokens."""

    teacher_S: np.ndarray
    student_T: np.ndarray
    is_alike: bool  # both spell the same bytes, but for a dummy space
    dummy: tuple[int, int]  # bytes at the start of each side that the other has not


class Aligner:
    """Aligns solutions of one teacher for one student; the map of their ids is made once."""

    def __init__(
        self, teacher: Tokenizer, student: Tokenizer, align: Literal["auto"] | Way = "auto"
    ) -> None:
        """Reads both vocabularies.

        Args:
            teacher: tokenizer of the solutions.
            student: tokenizer of what is to be trained.
            align: "auto": "same" where all ids are the same, else "bytes".

        Raises:
            AlignmentError: "same" of different ids, or "bytes" where they are not known.
        """
        equal = align in ("auto", "same") and same_ids(teacher, student)
        if align == "same" and not equal:
            raise AlignmentError(
                "distill.align=same, but the teacher's and the student's tokenizers differ; set "
                "distill.align=bytes or dtw, or auto to let it be chosen"
            )
        self.way: Way = ("same" if equal else "bytes") if align == "auto" else align
        self._teacher, self._student = vocabulary(teacher), vocabulary(student)
        if self.way == "bytes":
            for name, own in (("teacher", self._teacher), ("student", self._student)):
                if not own.length_V.any():
                    raise AlignmentError(
                        f"the bytes of the {name}'s pieces are not known, for its decoder is of "
                        "another kind than byte level, SentencePiece or WordPiece; set "
                        "distill.align=dtw"
                    )
        self.map_V = (
            np.arange(teacher.vocab_size, dtype=np.int32)
            if self.way == "same"
            else map_ids(self._teacher, self._student, self.way)
        )
        self._words = (
            EditDistances([_words(each) for each in (self._teacher, self._student)])
            if self.way == "dtw"
            else None
        )
        mapped = self.map_V[self.map_V != NONE]
        self._is_injective = len(np.unique(mapped)) == len(mapped)

    def student_ids(self, taught: Taught) -> list[int]:
        """A teacher's solution in the student's tokens, with an end where the teacher's has one.

        They are the teacher's own where the ids are the same, written anew from the text elsewhere.
        """
        tokens = np.asarray(taught.tokens_S).tolist()
        if self.way == "same":
            return tokens
        teacher, student = self._teacher.tokenizer, self._student.tokenizer
        ended = tokens[-1:] == [teacher.end_id]
        return [*student.encode(teacher.decode(tokens)), *([student.end_id] if ended else [])]

    def align(self, taught: Taught, student_ids: Sequence[int] | None = None) -> Aligned:
        """One solution; see `align_many`."""
        return self.align_many([taught], None if student_ids is None else [student_ids])[0]

    def align_many(
        self, taught: Sequence[Taught], student_ids: Sequence[Sequence[int]] | None = None
    ) -> list[Aligned]:
        """Aligns solutions, each by itself.

        Args:
            taught: of the teacher.
            student_ids: the same texts in the student's tokens, with an end token or without;
                None: as `student_ids` gives them.

        Returns:
            Of each, arrays over the student's tokens. Where the texts are equal and the bytes are
            not, as where the teacher has written half a character, "bytes" finds no span: all is
            one-hot, and the report counts the bytes as dropped.

        Raises:
            AlignmentError: the texts of both sides differ; it names both.
        """
        if student_ids is None:
            student_ids = [self.student_ids(each) for each in taught]
        students = [np.asarray(ids, np.int32) for ids in student_ids]
        teachers = [np.asarray(each.tokens_S, np.int32) for each in taught]
        matches = self._match(list(zip(teachers, students, strict=True)))
        return [
            self._targets(*each) for each in zip(taught, teachers, students, matches, strict=True)
        ]

    def _match(self, solutions: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Matches]:
        """Spans of solutions in the tokens of both sides."""
        if self.way == "same":
            return [_same(*sides) for sides in solutions]
        ends = self._teacher.tokenizer.end_id, self._student.tokenizer.end_id
        ended = [
            [
                bool(len(side)) and bool(side[-1] == end)
                for side, end in zip(sides, ends, strict=True)
            ]
            for sides in solutions
        ]
        pairs = [
            self._pair(*(side[: len(side) - cut] for side, cut in zip(sides, cuts, strict=True)))
            for sides, cuts in zip(solutions, ended, strict=True)
        ]
        inner = self._warp(pairs, self._words) if self._words else list(map(self._walk, pairs))
        return [matching.with_ends(each, *cuts) for each, cuts in zip(inner, ended, strict=True)]

    def _pair(self, teacher_S: np.ndarray, student_T: np.ndarray) -> _Pair:
        """Both sides of a text, held against each other."""
        teacher, student = self._teacher.spelled(teacher_S), self._student.spelled(student_T)
        dummy = int(teacher == b" " + student), int(student == b" " + teacher)
        is_known = self._teacher.known_V[teacher_S].all() and self._student.known_V[student_T].all()
        if is_known and (teacher == student or any(dummy)):
            return _Pair(teacher_S, student_T, True, dummy)
        texts = (
            self._teacher.tokenizer.decode(teacher_S.tolist()),
            self._student.tokenizer.decode(student_T.tolist()),
        )
        if texts[0] == texts[1]:
            return _Pair(teacher_S, student_T, False, (0, 0))
        raise AlignmentError(
            "a teacher's and a student's tokens are of different texts: "
            f"{texts[0]!r:.{_SHOWN}} and {texts[1]!r:.{_SHOWN}}; expected the same text in the "
            "tokens of both"
        )

    def _warp(self, pairs: Sequence[_Pair], words: EditDistances) -> list[Matches]:
        """Spans along the paths of time warping; none where a side has no tokens."""
        found = [matching.nothing(len(pair.teacher_S), len(pair.student_T)) for pair in pairs]
        lengths = [sorted((len(pair.teacher_S), len(pair.student_T))) for pair in pairs]
        # Those of about the same length together, the longest first.
        left = sorted(range(len(pairs)), key=lambda number: lengths[number][1])
        left = [number for number in left if lengths[number][0]]
        while left:
            count = min(_AT_ONCE, max(_CELLS // lengths[left[-1]][1] ** 2, 1))
            numbers, left = left[-count:], left[:-count]
            costs = words.of([(pairs[n].teacher_S, pairs[n].student_T) for n in numbers])
            for number, path in zip(numbers, time_warping.warped(costs), strict=True):
                found[number] = matching.by_path(path.first_K, path.second_K)
        return found

    def _walk(self, pair: _Pair) -> Matches:
        """Spans along the bytes of a text; none where its bytes differ."""
        if not pair.is_alike:
            return matching.nothing(len(pair.teacher_S), len(pair.student_T))
        length_S = self._teacher.length_V[pair.teacher_S]
        length_T = self._student.length_V[pair.student_T]
        for length, dummy in zip((length_S, length_T), pair.dummy, strict=True):
            if dummy:
                length[(length > 0).argmax()] -= dummy
        return matching.by_bytes(length_S, length_T)

    def _targets(
        self, taught: Taught, teacher_S: np.ndarray, student_T: np.ndarray, matches: Matches
    ) -> Aligned:
        """What the student is to learn at each token, and the report."""
        single_T = matches.single_T
        own_T = self.map_V[teacher_S[single_T]] if len(teacher_S) else single_T
        full_T = (single_T != matching.NONE) & (own_T == student_T)
        top_ids_SC, top_logprobs_SC = taught.top_ids_SC, taught.top_logprobs_SC
        if top_ids_SC is None or top_logprobs_SC is None:
            full_T = np.zeros_like(full_T)
            top_ids_SC, top_logprobs_SC = np.zeros((2, len(teacher_S), 1), np.int32)
        rows = single_T[full_T]
        told = np.asarray(top_logprobs_SC, np.float32)[rows]
        ids = self.map_V[np.asarray(top_ids_SC)[rows]]
        logprobs = np.where(ids == NONE, np.float32(-np.inf), told)
        if not self._is_injective:
            ids, logprobs = _merged(ids, logprobs)
        top_ids_TC = np.full((len(student_T), top_ids_SC.shape[1]), NONE, np.int32)
        top_logprobs_TC = np.full(top_ids_TC.shape, -np.inf, np.float32)
        top_ids_TC[:, 0], top_logprobs_TC[:, 0] = student_T, 0
        top_ids_TC[full_T], top_logprobs_TC[full_T] = ids, logprobs
        mass_2T = np.zeros((2, len(student_T)))  # told, and kept of it
        mass_2T[:, full_T] = np.exp((told, logprobs)).sum(axis=2)
        is_in_S = matches.span_S != matching.NONE
        logprobs_S = np.asarray(taught.logprobs_S)
        span_logprobs_Z = np.bincount(matches.span_S[is_in_S], logprobs_S[is_in_S])
        return Aligned(
            student_T,
            top_ids_TC,
            top_logprobs_TC,
            ~full_T,
            matches.span_T,
            span_logprobs_Z.astype(np.float32),
            self._report(student_T, full_T, matches.span_T == matching.NONE, mass_2T),
        )

    def _report(
        self,
        student_T: np.ndarray,
        full_T: np.ndarray,
        is_dropped_T: np.ndarray,
        mass_2T: np.ndarray,
    ) -> AlignmentReport:
        length_T, is_digit_T = self._student.length_V[student_T], self._student.digits_V[student_T]
        told_T, kept_T = mass_2T
        each_6T = np.stack(
            [
                np.ones(len(student_T)),
                full_T,
                length_T,
                length_T * is_dropped_T,
                kept_T,
                told_T - kept_T,
            ]
        )
        of_all, of_numbers = each_6T.sum(axis=1), each_6T @ is_digit_T
        return AlignmentReport(1, _counts(of_all), _counts(of_numbers))


def _words(own: Vocabulary) -> list[str]:
    """What the cost of two pieces compares: their text without spaces."""
    return [spelling.replace(SPACE, "") for spelling in own.spellings()]


def _same(teacher_S: np.ndarray, student_T: np.ndarray) -> Matches:
    if not np.array_equal(teacher_S, student_T):
        raise AlignmentError(
            f"distill.align=same, but {teacher_S.tolist()!r:.{_SHOWN}} and "
            f"{student_T.tolist()!r:.{_SHOWN}} are different ids; give the teacher's own, or set "
            "distill.align=bytes"
        )
    return matching.same(len(student_T))


def _counts(sums_6: np.ndarray) -> Counts:
    """Counts from sums in their order."""
    tokens, distributions, spelled, lost, kept, dropped = sums_6.tolist()
    return Counts(round(tokens), round(distributions), round(spelled), round(lost), kept, dropped)


def _merged(ids: np.ndarray, logprobs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Alternatives of the same id added up in the first of them; ids [M, C]."""
    for later in range(1, ids.shape[1]):
        for first in range(later):
            twice = (ids[:, later] == ids[:, first]) & (ids[:, later] != NONE)
            if twice.any():
                both = logprobs[twice, first], logprobs[twice, later]
                logprobs[twice, first] = np.logaddexp(*both)
                ids[twice, later], logprobs[twice, later] = NONE, -np.inf
    return ids, logprobs
