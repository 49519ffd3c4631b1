"""Levenshtein distances of the words of two vocabularies, computed when they are first asked for.

Of two solutions of 60 tokens there are 3,600 pairs, most of which other solutions have too: those
that are known lie in a table, and those that are new in many solutions are computed all at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_LARGEST = 8192  # ids a side whose distances are kept: 64 MiB, or as many as are asked for at once
_FIRST = 512
_UNKNOWN, _ASKED = 0, 1  # in a table; a distance stands there with _OFFSET more
_OFFSET = 2
_MOST_BITS = 32


class EditDistances:
    """Distances between words, by their ids on each side."""

    def __init__(self, words: Sequence[Sequence[str]]) -> None:
        """`words`: of every id of the one side, and of the other."""
        self._words = [_Words.of(side) for side in words]
        longest = max(int(side.length_V.max(initial=0)) for side in self._words)
        self._dtype = np.uint8 if longest + _OFFSET < 256 else np.int32
        self._table: np.ndarray
        self._ids: list[np.ndarray]
        self._slots: list[np.ndarray]
        self._forget(_FIRST)

    def of(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """Of each pair of texts the distances of every word of the one and every word of the other.

        Args:
            pairs: ids of the words of both.

        Returns:
            int32 [S, T] of each.
        """
        self._take_slots([np.unique(np.concatenate(ids)) for ids in zip(*pairs, strict=True)])
        slots = [(self._slots[0][one], self._slots[1][other]) for one, other in pairs]
        unknown = [self._unknown(*each) for each in slots]
        self._compute(*(np.concatenate(each) for each in zip(*unknown, strict=True)))
        return [self._table[one[:, None], other].astype(np.int32) - _OFFSET for one, other in slots]

    def _take_slots(self, asked: Sequence[np.ndarray]) -> None:
        """A slot for every id; where the table would grow too large, it begins anew."""
        fresh = self._without_slot(asked)
        needed = max(len(own) + len(new) for own, new in zip(self._ids, fresh, strict=True))
        if needed > len(self._table):
            size = 1 << (needed - 1).bit_length()
            if size > _LARGEST:
                self._forget(max(_LARGEST, *map(len, asked)))
                fresh = self._without_slot(asked)
            else:
                grown = np.zeros((size, size), self._dtype)
                grown[: len(self._table), : len(self._table)] = self._table
                self._table = grown
        for side, new in enumerate(fresh):
            first = len(self._ids[side])
            self._slots[side][new] = np.arange(first, first + len(new))
            self._ids[side] = np.concatenate([self._ids[side], new])

    def _without_slot(self, asked: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [ids[slots[ids] < 0] for ids, slots in zip(asked, self._slots, strict=True)]

    def _forget(self, size: int) -> None:
        self._table = np.zeros((size, size), self._dtype)  # unknown
        self._ids = [np.zeros(0, np.int64)] * 2  # of every slot
        self._slots = [np.full(len(words.length_V), -1) for words in self._words]  # of every id

    def _unknown(self, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs of slots without a distance; nobody asks for them again."""
        one, other = (np.array(list(set(slots.tolist()))) for slots in (one, other))
        rows, columns = np.nonzero(self._table[one[:, None], other] == _UNKNOWN)
        one, other = one[rows], other[columns]
        self._table[one, other] = _ASKED
        return one, other

    def _compute(self, one_N: np.ndarray, other_N: np.ndarray) -> None:
        """Puts the distances of pairs of slots into the table."""
        words, others = self._words
        ids_N, other_ids_N = self._ids[0][one_N], self._ids[1][other_N]
        # Words of about the same lengths together: a power of two of letters at most.
        bits_N, other_bits_N = words.bits_V[ids_N], others.bits_V[other_ids_N]
        group_N = bits_N * _MOST_BITS + other_bits_N
        for group in np.flatnonzero(np.bincount(group_N)):
            here_N = np.flatnonzero(group_N == group)
            rooms = 1 << np.array(divmod(int(group), _MOST_BITS))
            ids, other_ids = ids_N[here_N], other_ids_N[here_N]
            letters = words.letters(ids, rooms[0]), others.letters(other_ids, rooms[1])
            distances = levenshtein(*letters, words.length_V[ids], others.length_V[other_ids])
            self._table[one_N[here_N], other_N[here_N]] = distances + _OFFSET


class _Words(NamedTuple):
    """All words of a side, their letters one behind the other."""

    letter_A: np.ndarray  # int32, code points
    start_V: np.ndarray  # int64, of each word
    length_V: np.ndarray  # int64
    bits_V: np.ndarray  # int64: a word has at most 2 ** bits letters

    @classmethod
    def of(cls, words: Sequence[str]) -> _Words:
        length_V = np.array([len(word) for word in words], np.int64)
        bits_V = np.ceil(np.log2(np.maximum(length_V, 1))).astype(np.int64)
        behind = "\0" * (1 << int(bits_V.max(initial=0)))
        letter_A = np.frombuffer(f"{''.join(words)}{behind}".encode("utf-32-le"), np.int32)
        return cls(letter_A, length_V.cumsum() - length_V, length_V, bits_V)

    def letters(self, ids_N: np.ndarray, room: int) -> np.ndarray:
        """So many letters from the start of some words on, [room, N]."""
        return self.letter_A[self.start_V[ids_N] + np.arange(room)[:, None]]


def levenshtein(
    one_EN: np.ndarray, other_EN: np.ndarray, length_N: np.ndarray, other_length_N: np.ndarray
) -> np.ndarray:
    """Distances of N pairs of words, all pairs at every step of the recursion.

    Args:
        one_EN: letters of the first words; what stands behind a word's end is not looked at.
        other_EN: of the second ones.
        length_N: letters of each of the first words.
        other_length_N: of the second ones.
    """
    count = one_EN.shape[1]
    pairs = np.arange(count)
    dtype = np.uint8 if max(len(one_EN), len(other_EN)) < 255 else np.int32
    row_EN = np.repeat(np.arange(len(other_EN) + 1, dtype=dtype)[:, None], count, axis=1)
    found_N = other_length_N.astype(dtype)  # of first words without letters
    for letter, own_N in enumerate(one_EN, start=1):
        replaced_EN = other_EN != own_N
        replaced_EN = row_EN[:-1] + replaced_EN  # by the letters before both
        row_EN[0] = letter
        for column in range(1, len(row_EN)):
            here_N = row_EN[column]
            np.minimum(here_N, row_EN[column - 1], out=here_N)
            here_N += dtype(1)
            np.minimum(here_N, replaced_EN[column - 1], out=here_N)
        ends_N = pairs[length_N == letter]
        found_N[ends_N] = row_EN[other_length_N[ends_N], ends_N]
    return found_N
