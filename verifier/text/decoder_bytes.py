"""The bytes that each piece of a tokenizer.json adds to a text, as its decoder makes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import tokenizers

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# Decoders that leave the bytes of a piece as they are: what they take away at the ends of a whole
# text is switched off where a tokenizer.json is read.
_KEEPING = {"Fuse", "Strip"}


def piece_bytes_of(tokenizer: tokenizers.Tokenizer, vocab_size: int) -> list[bytes | None]:
    """The bytes of every id from 0 to vocab_size - 1.

    Args:
        tokenizer: whose special tokens add nothing, nor do ids without a piece.
        vocab_size: ids that are asked for.

    Returns:
        None for the unknown piece, which stands for any text, and for all pieces of a decoder that
        is none of byte level, SentencePiece (with or without bytes) and WordPiece.
    """
    parts = json.loads(tokenizer.to_str())
    spelled_by = _spelling(parts.get("decoder"))
    special = {
        token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special
    }
    unknown = _unknown(parts["model"], tokenizer)
    found: list[bytes | None] = []
    for token in range(vocab_size):
        piece = tokenizer.id_to_token(token)
        if token == unknown:
            found.append(None)
        else:
            found.append(b"" if piece is None or token in special else spelled_by(piece))
    return found


def _unknown(model: dict[str, Any], tokenizer: tokenizers.Tokenizer) -> int | None:
    """The id of the piece that stands for what has none, if the model has one."""
    if model.get("type") == "Unigram":
        return model.get("unk_id")
    name = model.get("unk_token")
    return tokenizer.token_to_id(name) if isinstance(name, str) else None


def _spelling(decoder: Any) -> Callable[[str], bytes | None]:
    """Piece to bytes, by the decoder of a tokenizer.json."""
    steps = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    steps = [step for step in steps if step["type"] not in _KEEPING]
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        return _byte_level
    if kinds == ["WordPiece"]:
        prefix = steps[0]["prefix"]
        return lambda piece: (
            piece.removeprefix(prefix) if piece.startswith(prefix) else f" {piece}"
        ).encode()
    written: list[tuple[str, str]] = []
    for step in steps:
        if step["type"] == "Metaspace":
            written.append((step["replacement"], " "))
        elif step["type"] == "Replace" and "String" in step["pattern"]:
            written.append((step["pattern"]["String"], step["content"]))
        elif step["type"] != "ByteFallback":
            return lambda piece: None
    if not steps:
        return lambda piece: None

    def spelled(piece: str) -> bytes:
        byte = _BYTE.fullmatch(piece) if "ByteFallback" in kinds else None
        if byte:
            return bytes((int(byte[1], 16),))
        for old, new in written:
            piece = piece.replace(old, new)
        return piece.encode()

    return spelled


def _alphabet() -> dict[str, int]:
    """The character that a byte-level tokenizer writes for each byte, and the byte.

    Printable bytes are written as themselves, the others as the characters from 256 on.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(256 + rank): byte for rank, byte in enumerate(others)
    }


_BYTE_OF = _alphabet()


def _byte_level(piece: str) -> bytes:
    """A piece with a character outside the alphabet is a token that was added, and means itself."""
    if all(letter in _BYTE_OF for letter in piece):
        return bytes(_BYTE_OF[letter] for letter in piece)
    return piece.encode()
