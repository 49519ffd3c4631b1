"""The tokens of a model whose tokenizer nobody has here, known by the bytes that they add."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.errors import TokenizerError

_END = "<|end|>"
NO_ID = -1


class KnownPieces:
    """A tokenizer that gives ids their bytes and back, and cannot cut a text into them.

    Ids are those of the pieces by rising bytes; the last is that of the end token, which has none.
    """

    start_ids: tuple[int, ...] = ()

    def __init__(self, pieces: Iterable[bytes]) -> None:
        """Of all pieces that there are, each as often as may be."""
        self._pieces = [*sorted(set(pieces) - {b""}), b""]
        self.vocab_size = self.reserved_id = len(self._pieces)
        self.end_id = self.vocab_size - 1
        self._values = pa.array(self._pieces, pa.binary())

    def ids(self, pieces: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """The id of each of many pieces, int32; NO_ID of one that is not known."""
        found = pc.fill_null(pc.index_in(pieces, value_set=self._values), NO_ID)
        return np.asarray(found, np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; incomplete characters become U+FFFD."""
        return b"".join(self._pieces[token] for token in ids).decode("utf-8", "replace")

    def token_text(self, token: int) -> str:
        """The text of one token."""
        return self.decode([token])

    def piece(self, token: int) -> str:
        """One token as text, the end token by a name."""
        return _END if token == self.end_id else self.token_text(token)

    def piece_bytes(self, token: int) -> bytes | None:
        """The bytes of one token."""
        return self._pieces[token]

    def encode(self, text: str) -> NoReturn:
        """Raises TokenizerError: where a text is cut is not known."""
        raise TokenizerError(
            "these tokens are known by their bytes alone, and how a text becomes tokens is not; "
            "name the tokenizer of the model that wrote them"
        )

    def encode_with_spans(self, text: str) -> NoReturn:
        """As `encode`."""
        self.encode(text)

    def save(self, folder: object) -> NoReturn:
        """As `encode`."""
        self.encode("")

    def build(self) -> NoReturn:
        """As `encode`."""
        self.encode("")
