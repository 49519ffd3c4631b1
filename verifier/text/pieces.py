"""What the tokenizers share: bytes of pieces to characters, and what must come back unchanged."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Protocol

from verifier.errors import TokenizerError

# What a tokenizer must give back: what worked solutions are written in, and characters that
# questions hold now and then.
_ROUND_TRIP = (
    "Mia has 3 boxes",
    " 7 pens,  3   hats ",
    "1\n2\n\n3\n",
    "2*3=<<2*3=6>>6",
    "\n#### 1,234.50",
    "".join(map(chr, range(32, 127))),
    "5 \u20ac, \u2212 2 \u00d7 3 \u00f7 4",
    "caf\u00e9, 5 \u20ac, \u2212 2 \u00d7 3 \u00f7 4",
    "\u6f22\u5b57 \U0001f600",
)
_OF_OTHER_SCRIPTS = 2  # the last of them
_COMPATIBLE = "\u00bd, 2\u00b2, 3\u2026"  # NFKC writes these otherwise; the meaning stays


def byte_spans(text: str, pieces: Sequence[bytes]) -> list[tuple[int, int]] | None:
    """Character span of each piece in a text; None where the pieces do not spell the text.

    A piece that holds a part of a character has the whole character's span.
    """
    whole = text.encode("utf-8")
    if b"".join(pieces) != whole:
        return None
    character_at = [index for index, letter in enumerate(text) for _ in letter.encode("utf-8")]
    spans, start = [], 0
    for piece in pieces:
        end = start + len(piece)
        spans.append(
            (character_at[start], character_at[end - 1] + 1) if piece else (len(text), len(text))
        )
        start = end
    return spans


class Codec(Protocol):
    """The part of a tokenizer that is tried."""

    end_id: int

    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


def check_round_trip(tokenizer: Codec, name: str, spells_all: bool = True) -> str:
    """Tries whether texts come back.

    A generator learns to write what is decoded, and graders and the calculator read it.

    Args:
        tokenizer: to try.
        name: of its file.
        spells_all: it is to give back characters of any script, too.

    Returns:
        What is to be said of texts that come back in another, compatible form (NFKC), as those of
        many older SentencePiece models; "" for the others.

    Raises:
        TokenizerError: a text comes back changed (spaces, newlines, capitals, characters that it
            has no piece for), by name, or holds the end token.
    """
    for text in _ROUND_TRIP if spells_all else _ROUND_TRIP[:-_OF_OTHER_SCRIPTS]:
        ids = tokenizer.encode(text)
        if tokenizer.end_id in ids:
            raise TokenizerError(
                f"{name}: the id that ends a text, {tokenizer.end_id}, stands within {text!r} "
                "too; do the files beside it belong to it?"
                ' Name its end token in a tokenizer_config.json beside it: {"eos_token": "..."}'
            )
        back = tokenizer.decode(ids)
        if back != text:
            raise TokenizerError(
                f"{name} does not give texts back: {text!r} comes back as {back!r}, and so "
                "would every question and solution. Take the tokenizer that the model was "
                "released with, or one that spells what it has no piece for in bytes "
                "(byte-level, or with byte fallback) and leaves spaces, newlines and capitals "
                "as they are"
            )
    if not spells_all:
        return ""
    back = tokenizer.decode(tokenizer.encode(_COMPATIBLE))
    if unicodedata.normalize("NFKC", back) != unicodedata.normalize("NFKC", _COMPATIBLE):
        raise TokenizerError(
            f"{name} does not give texts back: {_COMPATIBLE!r} comes back as {back!r}; take a "
            "tokenizer that does"
        )
    return (
        ""
        if back == _COMPATIBLE
        else f"{name} rewrites characters: {_COMPATIBLE!r} comes back as {back!r}"
    )
