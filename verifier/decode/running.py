"""A running batch: slots are refilled as soon as what stands in them ends.

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
from verifier.decode.branches import Branch
from verifier.decode.job import Completion, Counts, Hooks, Prompt, Writer
from verifier.decode.outcomes import Ended, Found, Outcomes
from verifier.decode.prompt_blocks import block_sizes
from verifier.decode.queue import BranchQueue
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
    """One job of the engine: `sample_ids` of every prompt, the prompts by falling length.

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
        sample_ids: Sequence[int],
        hooks: Hooks,
    ) -> None:
        """sizes: of everything.

        The device's memory is taken here, or when something stored has passed by.
        """
        self._writer, self._sizes, self._prompts = writer, sizes, prompts
        self._progress, calculator = hooks.progress, writer.calculator
        self._stored = [hooks.stored.spans.get(prompt.problem_id, {}) for prompt in prompts]
        self._mesh = writer.static.mesh
        self._watch = jax.tree.map(jax.numpy.asarray, calculator.watch)
        groups = sharding.groups(self._mesh)

        def claim(problem: int) -> bool:
            return hooks.claim(prompts[problem].problem_id)

        self._queue = BranchQueue(
            len(prompts),
            sample_ids,
            groups,
            sizes.prompts,
            sizes.prompts_at_once,
            sizes.lanes if sizes.share else 1,
            claim,
            self._leaves,
        )
        blocks = block_sizes(sizes.rows, sizes.prompts, sizes.samples, sizes.few_programs)
        limit, end_id = writer.config.max_new_tokens, writer.static.end_id
        few = sizes.share and sizes.few_programs
        self._groups = [
            Rows(sizes.rows, sizes.lanes, limit, sizes.pages[0], blocks, few) for _ in range(groups)
        ]
        self._replays = [
            Replay(rows, calculator.watch, hooks.stored, self._stored, end_id)
            for rows in self._groups
        ]
        self._prompt_room = sizes.prompt_tokens
        self._state = None if any(self._stored) else self._empty_state()
        self._column = 0
        self._ended: dict[int, list[Completion]] = collections.defaultdict(list)  # by problem
        self.counts = Counts()
        self._outcomes = Outcomes(
            calculator, writer.tokenizer, limit, hooks.stored, self._stored, self.counts
        )

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
        """Gives idle slots what is next, as far as there are slots for their prompts."""
        copies: list[list[tuple[int, int, int]]] = [[] for _ in self._groups]
        while True:
            idle = [self._start(group, each) for group, each in enumerate(copies)]
            taken = [self._queue.take(group) if any_ else None for group, any_ in enumerate(idle)]
            if not any(each is not None for each in taken):
                break
            if any(taken):
                self._prefill([each or {} for each in taken])
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
                copies.append((source, row, len(asked.tokens) + length))
        return False

    def _copy(self, copies: Sequence[Sequence[tuple[int, int, int]]]) -> None:
        """Copies newest pages, those of all groups together and all at once."""
        most, rows = max(map(len, copies)), len(self._groups[0])
        room = _COPIES if most <= _COPIES else rows
        none = (0, rows + self._groups[0].pages, 0)
        padded = [[*each, *[none] * (room - len(each))] for each in copies]
        given = np.asarray(padded, np.int32).reshape(-1, 3).T
        self._state = state_lib.copy_newest(self._state, state_lib.Copies(*given), self._mesh)

    def _leaves(self, group: int, branch: Branch) -> None:
        """A branch that waits at a group goes on at another one, which has none of its pages."""
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
                tokens = self._prompts[problem].tokens
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
        # Samples that are still together may yet want a row each.
        busy = max(rows.lanes.taken() for rows in self._groups)
        fitting = [rows for rows in self._sizes.fewer_rows if busy <= rows < len(self._groups[0])]
        return min(fitting, default=None)

    def _flush(self) -> None:
        """Empties the windows into pages; makes the pool and the slots fit what is left."""
        groups, mesh = self._groups, self._mesh
        for group in range(len(groups)):
            self._leave_room(group)
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
            sizes = self._sizes
            blocks = block_sizes(fewer, sizes.prompts, sizes.samples, sizes.few_programs)
            kept = [rows.keep(fewer, blocks) for rows in groups]
            for replay, row_B in zip(self._replays, kept, strict=True):
                replay.keep(row_B)
            if self._state is not None:
                self._state = state_lib.take_rows(self._state, np.concatenate(kept), mesh)
        self._column = 0

    def _leave_room(self, group: int) -> None:
        """What waits gives up its pages where running rows need the room."""
        rows = self._groups[group]
        for branch in self._queue.waiting(group):
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
            "limit": np.int32(config.max_new_tokens),
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

    def _read(self, step: _Step) -> Iterator[list[Completion]]:
        """Waits for a step and takes in what it wrote."""
        count = len(self._groups)
        device = [np.asarray(array).reshape(count, -1) for array in step.drawn]
        by_calculator = step.by_calculator_B.reshape(count, -1)
        every: list[Found] = []
        for group, rows in enumerate(self._groups):
            drawn = steps.Drawn(*(array[group] for array in device))
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
                rows.release(row)
        for group, found in enumerate(every):
            for each in found.ended:
                yield from self._end(group, each)

    def _end(self, group: int, ended: Ended) -> Iterator[list[Completion]]:
        """Notes solutions that have ended.

        The whole problem is given out if these were its last and it is not stored.
        """
        problem, stored = ended.problem, bool(self._stored[ended.problem])
        if not stored:
            asked = self._prompts[problem].problem_id
            self._ended[problem] += self._outcomes.completions(ended, asked)
        if self._queue.ended(group, problem, len(ended.samples)) and not stored:
            yield sorted(self._ended.pop(problem), key=lambda each: each.sample_id)


def _joined(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Field by field, the groups' arrays one behind the other; None where there is none."""
    return {
        name: None if one is None else np.concatenate([fields[name] for fields in each])
        for name, one in each[0].items()
    }
