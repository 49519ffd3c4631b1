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
from verifier.decode.steps import HOLD, WAIT, Drawn, Orders, Watch


class Replay:
    """The rows of a group of devices whose solutions are stored, as `steps.generate` has them.

    What was drawn where the calculator wrote something else is not stored; it was a token that was
    held back.
    """

    def __init__(
        self,
        rows: Rows,
        watch: Watch,
        stored: Sequence[Mapping[int, Stored]],
        end_id: int,
    ) -> None:
        """All rows idle.

        Args:
            rows: the group's books, of which only what does not change with a step is read.
            watch: of the calculator.
            stored: of each problem, its stored solutions by sample.
            end_id: ends a solution.
        """
        self._rows, self._watch, self._stored, self._end_id = rows, watch, stored, end_id
        self._runs_B, self._waits_B = np.zeros((2, len(rows)), bool)
        self._written_B = np.zeros(len(rows), np.int32)
        self._where_B = np.zeros(len(rows), np.uint8)
        self._follows_Q = np.zeros(len(rows.lanes.row_Q), bool)

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
        self._follows_Q |= orders.joins_Q
        active_B = self._runs_B & (start_B | orders.go_B | ~self._waits_B)
        zeros_B, off_B = np.zeros(len(start_B), np.int32), np.zeros(len(start_B), bool)
        lanes = len(orders.row_Q)
        drawn = Drawn(
            zeros_B,
            zeros_B.astype(np.float32),
            off_B,
            off_B.copy(),
            np.zeros(lanes, np.int32),
            np.zeros(lanes, np.float32),
            self._follows_Q,
        )
        for row in np.flatnonzero(active_B & self._rows.stored_B).tolist():
            self._write(row, orders, drawn)
        return drawn._replace(follows_Q=self._follows_Q.copy())

    def _write(self, row: int, orders: Orders, drawn: Drawn) -> None:
        """One token of a row, into `drawn` and the state."""
        lanes = np.flatnonzero((orders.row_Q == row) & self._follows_Q)
        token, event = int(orders.forced_B[row]), 0
        if token < 0:
            events = [self._drawn(row, lane, drawn.token_Q) for lane in lanes.tolist()]
            token, event = int(drawn.token_Q[lanes[0]]), events[0]
            held = (np.asarray(events) == HOLD) & (event == HOLD)
            self._follows_Q[lanes] = held | (
                (drawn.token_Q[lanes] == token) & (np.asarray(events) == event)
            )
        drawn.token_B[row], drawn.look_B[row] = token, event in (WAIT, HOLD)
        drawn.written_B[row] = event != HOLD
        self._waits_B[row] = drawn.look_B[row]
        if event == HOLD:
            return
        self._where_B[row] = self._watch.where_3V[self._where_B[row], token]
        self._written_B[row] += 1
        if token == self._end_id or self._written_B[row] >= orders.limit:
            self._runs_B[row] = False

    def _drawn(self, row: int, lane: int, token_Q: np.ndarray) -> int:
        """Notes what a lane has drawn, or what was written instead; what it must wait for."""
        solution = self._stored[self._rows.problem_B[row]][int(self._rows.lanes.sample_Q[lane])]
        index = self._written_B[row]
        token_Q[lane] = token = solution.tokens[index]
        if solution.forced[index]:
            return HOLD
        return int(self._watch.event_3V[self._where_B[row], token])


def merged(rows: Rows, drawn: Drawn, stored: Drawn) -> Drawn:
    """What the device wrote, and in the rows of stored solutions what these did."""
    own_B = rows.stored_B
    own_Q = np.append(own_B, False)[rows.lanes.row_Q]
    both = zip(drawn, stored, Drawn._fields, strict=True)
    return Drawn(*(np.where(own_Q if name.endswith("_Q") else own_B, s, d) for d, s, name in both))
