"""A running batch: slots are refilled as soon as a solution ends, and the device is a step ahead of the host but at the end of a window.

Knows no table.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from verifier.config import SampleConfig
from verifier.decode import memory, steps
from verifier.decode.annotations import Calculator
from verifier.decode.rows import Rows
from verifier.decode.seating import places
from verifier.model import cache as cache_lib
from verifier.model import sampling
from verifier.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What a problem's solutions are drawn from: start tokens and the rendered question."""

    problem_id: str
    tokens: Sequence[int]


@dataclasses.dataclass(frozen=True)
class Completion:
    """One drawn solution. The lists run over its tokens; the end token, where it came, is the last one."""

    problem_id: str
    sample_id: int
    tokens: list[int]
    forced: list[bool]  # written by the calculator
    logprobs: list[float]  # the model's own, temperature 1; of forced tokens too
    finish: str  # "eos" | "length"
    text: str  # without the end token
    calculator_errors: int  # annotations that could not be evaluated


@dataclasses.dataclass
class Counts:
    """What a batch has done so far."""

    solutions: int = 0  # ended
    tokens: int = 0  # written
    steps: int = 0
    slot_steps: int = 0  # tokens that could have been written: slots summed over steps
    answered: int = 0  # annotations that the calculator wrote the result of
    refused: int = 0  # annotations that it could not evaluate


class _Step(NamedTuple):
    """A step that the device is doing or has done and the host has not read yet."""

    drawn: steps.Drawn
    by_calculator_B: np.ndarray


@dataclasses.dataclass(frozen=True)
class Writer:
    """What every job of an engine needs."""

    static: steps.DecodeStatic
    weights: steps.Weights
    tokenizer: Tokenizer
    calculator: Calculator
    config: SampleConfig
    seed: int


