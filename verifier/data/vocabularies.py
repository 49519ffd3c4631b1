"""Two vocabularies side by side: what each id spells, and which ids of both spell the same."""

from __future__ import annotations

import collections
import re
from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from verifier.text.tokenizer import Tokenizer

SPACE = "\u2581"  # how SentencePiece writes a space
_DIGIT = re.compile(rb"[0-9]")
NONE = -1  # in a map: no id of the student spells this


class Vocabulary(NamedTuple):
    """Every id of a tokenizer, and what it adds to a text."""

    tokenizer: Tokenizer
    bytes_V: list[bytes]  # as `Tokenizer.piece_bytes`, b"" where they are not known
    known_V: np.ndarray  # bool
    length_V: np.ndarray  # int64, bytes
    digits_V: np.ndarray  # bool, a digit from 0 to 9 is among them

    def spelled(self, ids: np.ndarray) -> bytes:
        """The bytes of some ids."""
        return b"".join(map(self.bytes_V.__getitem__, ids.tolist()))

    def spellings(self) -> list[str]:
        """Every id as text with spaces as U+2581; parts of characters and specials by name."""
        return [self._spelling(token) for token in range(len(self.bytes_V))]

    def _spelling(self, token: int) -> str:
        spelled = self.bytes_V[token]
        if not spelled:
            return self.tokenizer.piece(token)
        try:
            return spelled.decode().replace(" ", SPACE)
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in spelled)


def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """The vocabulary of a tokenizer, read once."""
    pieces = [tokenizer.piece_bytes(token) for token in range(tokenizer.vocab_size)]
    bytes_V = [piece or b"" for piece in pieces]
    return Vocabulary(
        tokenizer,
        bytes_V,
        np.array([piece is not None for piece in pieces], bool),
        np.array([len(piece) for piece in bytes_V], np.int64),
        np.array([_DIGIT.search(piece) is not None for piece in bytes_V], bool),
    )


def map_ids(teacher: Vocabulary, student: Vocabulary, by: Literal["bytes", "dtw"]) -> np.ndarray:
    """Which id of the student stands for each of the teacher's.

    Of several ids of the student that spell the same (a letter, and the byte that spells it) the
    one is taken that the student's tokenizer writes.

    Args:
        teacher: whose ids are mapped.
        student: whose ids they are mapped to.
        by: "bytes": ids that add the same bytes to a text, and the two end tokens. "dtw": ids
            of the same piece with a space written alike, special tokens by their names.

    Returns:
        int32 [V of the teacher], NONE where the student has no such id.
    """
    keys = _by_bytes if by == "bytes" else _by_spelling
    own: dict[Hashable, list[int]] = collections.defaultdict(list)
    for token, key in enumerate(keys(student)):
        if key is not None:
            own[key].append(token)
    one = {key: _written(student, ids) for key, ids in own.items()}
    return np.array([one.get(key, NONE) for key in keys(teacher)], np.int32)


def _by_bytes(own: Vocabulary) -> list[Hashable]:
    keys: list[Hashable] = [spelled or None for spelled in own.bytes_V]
    keys[own.tokenizer.end_id] = "end"
    return keys


def _by_spelling(own: Vocabulary) -> list[Hashable]:
    return [
        (bool(spelled), spelling) if spelling else None
        for spelled, spelling in zip(own.bytes_V, own.spellings(), strict=True)
    ]


def _written(student: Vocabulary, ids: Sequence[int]) -> int:
    """That of some ids of the same bytes which the tokenizer writes for them."""
    if len(ids) == 1:
        return ids[0]
    text = student.bytes_V[ids[0]].decode("utf-8", "replace")
    written = student.tokenizer.encode(text)
    return written[0] if len(written) == 1 and written[0] in ids else ids[0]
