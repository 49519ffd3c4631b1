"""The tokens of a solution as a server logs them, each with its log-probability and alternatives.

Two forms, which OpenAI, vLLM and SGLang write, under `logprobs` of a choice:

    chat         content: [{token, bytes, logprob, top_logprobs: [{token, bytes, logprob}, ...]}]
    completions  tokens: [...], token_logprobs: [...], top_logprobs: [{token: logprob, ...}, ...]

Tokens are texts there, not ids. What is kept of one are its bytes, so that together they are the
solution, whoever's tokenizer is to read it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from verifier.errors import TablesError
from verifier.ingest import token_bytes
from verifier.ingest.token_bytes import Token

Wanted = Literal["text", "logprobs", "top_logprobs"]
# What servers say of a solution that the model has ended itself.
_ENDED = {"stop", "eos", "eos_token", "end_turn", "stop_sequence", None}
_AS_ID = re.compile(r"token_id:\d+")
_ABOVE = 0.01  # 0, by which a server's rounding may miss
_SHOWN = 40  # bytes of a text in a message


class Solution(NamedTuple):
    """One solution; the lists run over its tokens and are empty where they are not wanted.

    Attributes:
        text: the bytes of `pieces` joined, but where the server has lost some (`token_bytes`).
        finish: "eos" or "length".
        pieces: what each token adds to the text; nothing of the end token, where that is there.
        logprobs: of each, at temperature 1.
        top_pieces: the alternatives that are told and have bytes, likeliest first; then the token
            itself, if it is none of them.
        top_logprobs: of these.
    """

    text: str
    finish: str
    pieces: list[bytes]
    logprobs: list[float]
    top_pieces: list[list[bytes]]
    top_logprobs: list[list[float]]


class _Place(NamedTuple):
    """A token as it is told, with its alternatives."""

    token: Token
    logprob: float
    tops: list[tuple[Token, float]]


def read_choice(choice: Mapping[str, Any], wanted: Wanted, where: str) -> Solution:
    """One choice of a completion.

    Args:
        choice: the object.
        wanted: what must be there beside the text.
        where: file and row, for messages.

    Raises:
        TablesError: log-probabilities are wanted and not there, lists of different lengths, what is
            no log-probability, or tokens that do not join to the text.
    """
    text, finish = _text(choice, where), _finish(choice)
    if wanted == "text":
        return Solution(text, finish, [], [], [], [])
    places = _places(choice.get("logprobs"), wanted == "top_logprobs", where)
    tokens = [place.token for place in places]
    joined = token_bytes.joined(tokens, text, ended=finish == "eos")
    if isinstance(joined, token_bytes.Apart):
        raise _not_joined(joined, text, where)
    places = places[joined.first :][: len(joined.pieces)]
    tops = [
        _tops(place, piece, joined.read) for place, piece in zip(places, joined.pieces, strict=True)
    ]
    if joined.dummy_space:
        tops[0] = [(piece.removeprefix(b" "), logprob) for piece, logprob in tops[0]]
    return Solution(
        text,
        finish,
        joined.pieces,
        [place.logprob for place in places],
        [[piece for piece, _ in each] for each in tops] if wanted == "top_logprobs" else [],
        [[logprob for _, logprob in each] for each in tops] if wanted == "top_logprobs" else [],
    )


def told(choice: Mapping[str, Any]) -> Wanted:
    """The most that a choice tells."""
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping):
        return "text"
    content = logprobs.get("content")
    if isinstance(content, list):
        first = content[0] if content and isinstance(content[0], Mapping) else {}
        return "top_logprobs" if first.get("top_logprobs") else "logprobs"
    if isinstance(logprobs.get("tokens"), list):
        return "top_logprobs" if logprobs.get("top_logprobs") else "logprobs"
    return "text"


def _text(choice: Mapping[str, Any], where: str) -> str:
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    if text is None and isinstance(message, Mapping):  # it wrote nothing but a call or a refusal
        return ""
    if not isinstance(text, str):
        raise TablesError(
            f"{where}: no text in it; expected message.content or text, it has {', '.join(choice)}"
        )
    return text


def _finish(choice: Mapping[str, Any]) -> str:
    reason = choice.get("finish_reason")
    reason = reason.get("type") if isinstance(reason, Mapping) else reason
    return "eos" if reason in _ENDED else "length"


def _places(logprobs: Any, with_tops: bool, where: str) -> list[_Place]:
    """The tokens of either form."""
    if isinstance(logprobs, Mapping) and isinstance(logprobs.get("content"), list):
        return [
            _chat_place(entry, with_tops, f"{where}, token {number}")
            for number, entry in enumerate(logprobs["content"], start=1)
        ]
    if isinstance(logprobs, Mapping) and isinstance(logprobs.get("tokens"), list):
        return _completion_places(logprobs, with_tops, where)
    raise TablesError(
        f"{where}: no log-probabilities in it; ask the server for them (chat: logprobs=true, "
        "top_logprobs=5; completions: logprobs=5), or learn from the text alone"
    )


def _chat_place(entry: Any, with_tops: bool, where: str) -> _Place:
    if not isinstance(entry, Mapping):
        raise TablesError(f"{where}: {str(entry)[:_SHOWN]!r}; expected an object with a token")
    tops = entry.get("top_logprobs")
    if with_tops and not isinstance(tops, list):
        raise _no_tops(where)
    return _Place(
        _token(entry, where),
        _logprob(entry.get("logprob"), where),
        [(_token(each, where), _logprob(each.get("logprob"), where)) for each in tops or ()],
    )


def _completion_places(logprobs: Mapping[str, Any], with_tops: bool, where: str) -> list[_Place]:
    tokens: Any = logprobs["tokens"]
    tops: Any = logprobs.get("top_logprobs")
    if with_tops and not tops and tokens:
        raise _no_tops(where)
    owns: Any = logprobs.get("token_logprobs")
    tops = tops if with_tops else [{}] * len(tokens)
    for name, column in {"token_logprobs": owns, "top_logprobs": tops}.items():
        count = len(column) if isinstance(column, list) else 0
        if count != len(tokens):
            raise TablesError(
                f"{where}: `{name}` has {count} entries for {len(tokens)} tokens; expected one a "
                "token"
            )
    places = []
    for number, (token, own, each) in enumerate(zip(tokens, owns, tops, strict=True), start=1):
        at = f"{where}, token {number}"
        alternatives = (each or {}).items() if isinstance(each or {}, Mapping) else ()
        if with_tops and not alternatives:
            raise _no_tops(at)
        places.append(
            _Place(
                _token({"token": token}, at),
                _logprob(own, at),
                [
                    (_token({"token": name}, at), _logprob(value, at))
                    for name, value in alternatives
                ],
            )
        )
    return places


def _token(entry: Any, where: str) -> Token:
    name, given = (
        (entry.get("token"), entry.get("bytes")) if isinstance(entry, Mapping) else (None, None)
    )
    if not isinstance(name, str):
        raise TablesError(f"{where}: token {name!r}; expected its text")
    if _AS_ID.fullmatch(name):
        raise TablesError(
            f"{where}: token {name!r} is an id, whose bytes nobody knows here; ask the server for "
            "texts (vLLM: without return_tokens_as_token_ids)"
        )
    if not given:
        return Token(name, None)
    try:
        return Token(name, bytes(given))
    except (TypeError, ValueError) as error:
        raise TablesError(
            f"{where}: the bytes of token {name!r} are {str(given)[:_SHOWN]}; expected a list of "
            "numbers from 0 to 255"
        ) from error


def _logprob(value: Any, where: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and not math.isnan(value) and value < _ABOVE:
        return min(float(value), 0.0)
    raise TablesError(
        f"{where}: the log-probability is {value!r}; expected a number that is at most 0"
    )


def _tops(
    place: _Place, own: bytes, read: Callable[[Token], bytes | None]
) -> list[tuple[bytes, float]]:
    """The alternatives of a place, likeliest first; the token itself last if it is none of them.

    Those whose bytes the server has lost are left out.
    """
    likeliest: dict[bytes, float] = {}
    for token, logprob in sorted(place.tops, key=lambda each: -each[1]):
        piece = own if token == place.token else read(token)
        if piece is not None:
            likeliest.setdefault(piece, logprob)
    likeliest.setdefault(own, place.logprob)
    return list(likeliest.items())


def _no_tops(where: str) -> TablesError:
    return TablesError(
        f"{where}: no top_logprobs in it; ask the server for them (chat: top_logprobs=5; "
        "completions: logprobs=5), or learn from the words alone"
    )


def _not_joined(apart: token_bytes.Apart, text: str, where: str) -> TablesError:
    return TablesError(
        f"{where}: the tokens do not join to the text: token {apart.token + 1} and on are "
        f"{apart.pieces[:_SHOWN]!r}, the text goes on with {apart.rest[:_SHOWN]!r} (byte "
        f"{apart.byte:,} of {len(text.encode('utf-8', 'surrogatepass')):,}); log the text as it "
        "was written: no reasoning taken out, no stop string cut off"
    )
