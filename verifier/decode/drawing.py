"""A job of the engine: so many solutions of every problem."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence

from verifier.decode import memory
from verifier.decode.job import Completion, Hooks, Prompt, Writer
from verifier.decode.outcomes import Ended
from verifier.decode.queue import BranchQueue
from verifier.decode.running import Running
from verifier.model import sharding
from verifier.text.tokenizer import Tokenizer


class Drawing:
    """`sample_ids` of every prompt; a problem is given out when its last solution has ended."""

    def __init__(
        self,
        writer: Writer,
        sizes: memory.JobSizes,
        prompts: Sequence[Prompt],
        sample_ids: Sequence[int],
        hooks: Hooks,
    ) -> None:
        """As in `Running`."""
        self._prompts, self._stored, self._tokenizer = prompts, hooks.stored, writer.tokenizer
        self._queue = BranchQueue(
            len(prompts),
            sample_ids,
            sharding.groups(writer.static.mesh),
            sizes.prompts,
            sizes.prompts_at_once,
            sizes.lanes if sizes.share else 1,
            lambda problem: hooks.claim(prompts[problem].problem_id),
        )
        self._ended: dict[int, list[Completion]] = collections.defaultdict(list)  # by problem
        self._running = Running(writer, sizes, prompts, self._queue, hooks)

    def run(self) -> Iterator[list[Completion]]:
        """Draws everything."""
        for group, ended in self._running.run():
            yield from self._end(group, ended)

    def _end(self, group: int, ended: Ended) -> Iterator[list[Completion]]:
        """Notes solutions that have ended.

        The whole problem is given out if these were its last and it is not stored.
        """
        problem_id = self._prompts[ended.problem].problem_id
        stored = bool(self._stored.spans.get(problem_id))
        if not stored:
            self._ended[ended.problem] += completions(ended, problem_id, self._tokenizer)
        if self._queue.ended(group, ended.problem, len(ended.samples)) and not stored:
            yield sorted(self._ended.pop(ended.problem), key=lambda each: each.sample_id)


def completions(ended: Ended, problem_id: str, tokenizer: Tokenizer) -> Iterator[Completion]:
    """The solutions of a problem that have ended alike."""
    text = tokenizer.decode(ended.tokens)
    for sample in ended.samples:
        yield Completion(
            problem_id=problem_id,
            sample_id=sample,
            tokens=ended.tokens,
            forced=ended.forced,
            logprobs=ended.logprobs,
            finish="eos" if ended.tokens[-1] == tokenizer.end_id else "length",
            text=text,
            calculator_errors=ended.errors,
            likeliest=ended.likeliest,
        )
