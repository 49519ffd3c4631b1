"""Bytes as tokens: 256 of them and an end token, for tests and for models without a vocabulary."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import tokenizers

from verifier.system import atomic
from verifier.text.pieces import byte_spans

BYTES_FILE = "bytes_tokenizer.json"
_END_ID = 256
_END = "<|end|>"


class ByteTokenizer:
    """A token a byte of UTF-8; see `text.tokenizer.Tokenizer`."""

    vocab_size = _END_ID + 1
    end_id = _END_ID
    reserved_id = vocab_size
    start_ids: tuple[int, ...] = ()

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        return list(text.encode("utf-8"))

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text and the characters each belongs to."""
        ids = self.encode(text)
        return ids, byte_spans(text, [bytes((token,)) for token in ids]) or []

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; incomplete characters become U+FFFD, the end token nothing."""
        return bytes(int(token) for token in ids if token != _END_ID).decode("utf-8", "replace")

    def token_text(self, token: int) -> str:
        """The text of one token."""
        return self.decode([token])

    def piece(self, token: int) -> str:
        """The name of one token."""
        return _END if token == _END_ID else f"<0x{token:02X}>"

    def piece_bytes(self, token: int) -> bytes | None:
        """The byte of one token, none of the end's."""
        return b"" if token == _END_ID else bytes((token,))

    def save(self, folder: pathlib.Path) -> None:
        """Writes a file by which `load_tokenizer` knows it."""
        about = {"kind": "bytes", "vocab_size": self.vocab_size, "end_id": self.end_id}
        atomic.write_json(folder / BYTES_FILE, about)

    def build(self) -> tokenizers.Tokenizer:
        """The same ids by the tokenizers package alone."""
        made = tokenizers.Tokenizer(
            tokenizers.models.BPE(
                {self.piece(byte): byte for byte in range(256)}, [], byte_fallback=True
            )
        )
        made.decoder = tokenizers.decoders.Sequence(
            [tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse()]
        )
        made.add_special_tokens([_END])
        return made