class Running:
    """One job of the engine: `sample_ids` of every prompt, the prompts in their order, by falling length."""

    def __init__(
        self, writer: Writer, plan: memory.Plan, prompts: Sequence[Prompt], sample_ids: Sequence[int], progress: Callable[[Counts], None]
    ) -> None:
        """plan: sizes of everything. The device's memory is taken here."""
        self._writer, self._plan, self._prompts, self._progress = writer, plan, prompts, progress
        self._watch = jax.tree.map(jax.numpy.asarray, writer.calculator.watch)
        self._rows = Rows(plan.rows, writer.config.max_new_tokens, plan.pages[0], places(plan.rows, plan.prompts, plan.samples))
        self._prompt_room = plan.prompt_tokens
        sizes = steps.Sizes(plan.rows, plan.pages[0], plan.prompts, plan.prompt_tokens)
        self._state = steps.empty_state(writer.static, writer.weights, sizes)
        self._free = collections.deque(range(plan.prompts))  # prompt slots
        self._slot_of: dict[int, int] = {}  # of problems that are read or being written
        self._column = 0
        self._todo = collections.deque((problem, sample) for problem in range(len(prompts)) for sample in sample_ids)
        self._unread = collections.deque(range(len(prompts)))
        self._left = dict.fromkeys(range(len(prompts)), len(sample_ids))
        self._ended: dict[int, list[Completion]] = collections.defaultdict(list)
        self.counts = Counts()

    def run(self) -> Iterator[list[Completion]]:
        """Draws everything; gives out a problem when its last solution has ended."""
        ahead: _Step | None = None
        while True:
            if ahead is not None and self._column == cache_lib.WINDOW:  # what has ended needs no more pages, and perhaps no more slots
                yield from self._read(ahead)
                ahead = None
            self._refill()
            step = self._dispatch() if len(self._rows.idle()) < len(self._rows) else None
            if ahead is not None:
                yield from self._read(ahead)
            ahead = step
            if ahead is None and not self._todo:
                return

    # ---- what happens before a step

    def _refill(self) -> None:
        """Starts the next solutions in idle slots, as far as their prompts have been read."""
        for row in self._rows.idle().tolist():
            if not self._todo:
                return
            problem, sample = self._todo[0]
            if problem not in self._slot_of and not self._prefill():
                return  # all prompt slots are taken by problems with solutions still being written
            self._todo.popleft()
            key = sampling.sample_key(self._writer.seed, self._prompts[problem].problem_id, sample)
            self._rows.start(row, self._slot_of[problem], problem, sample, key)

    def _prefill(self) -> bool:
        """Reads the next prompts, as many as are read at once; whether there were free slots for them."""
        count = min(self._plan.prompts_at_once, len(self._unread))
        if len(self._free) < count:
            return False
        problems = [self._unread.popleft() for _ in range(count)]
        self._fit_prompts(problems)
        tokens_NS = np.zeros((self._plan.prompts_at_once, self._prompt_room), np.int32)
        length_N = np.ones(self._plan.prompts_at_once, np.int32)
        slot_N = np.full(self._plan.prompts_at_once, self._plan.prompts, np.int32)
        for n, problem in enumerate(problems):
            tokens = self._prompts[problem].tokens
            tokens_NS[n, : len(tokens)], length_N[n] = tokens, len(tokens)
            slot_N[n] = self._slot_of[problem] = self._free.popleft()
        self._state = steps.prefill(self._writer.static, self._writer.weights, self._state, tokens_NS, length_N, slot_N)
        return True

    def _fit_prompts(self, problems: Sequence[int]) -> None:
        """Prompts come by falling length: once the long ones are done, the slots need less room."""
        longest = max(len(self._prompts[problem].tokens) for problem in (*problems, *self._slot_of))
        room = memory.prompt_room(longest, self._prompt_room)
        if room < self._prompt_room:
            self._prompt_room = room
            self._state = steps.resize_prompts(self._state, room)

    def _fewer_rows(self) -> int | None:
        """A smaller number of slots that still holds all that is left, where fewer slots are cheaper."""
        if self._todo:
            return None
        busy = len(self._rows) - len(self._rows.idle())
        fitting = [rows for rows in self._plan.fewer_rows if busy <= rows < len(self._rows)]
        return min(fitting, default=None)

    def _flush(self) -> None:
        """Empties the windows into pages; makes the pool and the slots fit what is left."""
        rows = self._rows
        pages = memory.pool_size(self._plan.pages, rows.wanted_pages())
        if pages > rows.pages:
            self._resize_pages(pages)
        self._state = steps.flush(self._state, rows.flush())
        pages = memory.pool_size(self._plan.pages, rows.highest_page())
        if pages < rows.pages:
            self._resize_pages(pages)
        if (fewer := self._fewer_rows()) is not None:
            row_B = rows.keep(fewer, places(fewer, self._plan.prompts, self._plan.samples))
            self._state = steps.take_rows(self._state, row_B)
        self._column = 0

    def _resize_pages(self, pages: int) -> None:
        self._rows.resize_pages(pages)
        self._state = steps.resize_pages(self._state, len(self._rows) + pages)

    def _dispatch(self) -> _Step:
        """Sends the next step to the device and does not wait for it."""
        if self._column == cache_lib.WINDOW:
            self._flush()
        rows, config = self._rows, self._writer.config
        start_B, go_B, forced_B, by_calculator_B = rows.orders()
        orders = steps.Orders(
            start_B=start_B,
            go_B=go_B,
            forced_B=forced_B,
            keys_B2=rows.key_B2.copy(),  # a step under way may still read the old one
            column=np.int32(self._column),
            limit=np.int32(config.max_new_tokens),
            temperature=np.float32(config.temperature),
        )
        self._state, drawn = steps.generate(self._writer.static, self._writer.weights, self._state, rows.seating(), orders, self._watch)
        self._column += 1
        self.counts.steps += 1
        self.counts.slot_steps += len(rows)
        return _Step(drawn, by_calculator_B)

    # ---- what happens after it

    def _read(self, step: _Step) -> Iterator[list[Completion]]:
        """Waits for a step and takes in what it wrote."""
        rows = self._rows
        token_B, logprob_B, written_B, look_B = (np.asarray(array) for array in step.drawn)
        row_R = np.flatnonzero(written_B)
        rows.write(row_R, token_B[row_R], logprob_B[row_R], step.by_calculator_B[row_R])
        for row in np.flatnonzero(look_B).tolist():
            self._look(row, int(token_B[row]), bool(written_B[row]))
        ended_R = row_R[(token_B[row_R] == self._writer.static.end_id) | (rows.length_B[row_R] == self._writer.config.max_new_tokens)]
        self.counts.tokens += len(row_R)
        self.counts.solutions += len(ended_R)
        self._progress(self.counts)
        for row in ended_R.tolist():
            yield from self._end(row)

    def _look(self, row: int, token: int, written: bool) -> None:
        """Asks the calculator what follows a token; one that was held back is written now, or another in its place."""
        rows = self._rows
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

    def _end(self, row: int) -> Iterator[list[Completion]]:
        """Takes a solution out of its slot; its whole problem is given out if it was the last."""
        rows, problem = self._rows, int(self._rows.problem_B[row])
        self._ended[problem].append(self._completion(row))
        rows.release(row)
        self._left[problem] -= 1
        if not self._left[problem]:
            self._free.append(self._slot_of.pop(problem))
            yield sorted(self._ended.pop(problem), key=lambda completion: completion.sample_id)

    def _completion(self, row: int) -> Completion:
        rows = self._rows
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
