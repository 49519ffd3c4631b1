"""The verifier reads trees that grow: of a new branch its own tokens alone.

A problem has a row of S slots. A token's key and value lie in any slot; what it sees are the slots
on the way from the root to itself, whatever else lies between them:

    slot      0 1 2 3 4 5 6        prompt p q, then  a b  with two branches,  c  and  d e
    token     p q a b c d e
    way to c  1 1 1 1 1 0 0        branch c is given up: slot 4 is free for whatever comes next
    way to e  1 1 1 1 0 1 1
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.data.packing import doubled_room
from verifier.decode.score import as_scores
from verifier.model.heads import Verifier
from verifier.model.transformer import narrow

SHORTEST = 32  # tokens that a call is padded to at least
LONGEST = 256  # tokens of a row that one call reads at most
# Pairs of a new token and a slot in a call: 1 GB of scores with 16 heads.
_MOST_PAIRS = 2**24
_FEWEST_SLOTS = 128


class Read(NamedTuple):
    """Tokens to be read at the end of a way."""

    problem: int
    way: Sequence[int]  # slots of all that stands before them
    tokens: Sequence[int]


class Values(NamedTuple):
    """What came of a `Read`."""

    values: list[float]  # after each token
    slots: list[int]  # of each token
    hidden: list[np.ndarray]  # float32 [D], after each token, where they are asked for


class _Part(NamedTuple):
    """Some tokens of a `Read`."""

    read: int  # which
    first: int
    end: int


class TreeReader:
    """Rows of slots for some problems at a time."""

    def __init__(
        self, verifier: Verifier, value_loss: str, problems: int, with_hidden: bool = False
    ) -> None:
        """Casts the verifier's matrices to the type that they are multiplied in.

        Args:
            verifier: backbone and value head, on the default device.
            value_loss: what it was trained with; values of "bce" become probabilities.
            problems: that are open at a time, at most.
            with_hidden: whether the last hidden states are given out as well.
        """
        graph, weights = nnx.split(verifier)
        self._graph, self._weights = graph, narrow(weights, verifier.backbone.dtype)
        self._value_loss, self._arch = value_loss, verifier.backbone.arch
        self._with_hidden = with_hidden
        self._dtype, self._rows = verifier.backbone.dtype, problems
        self._windows = tuple(dict.fromkeys(self._arch.windows))
        self._row_of: dict[int, int] = {}
        self._free_rows = list(range(problems))
        self._used: dict[int, np.ndarray] = {}  # bool, by slot
        self._read = self._empty(_FEWEST_SLOTS)
        self.tokens = 0  # that have been read

    @property
    def slots(self) -> int:
        """S, of each row."""
        return int(self._read[0][0].shape[2])

    def open(self, problem: int) -> None:
        """Gives a problem a row.

        Raises:
            ValueError: it has one, or there is none.
        """
        if problem in self._row_of or not self._free_rows:
            raise ValueError(
                f"problem {problem} is open already, or {self._rows} others are; close one first"
            )
        self._row_of[problem] = self._free_rows.pop()
        self._used[problem] = np.zeros(self.slots, bool)

    def close(self, problem: int) -> None:
        """Frees the row of a problem."""
        self._free_rows.append(self._row_of.pop(problem))
        del self._used[problem]

    def free(self, problem: int, slots: Sequence[int]) -> None:
        """Nothing goes on any more from tokens in these slots."""
        self._used[problem][list(slots)] = False

    def read(self, asked: Sequence[Read]) -> list[Values]:
        """The values after tokens of open problems; nothing that stands before them is read again.

        Raises:
            ValueError: a text beyond the verifier's context, or one of no tokens.
        """
        for each in asked:
            length = len(each.way) + len(each.tokens)
            if length > self._arch.context or not len(each.tokens):
                raise ValueError(
                    f"problem {each.problem}: {len(each.tokens)} tokens behind {len(each.way)}; "
                    f"expected at least one, and at most {self._arch.context} in all, the "
                    "verifier's context"
                )
        read = [Values([], slots, []) for slots in self._take_slots(asked)]
        for parts in _rounds(asked):
            for some in self._by_memory(asked, parts):
                self._call(asked, some, read)
        self.tokens += sum(len(each.tokens) for each in asked)
        return read

    def _take_slots(self, asked: Sequence[Read]) -> list[list[int]]:
        """Free slots for the tokens of each; all rows get more of them where one has too few."""
        wanted: dict[int, int] = {}
        for each in asked:
            wanted[each.problem] = wanted.get(each.problem, 0) + len(each.tokens)
        most = max(
            (int(self._used[problem].sum()) + count for problem, count in wanted.items()), default=0
        )
        if most > self.slots:
            self._widen(doubled_room(_FEWEST_SLOTS, most))
        taken = []
        for each in asked:
            free = np.flatnonzero(~self._used[each.problem])[: len(each.tokens)]
            self._used[each.problem][free] = True
            taken.append(free.tolist())
        return taken

    def _by_memory(
        self, asked: Sequence[Read], parts: Sequence[_Part]
    ) -> Iterator[Sequence[_Part]]:
        """The parts of a call, those of as many problems at a time as fit."""
        problems = list(dict.fromkeys(asked[part.read].problem for part in parts))
        at_once = max(_MOST_PAIRS // (LONGEST * self.slots), 1)
        for first in range(0, len(problems), at_once):
            some = set(problems[first : first + at_once])
            yield [part for part in parts if asked[part.read].problem in some]

    def _call(self, asked: Sequence[Read], parts: Sequence[_Part], read: Sequence[Values]) -> None:
        """Reads some tokens of R rows, each of a problem, and adds to what has been read."""
        by_row: dict[int, list[_Part]] = {}
        for part in parts:
            by_row.setdefault(self._row_of[asked[part.read].problem], []).append(part)
        tokens = max(sum(end - first for _, first, end in each) for each in by_row.values())
        R, T, S = doubled_room(1, len(by_row)), doubled_room(SHORTEST, tokens), self.slots
        tokens_RT, positions_RT = np.zeros((2, R, T), np.int32)
        slot_RT, row_R = np.full((R, T), S, np.int32), np.zeros(R, np.int32)
        seen_RTS = tuple(np.zeros((R, T, S), bool) for _ in self._windows)
        places = []
        for r, (row, own) in enumerate(by_row.items()):
            row_R[r], t = row, 0
            for index, first, end in own:
                each, width = asked[index], end - first
                way = [*each.way, *read[index].slots[:end]]
                at = slice(t, t + width)
                tokens_RT[r, at] = each.tokens[first:end]
                positions_RT[r, at] = np.arange(len(each.way) + first, len(each.way) + end)
                slot_RT[r, at] = read[index].slots[first:end]
                for window, seen in zip(self._windows, seen_RTS, strict=True):
                    seen[r, t : t + width, way] = _seen(len(way), width, window).T
                places.append((index, r, t, width))
                t += width
        rows = tokens_RT, positions_RT, slot_RT, row_R, seen_RTS
        values_RT, hidden_RTD, self._read = _grow(
            self._graph, self._weights, self._read, rows, self._value_loss
        )
        values_RT = np.asarray(values_RT)
        for index, r, t, width in places:
            read[index].values.extend(values_RT[r, t : t + width].tolist())
        if self._with_hidden:
            hidden_RTD = np.asarray(hidden_RTD, np.float32)
            for index, r, t, width in places:
                read[index].hidden.extend(hidden_RTD[r, t : t + width].copy())

    def _empty(self, slots: int) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        shape = self._rows, self._arch.kv_heads, slots, self._arch.head_width
        one, other = (
            tuple(jnp.zeros(shape, self._dtype) for _ in range(self._arch.layers)) for _ in "kv"
        )
        return one, other

    def _widen(self, slots: int) -> None:
        more = slots - self.slots
        self._read = jax.tree.map(
            lambda array: jnp.pad(array, ((0, 0), (0, 0), (0, more), (0, 0))), self._read
        )
        self._used = {problem: np.pad(used, (0, more)) for problem, used in self._used.items()}


def _rounds(asked: Sequence[Read]) -> list[list[_Part]]:
    """Calls that each read at most LONGEST tokens of a problem."""
    rounds: list[list[_Part]] = []
    at: dict[int, tuple[int, int]] = {}  # by problem: its last call so far, and tokens in that
    for index, each in enumerate(asked):
        first = 0
        while first < len(each.tokens):
            number, filled = at.get(each.problem, (0, 0))
            if filled == LONGEST:
                number, filled = number + 1, 0
            width = min(len(each.tokens) - first, LONGEST - filled)
            while len(rounds) <= number:
                rounds.append([])
            rounds[number].append(_Part(index, first, first + width))
            at[each.problem] = number, filled + width
            first += width
    return rounds


def _seen(way: int, tokens: int, window: int | None) -> np.ndarray:
    """Which tokens of a way its last ones see: bool [tokens, way]."""
    below = np.tri(tokens, way, way - tokens, dtype=bool)
    return below if window is None else below & ~np.tri(tokens, way, way - tokens - window, bool)


@functools.partial(jax.jit, static_argnames=("graph", "value_loss"), donate_argnames=("read",))
def _grow(
    graph: nnx.GraphDef,
    weights: nnx.State,
    read: tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]],
    rows: tuple[jax.Array, ...],
    value_loss: str,
) -> tuple[jax.Array, jax.Array, tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]]:
    verifier = nnx.merge(graph, weights)
    hidden_RTD, read = verifier.backbone.grow(*rows, read)
    return as_scores(verifier, hidden_RTD, value_loss), hidden_RTD, read
