"""What the device would have drawn of solutions that an earlier start has stored.

A job that goes on after a kill goes through all its steps again: stored solutions take up their
slots and pages as they did then, for as long, and nothing is computed for them. So the others begin
in the same steps, beside as many rows, and their log-probabilities are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from verifier.decode.job import Stored
from verifier.decode.rows import Rows
from verifier.decode.steps import HOLD, Drawn, Orders, Watch

Spans = Sequence[Mapping[int, tuple[int, int]]]  # of each problem, as `Stored` has them


class Replay:
    """The rows of a group of devices whose solutions are stored, as `steps.generate` has them.

    What was drawn where the calculator wrote something else is not stored; it was a token that was
    held back.
    """

    def __init__(self, rows: Rows, watch: Watch, stored: Stored, spans: Spans, end_id: int) -> None:
        """All rows idle.

        Args:
            rows: the group's books, of which only what does not change with a step is read.
            watch: of the calculator.
            stored: all that is stored.
            spans: of each problem; none of those that are not stored.
            end_id: ends a solution.
        """
        self._rows, self._watch, self._end_id = rows, watch, end_id
        self._stored, self._spans = stored, spans
        self._runs_B, self._waits_B = np.zeros((2, len(rows)), bool)
        self._written_B = np.zeros(len(rows), np.int32)
        self._where_B = np.zeros(len(rows), np.uint8)
        lanes = len(rows.lanes.row_Q)
        self._follows_Q, self._first_Q = np.zeros(lanes, bool), np.zeros(lanes, np.int64)

    def keep(self, row_B: np.ndarray) -> None:
        """Goes on with some of the rows, in a new order."""
        for name in ("_runs_B", "_waits_B", "_written_B", "_where_B"):
            setattr(self, name, getattr(self, name)[row_B])

    def step(self, orders: Orders) -> Drawn:
        """One step of the stored rows; all others write nothing."""
        start_B = orders.start_B & self._rows.stored_B
        self._runs_B |= start_B
        self._written_B = np.where(start_B, orders.from_B, self._written_B)
        self._where_B = np.where(start_B, orders.where_B, self._where_B)
        active_B = self._runs_B & (start_B | orders.go_B | ~self._waits_B)
        row_Q, token_Q, event_Q = self._drawn(orders, active_B)
        rows, lanes = len(start_B), len(row_Q)
        first_B = np.full(rows + 1, lanes - 1)
        np.minimum.at(first_B, np.where(self._follows_Q, row_Q, rows), np.arange(lanes))
        first_B = first_B[:rows]
        free_B = orders.forced_B < 0
        token_B = np.where(free_B, token_Q[first_B], orders.forced_B)
        event_B = np.where(free_B, event_Q[first_B], 0)
        held_B = active_B & (event_B == HOLD)
        writes_B = active_B & ~held_B
        look_B = active_B & (event_B > 0)
        ended_B = writes_B & ((token_B == self._end_id) | (self._written_B + 1 >= orders.limit_B))
        own_Q = np.minimum(row_Q, rows - 1)
        as_the_row_Q = np.where(
            held_B[own_Q],
            event_Q == HOLD,
            (token_Q == token_B[own_Q]) & (event_Q == event_B[own_Q]),
        )
        self._follows_Q &= as_the_row_Q | ~(active_B & free_B)[own_Q] | (row_Q == rows)
        self._where_B[writes_B] = self._watch.where_3V[self._where_B, token_B][writes_B]
        self._written_B = self._written_B + writes_B
        self._runs_B &= ~ended_B
        self._waits_B = np.where(active_B, look_B, self._waits_B)
        none_B, none_Q = np.zeros(rows, np.float32), np.zeros(lanes, np.float32)
        drawn = token_B, none_B, writes_B, look_B, token_Q, none_Q, self._follows_Q.copy()
        if not (count := self._rows.likeliest_BT.count):
            return Drawn(*drawn)
        none_BU = np.zeros((rows, count), np.int32)
        return Drawn(*drawn, none_BU, none_BU.astype(np.float32))

    def _drawn(
        self, orders: Orders, active_B: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The row of each lane that a stored solution goes on in, B for all others; what it has
        drawn, or what was written instead; and what it must wait for.
        """
        rows = len(active_B)
        own_B = np.append(active_B & self._rows.stored_B, False)
        row_Q = np.where(own_B[orders.row_Q], orders.row_Q, rows)
        self._follows_Q |= orders.joins_Q
        for lane in np.flatnonzero(orders.joins_Q & (row_Q < rows)).tolist():
            spans = self._spans[self._rows.problem_B[row_Q[lane]]]
            self._first_Q[lane] = spans[int(self._rows.lanes.sample_Q[lane])][0]
        own = np.flatnonzero((row_Q < rows) & self._follows_Q)
        index = self._first_Q[own] + self._written_B[row_Q[own]]
        token_Q, event_Q = np.zeros((2, len(row_Q)), np.int32)
        token_Q[own] = self._stored.tokens[index]
        event_Q[own] = np.where(
            self._stored.forced[index],
            HOLD,
            self._watch.event_3V[self._where_B[row_Q[own]], token_Q[own]],
        )
        return row_Q, token_Q, event_Q


def merged(rows: Rows, drawn: Drawn, stored: Drawn) -> Drawn:
    """What the device wrote, and in the rows of stored solutions what these did."""
    own_B = rows.stored_B
    own = {"B": own_B, "Q": np.append(own_B, False)[rows.lanes.row_Q], "BU": own_B[:, None]}
    both = zip(Drawn._fields, drawn, stored, strict=True)
    return Drawn(
        *(
            None if here is None else np.where(own[name.rpartition("_")[2]], there, here)
            for name, here, there in both
        )
    )
