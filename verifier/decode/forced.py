"""Tokens that rows are told to write: the calculator's, and those that are read a second time."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence

from verifier.decode.branches import ForcedTokens


class Forced:
    """A queue for each row that has one."""

    def __init__(self) -> None:
        """No row has any."""
        self._waiting: dict[int, collections.deque[tuple[int, bool]]] = {}
        self._begun: dict[int, tuple[int, ForcedTokens]] = {}  # at which token, and all of it

    def __contains__(self, row: int) -> bool:
        return row in self._waiting

    def put(self, row: int, length: int, queue: Sequence[tuple[int, bool]]) -> None:
        """A row of so many tokens writes these next."""
        if queue:
            self._waiting[row] = collections.deque(queue)
            self._begun[row] = length, list(queue)

    def take(self) -> Iterator[tuple[int, tuple[int, bool]]]:
        """The next token of each row, which counts as given then."""
        for row, waiting in list(self._waiting.items()):
            yield row, waiting.popleft()
            if not waiting:
                del self._waiting[row]

    def left(self, row: int, length: int) -> ForcedTokens:
        """What a row that ends after so many tokens has not written, though it may have been given
        the first of it.
        """
        begun, queue = self._begun.get(row, (0, []))
        return queue[length - begun :]

    def drop(self, row: int) -> None:
        """A row has none any more."""
        self._waiting.pop(row, None)
        self._begun.pop(row, None)

    def keep(self, new: Mapping[int, int]) -> None:
        """Rows have other numbers, by their old ones."""
        self._waiting = {new[row]: waiting for row, waiting in self._waiting.items()}
        self._begun = {new[row]: begun for row, begun in self._begun.items()}
