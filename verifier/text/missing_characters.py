"""Characters of worked solutions that a vocabulary has no piece for, as tokens behind it.

T5's vocabulary has no newline, no `<` and no brace, and spells nothing in bytes: the calculator's
`<<3+4=7>>7` would come back as `3+4=77`, on one line with all others. Its embedding has rows to
spare, which training teaches what they stand for.
"""

from __future__ import annotations

import json
from typing import Any

# What worked solutions and questions are written in, beside letters.
NEEDED = "\n" + "".join(map(chr, range(33, 127))) + "\u20ac\u2212\u00d7\u00f7"


def spells_all(source: str) -> bool:
    """Whether a tokenizer.json may have a piece, or bytes, for any character.

    One of SentencePiece's unigram models without bytes has none for most.
    """
    model = json.loads(source)["model"]
    return model.get("type") != "Unigram" or bool(model.get("byte_fallback"))


def completed(source: str) -> tuple[str, list[str]]:
    """A tokenizer.json that has a token for each character in `NEEDED`.

    Returns:
        The contents, and what has been added; its ids are those behind all others. Of a tokenizer
        that may spell any character they are as they were.
    """
    if spells_all(source):
        return source, []
    parts: dict[str, Any] = json.loads(source)
    known = {piece for piece, _ in parts["model"]["vocab"]}
    known |= {token["content"] for token in parts.get("added_tokens") or []}
    missing = [letter for letter in NEEDED if letter not in known]
    return _with_tokens(parts, missing, special=False), missing


def with_gaps(source: str, gaps: int) -> str:
    """A tokenizer.json with T5's tokens for gaps in a text, the last one first."""
    names = [f"<extra_id_{number}>" for number in reversed(range(gaps))]
    return _with_tokens(json.loads(source), names, special=True)


def _with_tokens(parts: dict[str, Any], texts: list[str], special: bool) -> str:
    """A tokenizer.json with more tokens, whose ids are those behind all others."""
    there = parts.get("added_tokens") or []
    first = max([len(parts["model"]["vocab"]) - 1, *(token["id"] for token in there)]) + 1
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": token, "content": text, **flags, "special": special}
        for token, text in enumerate(texts, first)
    ]
    return json.dumps({**parts, "added_tokens": [*there, *added]}, ensure_ascii=False)


def said(name: str, added: list[str]) -> str:
    """What is to be said of a tokenizer that was completed."""
    pieces = " ".join(map(repr, added))
    return (
        f"{name} has no piece for {pieces}: each is given a token behind all others, which "
        "fine-tuning has to teach; other characters that it has no piece for are left out of texts"
    )
