"""A running batch: slots are refilled as soon as what stands in them ends.

Knows neither which branches come next (`queue.Queue`) nor what becomes of what has ended. The
device is a step ahead of the host but at the end of a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from verifier.decode import memory, steps
from verifier.decode import state as state_lib
from verifier.decode.branches import Branch
from verifier.decode.job import Counts, Hooks, Prompt, Writer
from verifier.decode.outcomes import Ended, Found, Outcomes
from verifier.decode.prompt_blocks import block_sizes
from verifier.decode.queue import Queue, Taken
from verifier.decode.replay import Replay, merged
from verifier.decode.rows import Rows
from verifier.model import cache as cache_lib
from verifier.model import sampling, sharding

_COPIES = 8  # newest pages that are copied at once; more of them: as many as there are rows


class _Step(NamedTuple):
    """A step that the device is doing or has done and the host has not read yet."""

    drawn: steps.Drawn
    stored: list[steps.Drawn] | None  # what stored solutions wrote in it, by group
    by_calculator_B: np.ndarray


class Running:
    """What a queue has of some prompts is written, the prompts by falling length.

    On a mesh every group of devices has `sizes.rows` slots, lanes, prompts and pages of its own,
    and all take their steps together: what the device is given are the groups' arrays, one behind
    the other.

    Solutions that an earlier start has stored are gone through again without the device (`replay`).
    Until the first prompt is read whose solutions are not stored, there is no state on the device
    at all.
    """

    def __init__(
        self,
        writer: Writer,
        sizes: memory.JobSizes,
        prompts: Sequence[Prompt],
        queue: Queue,
        hooks: Hooks,
        may_go_on: bool = False,
    ) -> None:
        """The device's memory is taken here, or when something stored has passed by.

        Args:
            writer: of the engine.
            sizes: of everything.
            prompts: whose indices branches have.
            queue: what is written next.
            hooks: what is stored, and who is told of progress.
            may_go_on: whether branches are kept of what is over.
        """
        self._writer, self._sizes, self._prompts = writer, sizes, prompts
        self._queue = queue
        self._progress, calculator = hooks.progress, writer.calculator
        self._stored = [hooks.stored.spans.get(prompt.problem_id, {}) for prompt in prompts]
        self._mesh = writer.static.mesh
        self._watch = jax.tree.map(jax.numpy.asarray, calculator.watch)
        groups = sharding.groups(self._mesh)
        blocks = block_sizes(sizes.rows, sizes.prompts, sizes.samples, sizes.few_programs)
        limit, end_id = writer.config.max_new_tokens, writer.static.end_id
        few = sizes.share and sizes.few_programs
        own = sizes.rows, sizes.lanes, limit, sizes.pages[0], blocks, few, writer.top_logprobs
        self._groups = [Rows(*own) for _ in range(groups)]
        self._replays = [
            Replay(rows, calculator.watch, hooks.stored, self._stored, end_id)
            for rows in self._groups
        ]
        self._prompt_room = sizes.prompt_tokens
        self._state = None if any(self._stored) else self._empty_state()
        self._column = 0
        self.counts = Counts()
        self._outcomes = Outcomes(
            calculator, writer.tokenizer, hooks.stored, self._stored, self.counts, may_go_on
        )

    def run(self) -> Iterator[tuple[int, Ended]]:
        """Writes all that there is, and gives out what has ended, with its group.

        May be called again when there is more.
        """
        ahead: _Step | None = None
        while True:
            # What has ended needs no more pages, and perhaps no more slots.
            if ahead is not None and self._column == cache_lib.WINDOW:
                yield from self._read(ahead)
                ahead = None
            self._refill()
            step = self._dispatch() if any(rows.busy() for rows in self._groups) else None
            if ahead is None and step is None:
                return
            if ahead is not None:
                yield from self._read(ahead)
            ahead = step

    def rows_of(self, group: int) -> Rows:
        """The books of a group."""
        return self._groups[group]

    # ---- what happens before a step

    def _refill(self) -> None:
        """Gives idle slots what is next, as far as there are slots for their prompts."""
        if any(
            rows.parked and len(rows.idle()) < self._queue.waiting(group)
            for group, rows in enumerate(self._groups)
        ):
            self._flush_pages(parked_alone=True)
        copies: list[list[tuple[int, int, int]]] = [[] for _ in self._groups]
        while True:
            idle = [self._start(group, each) for group, each in enumerate(copies)]
            taken = [
                self._queue.take(group, len(self._groups[group].idle())) if any_ else None
                for group, any_ in enumerate(idle)
            ]
            if not any(each is not None for each in taken):
                break
            given = [each or Taken({}, []) for each in taken]
            self._leave(each for group in given for each in group.left)
            if any(each.fresh for each in given):
                self._prefill([each.fresh for each in given])
        if self._state is not None and any(copies):
            self._copy(copies)

    def _start(self, group: int, copies: list[tuple[int, int, int]]) -> bool:
        """Starts what is next of a group; whether slots are left idle."""
        rows = self._groups[group]
        for row in rows.idle().tolist():
            if (following := self._queue.next(group, rows.lanes.free())) is None:
                return True
            branch, prompt = following
            asked = self._prompts[branch.problem]
            keys = [
                sampling.sample_key(self._writer.seed, asked.problem_id, sample)
                for sample in branch.samples
            ]
            copied = rows.start(row, prompt, branch, keys, self._writer.calculator.where)
            rows.stored_B[row] = bool(self._stored[branch.problem])
            if copied is not None:
                source, length = copied
                before = self._writer.arch.before(len(asked.tokens))
                copies.append((source, row, before + length))
        return False

    def _copy(self, copies: Sequence[Sequence[tuple[int, int, int]]]) -> None:
        """Copies newest pages, those of all groups together and all at once."""
        most, rows = max(map(len, copies)), len(self._groups[0])
        room = _COPIES if most <= _COPIES else rows
        none = (0, rows + self._groups[0].pages, 0)
        padded = [[*each, *[none] * (room - len(each))] for each in copies]
        given = np.asarray(padded, np.int32).reshape(-1, 3).T
        self._state = state_lib.copy_newest(self._state, state_lib.Copies(*given), self._mesh)

    def _leave(self, branches: Iterable[tuple[int, Branch]]) -> None:
        """Branches that waited at a group go on at another one, which has none of their pages."""
        for group, branch in branches:
            self._groups[group].let_go(branch)
            branch.newest = None

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
                tokens = [*self._prompts[problem].tokens, *self._writer.arch.closing]
                tokens_NS[n, : len(tokens)], length_N[n], slot_N[n] = tokens, len(tokens), slot
        self._state = steps.prefill(
            self._writer.static, self._writer.weights, self._state, tokens_NS, length_N, slot_N
        )

    def _empty_state(self) -> state_lib.DecodeState:
        """Room for what there is now, with nothing in it."""
        rows = self._groups[0]
        sizes = state_lib.Sizes(
            len(rows), self._sizes.lanes, rows.pages, self._sizes.prompts, self._prompt_room
        )
        return state_lib.empty_state(self._writer.static, self._writer.weights, sizes)

    def _fit_prompts(self) -> None:
        """Prompts come by falling length: once the long ones are done, the slots need less room."""
        lengths = (len(self._prompts[each].tokens) for each in self._queue.problems_in_slots())
        longest = max(lengths) + len(self._writer.arch.closing)
        room = memory.prompt_room(longest, self._prompt_room)
        if room < self._prompt_room:
            self._prompt_room = room
            if self._state is not None:
                self._state = state_lib.resize_prompts(self._state, room, self._mesh)

    def _fewer_rows(self) -> int | None:
        """A smaller number of slots that still holds all that is left, where fewer are cheaper."""
        if not self._queue.all_begun:
            return None
        # Samples that are still together may yet want a row each.
        busy = max(rows.lanes.taken() for rows in self._groups)
        fitting = [rows for rows in self._sizes.fewer_rows if busy <= rows < len(self._groups[0])]
        return min(fitting, default=None)

    def _flush(self) -> None:
        """Empties the windows into pages; makes the pool and the slots fit what is left."""
        groups, mesh = self._groups, self._mesh
        self._flush_pages()
        pages = memory.pool_size(self._sizes.pages, max(rows.highest_page() for rows in groups))
        if pages < groups[0].pages:
            self._resize_pages(pages)
        if (fewer := self._fewer_rows()) is not None:
            sizes = self._sizes
            blocks = block_sizes(fewer, sizes.prompts, sizes.samples, sizes.few_programs)
            kept = [rows.keep(fewer, blocks) for rows in groups]
            for replay, row_B in zip(self._replays, kept, strict=True):
                replay.keep(row_B)
            if self._state is not None:
                self._state = state_lib.take_rows(self._state, np.concatenate(kept), mesh)
        self._column = 0

    def _flush_pages(self, parked_alone: bool = False) -> None:
        """Makes room in the pool, and empties the windows into it, of all rows or of the parked."""
        groups = self._groups
        for group in range(len(groups)):
            self._leave_room(group)
        pages = memory.pool_size(self._sizes.pages, max(rows.wanted_pages() for rows in groups))
        if pages > groups[0].pages:
            self._resize_pages(pages)
        page_B, before_B = [], []
        for group, rows in enumerate(groups):
            before = self._writer.arch.before
            asked = [
                before(len(self._prompts[problem].tokens)) for problem in rows.problem_B.tolist()
            ]
            own_B, upto_B = rows.flush(self._queue.holding(group), parked_alone)
            page_B.append(own_B)
            before_B.append(upto_B + np.asarray(asked, np.int32))
        if self._state is not None:
            both = np.concatenate(page_B), np.concatenate(before_B)
            self._state = state_lib.flush(self._state, *both, self._mesh)

    def _leave_room(self, group: int) -> None:
        """What waits gives up its pages where running rows need the room."""
        rows = self._groups[group]
        for branch in self._queue.holding(group):
            if rows.wanted_pages() > self._sizes.pages[-1]:
                rows.let_go(branch)

    def _resize_pages(self, pages: int) -> None:
        for rows in self._groups:
            rows.resize_pages(pages)
        if self._state is not None:
            self._state = state_lib.resize_pages(self._state, pages, self._mesh)

    def _dispatch(self) -> _Step:
        """Sends the next step to the device and does not wait for it."""
        if self._column == cache_lib.WINDOW:
            self._flush()
        groups, config = self._groups, self._writer.config
        common = {
            "column": np.int32(self._column),
            "temperature": np.float32(config.temperature),
        }
        given, by_calculator = zip(*(rows.orders() for rows in groups), strict=True)
        by_calculator_B = np.concatenate(by_calculator)
        self._column += 1
        self.counts.steps += 1
        stored = None
        if any(rows.stored_B.any() for rows in groups):
            stored = [
                replay.step(steps.Orders(**each, **common))
                for replay, each in zip(self._replays, given, strict=True)
            ]
        if self._state is None:
            assert stored is not None
            return _Step(
                steps.Drawn(**_joined([one._asdict() for one in stored])), None, by_calculator_B
            )
        for rows, each in zip(groups, given, strict=True):
            each["start_B"] = each["start_B"] & ~rows.stored_B
        orders = steps.Orders(**_joined(given), **common)
        needed = tuple(map(max, zip(*(rows.needed() for rows in groups), strict=True)))
        indices = cache_lib.CacheIndices(
            **_joined([vars(rows.indices(*needed)) for rows in groups])
        )
        self._state, drawn = steps.generate(
            self._writer.static, self._writer.weights, self._state, indices, orders, self._watch
        )
        self.counts.slot_steps += len(by_calculator_B)
        return _Step(drawn, stored, by_calculator_B)

    # ---- what happens after it

    def _read(self, step: _Step) -> Iterator[tuple[int, Ended]]:
        """Waits for a step and takes in what it wrote."""
        count = len(self._groups)
        device = [
            array if array is None else np.asarray(array).reshape(count, -1, *array.shape[1:])
            for array in step.drawn
        ]
        by_calculator = step.by_calculator_B.reshape(count, -1)
        every: list[Found] = []
        for group, rows in enumerate(self._groups):
            drawn = steps.Drawn(*(array if array is None else array[group] for array in device))
            if step.stored is not None:
                drawn = merged(rows, drawn, step.stored[group])
            every.append(self._outcomes.take_in(rows, drawn, by_calculator[group]))
            for branch in every[group].branches:
                self._queue.put(group, branch)
        self.counts.solutions += sum(
            len(each.samples)
            for found in every
            for each in found.ended
            if not self._stored[each.problem]
        )
        self._progress(self.counts)
        for rows, found in zip(self._groups, every, strict=True):
            for row in found.over:
                if row not in rows.parked:
                    rows.release(row)
        for group, found in enumerate(every):
            for each in found.ended:
                yield group, each


def _joined(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Field by field, the groups' arrays one behind the other; None where there is none."""
    return {
        name: None if one is None else np.concatenate([fields[name] for fields in each])
        for name, one in each[0].items()
    }
