"""The text that each token of a solution adds, by a saved tokenizer."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

from verifier.report.browsing import TokenTexts

if TYPE_CHECKING:  # a rerank of plain files needs no tokenizer and no time for one
    from verifier.text.tokenizer import Tokenizer

_CUT = "\ufffd"  # what a character that is cut between tokens decodes to


def token_texts(tokenizer: Tokenizer) -> TokenTexts:
    """Gives, of the tokens of a solution and its text, the text of each token.

    None where they do not spell the solution.

    A character that is cut between tokens goes to the last of them.
    """
    alone = functools.lru_cache(maxsize=1 << 17)(tokenizer.token_text)

    @functools.lru_cache(maxsize=1 << 17)
    def after(before: int, token: int) -> str:  # some tokenizers drop a space that begins a text
        return tokenizer.decode([before, token]).removeprefix(alone(before))

    def texts(ids: list[int], solution: str) -> list[str] | None:
        ways = (
            lambda: [alone(token) for token in ids],
            lambda: [
                alone(ids[0]),
                *(after(before, token) for before, token in itertools.pairwise(ids)),
            ],
            lambda: _whole_characters(tokenizer, ids),
        )
        return next(
            (pieces for pieces in (way() for way in ways) if "".join(pieces) == solution), None
        )

    return texts


def _whole_characters(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """What tokens add where some of them hold parts of characters.

    A token with a part of a character adds nothing until the character is whole.
    """
    pieces, first = [], 0
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[first:end])
        whole = not text.endswith(_CUT) or end == len(ids)
        pieces.append(text if whole else "")
        first = end if whole else first
    return pieces
