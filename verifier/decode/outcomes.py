"""What a step has written: tokens into the books, lanes that part, solutions that have ended."""

from __future__ import annotations

import collections
from typing import NamedTuple

import numpy as np

from verifier.decode.annotations import Calculator
from verifier.decode.branches import Branch
from verifier.decode.job import Counts, Stored
from verifier.decode.likeliest import NOWHERE, Likeliest
from verifier.decode.replay import Spans
from verifier.decode.rows import Rows
from verifier.decode.steps import WAIT, Drawn
from verifier.text.tokenizer import Tokenizer


class Ended(NamedTuple):
    """Solutions of a problem that end alike."""

    problem: int
    samples: list[int]
    tokens: list[int]
    forced: list[bool]
    logprobs: list[float]
    likeliest: Likeliest  # of its tokens
    errors: int
    branch: Branch | None = None  # from there on, where something may go on


class _Next(NamedTuple):
    """What samples write next that have drawn a token: those of an equal one go on together."""

    queue: tuple[tuple[int, bool], ...]
    errors: int
    ends_step: bool = False


class Found(NamedTuple):
    """What has come of a step."""

    branches: list[Branch]  # that have left their rows and go on
    ended: list[Ended]
    over: list[int]  # rows in which nothing goes on


class Outcomes:
    """Takes in what a job's rows have written, step by step."""

    def __init__(
        self,
        calculator: Calculator,
        tokenizer: Tokenizer,
        stored: Stored,
        spans: Spans,
        counts: Counts,
        may_go_on: bool = False,
    ) -> None:
        """Of a job.

        Args:
            calculator: what follows a token that must be looked at.
            tokenizer: whose end token ends a solution.
            stored: all that an earlier start has drawn.
            spans: of each problem, where its solutions stand there.
            counts: are kept up to date.
            may_go_on: whether branches are kept of what is over.
        """
        self._may_go_on = may_go_on
        self._calculator, self._tokenizer = calculator, tokenizer
        self._stored, self._spans, self._counts = stored, spans, counts
        self._watch = calculator.watch

    def take_in(self, rows: Rows, drawn: Drawn, by_calculator_B: np.ndarray) -> Found:
        """Notes what a group's rows wrote in a step.

        Args:
            rows: the group's books.
            drawn: as the host reads it, of this group.
            by_calculator_B: which of the forced tokens of the step are the calculator's.
        """
        found = Found([], [], [])
        self._parted(rows, drawn, found)
        row_R = np.flatnonzero(drawn.written_B)
        token_R, samples_B = drawn.token_B[row_R], rows.lanes.per_row()
        where_R = self._watch.where_3V[rows.where_B[row_R], token_R]
        logprob_R = drawn.logprob_B[row_R]
        likeliest_R = _likeliest(drawn, row_R, token_R, logprob_R)
        new_R = rows.write(row_R, token_R, logprob_R, by_calculator_B[row_R], where_R, likeliest_R)
        drawn_R = ~rows.stored_B[row_R]
        self._counts.tokens += int(samples_B[row_R[new_R & drawn_R]].sum())
        self._counts.prefixes += int((new_R & drawn_R).sum())
        self._counts.read_again += int((~new_R & drawn_R).sum())
        for row in np.flatnonzero(drawn.look_B).tolist():
            self._look(rows, row, drawn, found)
        ends_R = (token_R == self._tokenizer.end_id) | (rows.length_B[row_R] == rows.limit_B[row_R])
        # a token may end a step and the whole
        found.over[:] = dict.fromkeys([*found.over, *row_R[ends_R].tolist()])
        found.ended.extend(self._whole(rows, row) for row in found.over)
        return found

    def _parted(self, rows: Rows, drawn: Drawn, found: Found) -> None:
        """What has left the rows that have drawn something else for it."""
        active_B = np.append(drawn.written_B | drawn.look_B, False)
        left_Q = active_B[rows.lanes.row_Q] & ~drawn.follows_Q
        for row in np.unique(rows.lanes.row_Q[left_Q]).tolist():
            lanes = np.flatnonzero(left_Q & (rows.lanes.row_Q == row))
            for next_, together in self._by_next(rows, row, lanes, drawn.token_Q).items():
                self._part(rows, row, next_, together, drawn, found)

    def _part(
        self, rows: Rows, row: int, next_: _Next, lanes: np.ndarray, drawn: Drawn, found: Found
    ) -> None:
        """Lanes leave a row with what they write next."""
        samples, length = rows.lanes.sample_Q[lanes].tolist(), int(rows.length_B[row])
        branch = rows.fork(row, length, samples, list(next_.queue))
        branch.errors += next_.errors
        rows.lanes.leave(lanes)
        token, by_calculator = next_.queue[0]
        if not by_calculator:
            own = np.array([token]), drawn.logprob_Q[lanes[:1]]
            branch.drawn(float(own[1][0]), _likeliest(drawn, np.array([row]), *own))
        over = token == self._tokenizer.end_id or length + 1 >= rows.limit_B[row]
        if by_calculator or not (over or (next_.ends_step and rows.to_step_end_B[row])):
            found.branches.append(branch)
            return
        if not self._may_go_on:
            rows.let_go(branch)
        if not rows.stored_B[row]:
            self._counts.tokens += len(samples)
            self._counts.prefixes += 1
        found.ended.append(
            Ended(
                branch.problem,
                samples,
                [*branch.tokens.tolist(), token],
                [*branch.forced.tolist(), False],
                branch.logprobs.tolist(),
                branch.likeliest,
                branch.errors,
                branch if self._may_go_on else None,
            )
        )

    def _by_next(
        self, rows: Rows, row: int, lanes: np.ndarray, token_Q: np.ndarray
    ) -> dict[_Next, np.ndarray]:
        """Lanes of a row that has not yet written what they have drawn, by what they write next."""
        together: dict[_Next, list[int]] = collections.defaultdict(list)
        known: dict[int, _Next] = {}
        for lane in lanes.tolist():
            token = int(token_Q[lane])
            run = self._forced_run(rows, row, lane) if rows.stored_B[row] else ()
            if run:
                next_ = _Next(run, 0)
            elif token in known:
                next_ = known[token]
            else:
                known[token] = next_ = self._next(rows, row, token)
            together[next_].append(lane)
        for next_, each in together.items():
            self._count(rows, row, next_, len(each))
        return {next_: np.asarray(each) for next_, each in together.items()}

    def _next(self, rows: Rows, row: int, token: int) -> _Next:
        """What is written where a token has been drawn: it, or what the calculator wants instead,
        and what follows.
        """
        event = self._watch.event_3V[rows.where_B[row], token]
        if not event:
            return _Next(((token, False),), 0)
        verdict = self._calculator.look([*rows.token_BT[row, : rows.length_B[row]].tolist(), token])
        own = [] if verdict.instead else [(token, False)]
        queue = *own, *((forced, True) for forced in verdict.queue)
        # whether a token was held back is no matter to the device any more once it is written
        return _Next(queue, verdict.errors, verdict.ends_step and event == WAIT)

    def _look(self, rows: Rows, row: int, drawn: Drawn, found: Found) -> None:
        """Asks the calculator what follows the token of a row that waits.

        One that was held back is written now, or another instead; lanes that held back other tokens
        stay only if the same is written for them.
        """
        rows.go_B[row] = True
        lanes = rows.lanes.of(row)
        if drawn.written_B[row]:
            verdict = self._calculator.look(rows.token_BT[row, : rows.length_B[row]].tolist())
            next_ = _Next(tuple((forced, True) for forced in verdict.queue), verdict.errors)
            self._count(rows, row, next_, len(lanes))
            if verdict.ends_step and rows.to_step_end_B[row]:
                found.over.append(row)
        else:
            (next_, _), *others = self._by_next(rows, row, lanes, drawn.token_Q).items()
            for other in others:
                self._part(rows, row, *other, drawn, found)
        rows.forced.put(row, int(rows.length_B[row]), next_.queue)
        rows.errors_B[row] += next_.errors

    def _count(self, rows: Rows, row: int, next_: _Next, samples: int) -> None:
        if rows.stored_B[row]:
            return
        self._counts.answered += samples * any(by_calculator for _, by_calculator in next_.queue)
        self._counts.refused += samples * next_.errors

    def _whole(self, rows: Rows, row: int) -> Ended:
        """What stands in a row that is over."""
        length, samples = int(rows.length_B[row]), rows.lanes.sample_Q[rows.lanes.of(row)].tolist()
        return Ended(
            int(rows.problem_B[row]),
            samples,
            rows.token_BT[row, :length].tolist(),
            rows.forced_BT[row, :length].tolist(),
            rows.logprob_BT[row, :length].tolist(),
            rows.likeliest_BT[row, :length].copy(),
            int(rows.errors_B[row]),
            rows.park(row) if self._may_go_on else None,
        )

    def _forced_run(self, rows: Rows, row: int, lane: int) -> tuple[tuple[int, bool], ...]:
        """What the calculator wrote next in a stored solution, in place of what was drawn."""
        spans = self._spans[rows.problem_B[row]]
        first, end = spans[int(rows.lanes.sample_Q[lane])]
        first += int(rows.length_B[row])
        free = np.flatnonzero(~self._stored.forced[first:end])
        run = self._stored.tokens[first : first + free[0] if len(free) else end]
        return tuple((token, True) for token in run.tolist())


def _likeliest(
    drawn: Drawn, row_R: np.ndarray, token_R: np.ndarray, logprob_R: np.ndarray
) -> Likeliest:
    """What was likely where some rows have written tokens, these among it."""
    if drawn.top_id_BU is None or drawn.top_logprob_BU is None:
        return NOWHERE
    all_B = Likeliest(np.asarray(drawn.top_id_BU), np.asarray(drawn.top_logprob_BU))
    return all_B[row_R].with_own(token_R, logprob_R)
