"""A running batch: slots are refilled as soon as a solution ends.

The device is a step ahead of the host but at the end of a window.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from verifier.decode import memory, steps
from verifier.decode import state as state_lib
from verifier.decode.job import Completion, Counts, Hooks, Prompt, Writer
from verifier.decode.prompt_blocks import block_sizes
from verifier.decode.queue import SolutionQueue
from verifier.decode.rows import Rows
from verifier.model import cache as cache_lib
from verifier.model import sampling, sharding


class _Step(NamedTuple):
    """A step that the device is doing or has done and the host has not read yet."""

    drawn: steps.Drawn
    by_calculator_B: np.ndarray
    number: int


class Running:
    """One job of the engine: `sample_ids` of every prompt, the prompts by falling length.

    On a mesh every group of devices has `sizes.rows` slots, prompts and pages of its own, and all
    take their steps together: what the device is given are the groups' arrays, one behind the
    other. Slots are counted through all groups.

    Solutions that an earlier start has stored take up their slots for as many steps as they did
    then, and nothing is done for them: so the others begin in the same steps, beside as many
    prompts and pages, and their log-probabilities are the same to the last bit. Until the first
    prompt is read whose solutions are not stored, there is no state on the device at all.
    """

    def __init__(
        self,
        writer: Writer,
        sizes: memory.JobSizes,
        prompts: Sequence[Prompt],
        sample_ids: Sequence[int],
        hooks: Hooks,
    ) -> None:
        """sizes: of everything.

        The device's memory is taken here, or when something stored has passed by.
        """
        self._writer, self._sizes, self._prompts = writer, sizes, prompts
        self._progress = hooks.progress
        self._steps_of = hooks.steps_of
        self._stored = [
            dict(zip(sample_ids, hooks.steps_of.get(prompt.problem_id, ()), strict=False))
            for prompt in prompts
        ]
        self._mesh = writer.static.mesh
        self._watch = jax.tree.map(jax.numpy.asarray, writer.calculator.watch)
        groups = sharding.groups(self._mesh)

        def claim(problem: int) -> bool:
            return hooks.claim(prompts[problem].problem_id)

        self._queue = SolutionQueue(
            len(prompts), sample_ids, groups, sizes.prompts, sizes.prompts_at_once, claim
        )
        blocks = block_sizes(sizes.rows, sizes.prompts, sizes.samples)
        self._groups = [
            Rows(sizes.rows, writer.config.max_new_tokens, sizes.pages[0], blocks)
            for _ in range(groups)
        ]
        self._prompt_room = sizes.prompt_tokens
        self._state = None if any(self._stored) else self._empty_state()
        self._column = 0
        # By problem and sample, with its steps.
        self._ended: dict[int, dict[int, tuple[Completion, int]]] = collections.defaultdict(dict)
        self.counts = Counts()

    def run(self) -> Iterator[list[Completion]]:
        """Draws everything; gives out a problem when its last solution has ended."""
        ahead: _Step | None = None
        while True:
            # What has ended needs no more pages, and perhaps no more slots.
            if ahead is not None and self._column == cache_lib.WINDOW:
                yield from self._read(ahead)
                ahead = None
            self._refill()
            step = self._dispatch() if any(rows.busy() for rows in self._groups) else None
            if ahead is not None:
                yield from self._read(ahead)
            ahead = step
            if ahead is None and self._queue.all_begun:
                return

    # ---- what happens before a step

    def _refill(self) -> None:
        """Starts the next solutions in idle slots, as far as there are slots for their prompts."""
        while True:
            waiting = [self._start(group) for group in range(len(self._groups))]
            taken = [
                self._queue.take(group) if idle else None for group, idle in enumerate(waiting)
            ]
            if not any(each is not None for each in taken):
                return
            if any(taken):
                self._prefill([each or {} for each in taken])

    def _start(self, group: int) -> bool:
        """Starts a group's next solutions; whether slots are left idle."""
        rows = self._groups[group]
        for row in rows.idle().tolist():
            if (solution := self._queue.next(group)) is None:
                return True
            problem, sample, slot = solution
            key = sampling.sample_key(self._writer.seed, self._prompts[problem].problem_id, sample)
            rows.start(row, slot, problem, sample, key)
            rows.begun_B[row] = self.counts.steps
            rows.stored_B[row] = self._stored[problem].get(sample, 0)
        return False

    def _prefill(self, taken: Sequence[dict[int, int]]) -> None:
        """Reads each group's new prompts into their slots, all groups together."""
        self._fit_prompts()
        if self._state is None:
            if all(self._stored[problem] for fresh in taken for problem in fresh):
                return
            self._state = self._empty_state()
        at_once, none = self._sizes.prompts_at_once, self._sizes.prompts
        tokens_NS = np.zeros((len(taken) * at_once, self._prompt_room), np.int32)
        length_N = np.ones(len(tokens_NS), np.int32)
        slot_N = np.full(len(tokens_NS), none, np.int32)
        for group, fresh in enumerate(taken):
            for n, (problem, slot) in enumerate(fresh.items(), start=group * at_once):
                tokens = self._prompts[problem].tokens
                tokens_NS[n, : len(tokens)], length_N[n], slot_N[n] = tokens, len(tokens), slot
        self._state = steps.prefill(
            self._writer.static, self._writer.weights, self._state, tokens_NS, length_N, slot_N
        )

    def _empty_state(self) -> state_lib.DecodeState:
        """Room for what there is now, with nothing in it."""
        rows = self._groups[0]
        sizes = state_lib.Sizes(len(rows), rows.pages, self._sizes.prompts, self._prompt_room)
        return state_lib.empty_state(self._writer.static, self._writer.weights, sizes)

    def _fit_prompts(self) -> None:
        """Prompts come by falling length: once the long ones are done, the slots need less room."""
        longest = max(len(self._prompts[problem].tokens) for problem in self._queue.read())
        room = memory.prompt_room(longest, self._prompt_room)
        if room < self._prompt_room:
            self._prompt_room = room
            if self._state is not None:
                self._state = state_lib.resize_prompts(self._state, room, self._mesh)

    def _fewer_rows(self) -> int | None:
        """A smaller number of slots that still holds all that is left, where fewer are cheaper."""
        if not self._queue.all_begun:
            return None
        busy = max(rows.busy() for rows in self._groups)
        fitting = [rows for rows in self._sizes.fewer_rows if busy <= rows < len(self._groups[0])]
        return min(fitting, default=None)

    def _flush(self) -> None:
        """Empties the windows into pages; makes the pool and the slots fit what is left."""
        groups, mesh = self._groups, self._mesh
        pages = memory.pool_size(self._sizes.pages, max(rows.wanted_pages() for rows in groups))
        if pages > groups[0].pages:
            self._resize_pages(pages)
        page_B = np.concatenate([rows.flush() for rows in groups])
        if self._state is not None:
            self._state = state_lib.flush(self._state, page_B, mesh)
        pages = memory.pool_size(self._sizes.pages, max(rows.highest_page() for rows in groups))
        if pages < groups[0].pages:
            self._resize_pages(pages)
        if (fewer := self._fewer_rows()) is not None:
            blocks = block_sizes(fewer, self._sizes.prompts, self._sizes.samples)
            row_B = np.concatenate([rows.keep(fewer, blocks) for rows in groups])
            if self._state is not None:
                self._state = state_lib.take_rows(self._state, row_B, mesh)
        self._column = 0

    def _resize_pages(self, pages: int) -> None:
        for rows in self._groups:
            rows.resize_pages(pages)
        if self._state is not None:
            self._state = state_lib.resize_pages(
                self._state, len(self._groups[0]) + pages, self._mesh
            )

    def _dispatch(self) -> _Step:
        """Sends the next step to the device and does not wait for it."""
        if self._column == cache_lib.WINDOW:
            self._flush()
        groups, config = self._groups, self._writer.config
        start_B, go_B, forced_B, by_calculator_B = map(
            np.concatenate, zip(*(rows.orders() for rows in groups), strict=True)
        )
        number = self.counts.steps
        self._column += 1
        self.counts.steps += 1
        if self._state is None:
            return _Step(
                steps.Drawn(*np.zeros((2, len(start_B))), *np.zeros((2, len(start_B)), bool)),
                by_calculator_B,
                number,
            )
        orders = steps.Orders(
            start_B=start_B & (np.concatenate([rows.stored_B for rows in groups]) == 0),
            go_B=go_B,
            forced_B=forced_B,
            # A copy: a step under way may still read the old one.
            keys_B2=np.concatenate([rows.key_B2 for rows in groups]),
            column=np.int32(self._column - 1),
            limit=np.int32(config.max_new_tokens),
            temperature=np.float32(config.temperature),
        )
        blocks = max(rows.blocks() for rows in groups)
        indices = cache_lib.CacheIndices(**_joined([vars(rows.indices(blocks)) for rows in groups]))
        self._state, drawn = steps.generate(
            self._writer.static, self._writer.weights, self._state, indices, orders, self._watch
        )
        self.counts.slot_steps += len(start_B)
        return _Step(drawn, by_calculator_B, number)

    # ---- what happens after it

    def _read(self, step: _Step) -> Iterator[list[Completion]]:
        """Waits for a step and takes in what it wrote."""
        drawn = [
            np.asarray(array).reshape(len(self._groups), -1)
            for array in (*step.drawn, step.by_calculator_B)
        ]
        ended = [
            self._take_in(rows, *each) for rows, *each in zip(self._groups, *drawn, strict=True)
        ]
        self.counts.solutions += sum(map(len, ended))
        self._progress(self.counts)
        for group, rows in enumerate(self._groups):
            stored = np.flatnonzero(
                (rows.stored_B > 0) & (rows.begun_B + rows.stored_B == step.number + 1)
            )
            for row in sorted([*ended[group], *stored.tolist()]):
                yield from self._end(group, row, step.number)

    def _take_in(
        self,
        rows: Rows,
        token_B: np.ndarray,
        logprob_B: np.ndarray,
        written_B: np.ndarray,
        look_B: np.ndarray,
        by_calculator_B: np.ndarray,
    ) -> list[int]:
        """Notes what a group's rows wrote; those that have ended."""
        row_R = np.flatnonzero(written_B)
        rows.write(row_R, token_B[row_R], logprob_B[row_R], by_calculator_B[row_R])
        for row in np.flatnonzero(look_B).tolist():
            self._look(rows, row, int(token_B[row]), bool(written_B[row]))
        self.counts.tokens += len(row_R)
        ends_R = (token_B[row_R] == self._writer.static.end_id) | (
            rows.length_B[row_R] == self._writer.config.max_new_tokens
        )
        return list(row_R[ends_R].tolist())

    def _look(self, rows: Rows, row: int, token: int, written: bool) -> None:
        """Asks the calculator what follows a token.

        One that was held back is written now, or another instead.
        """
        tokens = rows.token_BT[row, : rows.length_B[row]].tolist()
        verdict = self._writer.calculator.look(tokens if written else [*tokens, token])
        queue = [(forced, True) for forced in verdict.queue]
        if not written and not verdict.instead:
            queue.insert(0, (token, False))
        if queue:
            rows.queue[row] = collections.deque(queue)
        rows.go_B[row] = True
        rows.errors_B[row] += verdict.errors
        self.counts.answered += bool(verdict.queue)
        self.counts.refused += verdict.errors

    def _end(self, group: int, row: int, number: int) -> Iterator[list[Completion]]:
        """Takes a solution out of its slot after a step.

        The whole problem is given out if this was its last and it is not stored.
        """
        rows = self._groups[group]
        problem = int(rows.problem_B[row])
        if not self._stored[problem]:
            self._ended[problem][int(rows.sample_B[row])] = (
                self._completion(rows, row),
                number + 1 - int(rows.begun_B[row]),
            )
        rows.release(row)
        if self._queue.ended(group, problem) and not self._stored[problem]:
            whole = [each for _, each in sorted(self._ended.pop(problem).items())]
            self._steps_of[self._prompts[problem].problem_id] = [steps for _, steps in whole]
            yield [completion for completion, _ in whole]

    def _completion(self, rows: Rows, row: int) -> Completion:
        length = int(rows.length_B[row])
        tokens = rows.token_BT[row, :length].tolist()
        return Completion(
            problem_id=self._prompts[int(rows.problem_B[row])].problem_id,
            sample_id=int(rows.sample_B[row]),
            tokens=tokens,
            forced=rows.forced_BT[row, :length].tolist(),
            logprobs=rows.logprob_BT[row, :length].tolist(),
            finish="eos" if tokens[-1] == self._writer.static.end_id else "length",
            text=self._writer.tokenizer.decode(tokens),
            calculator_errors=int(rows.errors_B[row]),
        )


def _joined(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Field by field, the groups' arrays one behind the other; None where there is none."""
    return {
        name: None if one is None else np.concatenate([fields[name] for fields in each])
        for name, one in each[0].items()
    }
