"""What bytes the tokens of a log stand for, found by the text that they make together.

Servers spell tokens in several ways: as the text that one adds; as a vocabulary has it (`Ġ` or
U+2581 for a space, `<0x0A>`); as `bytes:\\xe2\\x80`. A part of a character may have become U+FFFD,
and then its bytes are those of the text around which the other tokens stand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

_LOST = "\ufffd"
_SPACE = "\u2581"
_ESCAPED = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Token(NamedTuple):
    """A token as a log has it: its text, and its bytes where they stand there."""

    name: str
    given: bytes | None


class Joined(NamedTuple):
    """The bytes of tokens.

    Attributes:
        first: index of the first token that they are of: 1 where the first of all is no more than
            the space that a server takes away.
        pieces: of each, none of the end token, and nothing of what follows it.
        read: of any other token; None where the server has lost them.
        dummy_space: whether those of the first token began with a space that was taken away.
    """

    first: int
    pieces: list[bytes]
    read: Callable[[Token], bytes | None]
    dummy_space: bool = False


class Apart(NamedTuple):
    """Where tokens and text part.

    Attributes:
        token: index of the first token that does not go on as the text does.
        byte: of the text, where that begins.
        pieces: what the tokens say from there on.
        rest: of the text.
    """

    token: int
    byte: int
    pieces: bytes
    rest: bytes


def joined(tokens: Sequence[Token], text: str, ended: bool) -> Joined | Apart:
    """The bytes of some tokens.

    Args:
        tokens: of a solution, and perhaps the end token.
        text: that they make.
        ended: whether there may be an end token: what stands behind the text. Of several tokens
            there (those of a stop string) the first says that it has ended.

    Returns:
        Their bytes, joined to the text; where the server has lost bytes that cannot be told from
        the text, they are joined to another one. Or where they and the text part.
    """
    whole = text.encode("utf-8", "surrogatepass")
    for spell in (_as_text, _as_vocabulary):
        pieces = _unfolded(_found([spell(token) for token in tokens], tokens, whole))
        without = [piece[number == 0 :] for number, piece in enumerate(pieces)]
        dummy = b"".join(pieces[:1])[:1] == b" "
        first = int(dummy and not without[0])
        if (fitting := _fitted(pieces, whole, ended)) is not None:
            return Joined(0, fitting, _reader(fitting, tokens, spell))
        if dummy and (fitting := _fitted(without[first:], whole, ended)) is not None:
            return Joined(first, fitting, _reader(fitting, tokens[first:], spell), not first)
    pieces = [_as_text(token) for token in tokens]
    if any(_LOST in token.name for token in tokens):
        return Joined(0, pieces, _reader(pieces, tokens, _as_text))
    return _parting(pieces, whole)


def _as_text(token: Token) -> bytes:
    """A token spelled by its bytes, or as the text that it adds."""
    if token.given is not None and _LOST not in token.name:
        return token.given
    if match := _ESCAPED.fullmatch(token.name):
        return bytes.fromhex(match[1].replace("\\x", ""))
    if token.given is not None and token.given != _LOST.encode():
        return token.given
    return token.name.encode("utf-8", "surrogatepass")


def _as_vocabulary(token: Token) -> bytes:
    """A token spelled as byte-level BPE or SentencePiece have it."""
    if match := _BYTE.fullmatch(token.name):
        return bytes((int(match[1], 16),))
    if _SPACE not in token.name:
        letters = _byte_of()
        if all(letter in letters for letter in token.name):
            return bytes(letters[letter] for letter in token.name)
    return token.name.replace(_SPACE, " ").encode("utf-8", "surrogatepass")


@functools.cache
def _byte_of() -> dict[str, int]:
    """The byte that each letter of byte-level BPE stands for: printable ones stand for themselves,
    the others in turn for letters from U+0100 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + number): byte for number, byte in enumerate(others)
    }


def _found(pieces: list[bytes], tokens: Sequence[Token], whole: bytes) -> list[bytes]:
    """Tokens whose bytes the server has lost get those of the text between the others.

    As many tokens as bytes have one each, and one token has all; else nobody knows, and they do not
    join to the text.
    """
    both = zip(tokens, pieces, strict=True)
    lost = [_LOST in token.name and _LOST.encode() in piece for token, piece in both]
    if not any(lost):
        return pieces
    found, place, number = list(pieces), 0, 0
    while number < len(found):
        if not lost[number]:
            place, number = place + len(found[number]), number + 1
            continue
        end = next((n for n in range(number, len(found)) if not lost[n]), len(found))
        following = found[end] if end < len(found) else b""
        count = end - number
        stop = whole.find(following, place + count) if following else len(whole)
        if stop < 0:
            return pieces
        between = whole[place:stop]
        each = [between] if count == 1 else [between[n : n + 1] for n in range(count)]
        found[number:end], place, number = each, stop, end
    return found


def _unfolded(pieces: list[bytes]) -> list[bytes]:
    """Of a character in as many tokens as it has bytes, which a server tells whole of the last
    token and nothing of the others, each gets its byte.
    """
    found, empty = list(pieces), 0
    for number, piece in enumerate(pieces):
        if piece and empty and empty + 1 == _first_length(piece):
            found[number - empty : number] = [piece[n : n + 1] for n in range(empty)]
            found[number] = piece[empty:]
        empty = 0 if piece else empty + 1
    return found


def _first_length(text: bytes) -> int:
    """Bytes of the first character of a text in UTF-8."""
    return 1 if text[0] < 0xC0 else 2 if text[0] < 0xE0 else 3 if text[0] < 0xF0 else 4


def _fitted(pieces: list[bytes], whole: bytes, ended: bool) -> list[bytes] | None:
    """Pieces that join to the text, with an end token if there is one; None where they do not."""
    count = length = 0
    while count < len(pieces) and length < len(whole):
        length, count = length + len(pieces[count]), count + 1
    if b"".join(pieces[:count]) != whole:
        return None
    behind = pieces[count:]
    if not behind:
        return pieces
    return [*pieces[:count], b""] if ended or not any(behind) else None


def _reader(
    pieces: Sequence[bytes], tokens: Sequence[Token], spell: Callable[[Token], bytes]
) -> Callable[[Token], bytes | None]:
    """How the alternatives beside tokens are read, of which the pieces are known."""
    end = tokens[len(pieces) - 1] if pieces and not pieces[-1] else None

    def read(token: Token) -> bytes | None:
        if token == end and token.name:
            return b""
        return None if _LOST in token.name else spell(token) or None

    return read


def _parting(pieces: Sequence[bytes], whole: bytes) -> Apart:
    """The first token that the text does not go on with."""
    place = 0
    for number, piece in enumerate(pieces):
        if not whole.startswith(piece, place) or (place == len(whole) and piece):
            return Apart(number, place, b"".join(pieces[number:]), whole[place:])
        place += len(piece)
    return Apart(len(pieces), place, b"", whole[place:])
