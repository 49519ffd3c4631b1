"""What the tokenizers share: bytes of pieces to characters of a text, and their error. Knows no tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from verifier.config import UserError


class TokenizerError(UserError):
    """A tokenizer that is missing, unreadable, or cannot be trained; the message says what was looked for and the way out."""


def byte_spans(text: str, pieces: Sequence[bytes]) -> list[tuple[int, int]] | None:
    """Character span of each piece in a text; a piece that holds a part of a character has the whole character's span.

    None where the pieces do not spell the text.
    """
    whole = text.encode("utf-8")
    if b"".join(pieces) != whole:
        return None
    character_at = [place for place, letter in enumerate(text) for _ in letter.encode("utf-8")]
    spans, start = [], 0
    for piece in pieces:
        end = start + len(piece)
        spans.append((character_at[start], character_at[end - 1] + 1) if piece else (len(text), len(text)))
        start = end
    return spans
