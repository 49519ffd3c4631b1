"""Which tokens the calculator writes: watches the text of each row and queues forced tokens. Host only; knows no model."""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy as np

from verifier.text import calculator
from verifier.text import tokenizer as tokenizer_lib


class CalculatorQueue:
    """Forced tokens of a group of rows (Cobbe et al. 2021, section 4: the calculator overrides what follows `=` in an annotation).

    The trigger is the decoded text, never a token id: tokenizers merge `=` with its neighbours (`=$`, `=1`, ` =`, `)=`).
    A wrong digit that was sampled before the `=` stays (the paper's rule); what cannot be evaluated is counted and left to the model.
    """

    def __init__(self, tokenizer: tokenizer_lib.Tokenizer, has_equals_V: np.ndarray, rows: int) -> None:
        """`has_equals_V`: bool, tokens whose text contains `=`; all False switches the calculator off."""
        self._tokenizer = tokenizer
        self._has_equals_V = has_equals_V
        self._waiting: dict[int, collections.deque[int]] = {}
        self.errors_B = np.zeros(rows, np.int32)

    def suspects(self, token_B: np.ndarray, free_B: np.ndarray) -> np.ndarray:
        """The rows to `look` at: running rows whose newest token was drawn, not forced, and has an `=`."""
        return np.flatnonzero(free_B & self._has_equals_V[token_B])

    def look(self, row: int, tokens: Sequence[int]) -> int | None:
        """Reads a row's tokens, the newest one last, and queues what must follow.

        Returns:
          The token that must stand in the newest one's place, where that one reads on past the `=` (`=1`); else None.
        """
        before = self._tokenizer.decode(tokens[:-1])
        newest = self._tokenizer.decode(tokens)[len(before) :]
        for end in (place + 1 for place, letter in enumerate(newest) if letter == "="):
            opened = calculator.open_annotation(before + newest[:end])
            if opened is None or opened.written:
                continue  # not in an annotation, or not its first `=`
            result = calculator.evaluate(opened.expression)
            if isinstance(result, calculator.Refused):
                self.errors_B[row] += 1
                continue
            forced = result.text + ">>"
            if end == len(newest):
                self._waiting[row] = collections.deque(self._tokenizer.encode(forced))
                return None
            self._waiting[row] = collections.deque(self._tokenizer.encode(newest[:end] + forced))
            return self._pop(row)
        return None

    def take(self) -> np.ndarray | None:
        """The next forced token of every row, int32 [rows] with -1 for none; None where no row has any."""
        if not self._waiting:
            return None
        forced_B = np.full(len(self.errors_B), -1, np.int32)
        for row in list(self._waiting):
            forced_B[row] = self._pop(row)
        return forced_B

    def _pop(self, row: int) -> int:
        waiting = self._waiting[row]
        token = waiting.popleft()
        if not waiting:
            del self._waiting[row]
        return token


def equals_table(tokenizer: tokenizer_lib.Tokenizer) -> np.ndarray:
    """Which tokens' text contains `=`: bool [vocab_size]."""
    return np.array(["=" in tokenizer.token_text(token) for token in range(tokenizer.vocab_size)], dtype=bool)
