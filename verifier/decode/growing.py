"""Branches that others ask for: from any place of a solution to the end of a step, or further.

    root = growing.root(problem)
    growing.extend(root, samples=[0, 1, 2, 3], limit=200, to_step_end=True)
    for ended in growing.run():         # [0, 3] wrote the same; [1]; [2]
        growing.extend(ended.branch, [0, 1], 200, to_step_end=True)  # goes on from there
        growing.drop(ended.branch)      # nothing more is asked of it

What lies before a branch's end is read from the pages that hold it. Where memory is short its pages
are given up and its tokens are read once more: nothing but time depends on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from verifier.decode import branches, memory
from verifier.decode.branches import Branch
from verifier.decode.job import NOTHING_STORED, Counts, Hooks, Prompt, Writer
from verifier.decode.lanes import rank_of
from verifier.decode.outcomes import Ended
from verifier.decode.queue import OpenQueue
from verifier.decode.rows import Rows
from verifier.decode.running import Running
from verifier.model import sharding


class Growing:
    """A job whose branches are asked for while it runs."""

    def __init__(
        self,
        writer: Writer,
        sizes: memory.JobSizes,
        prompts: Sequence[Prompt],
        progress: Callable[[Counts], None] = lambda _: None,
    ) -> None:
        """As in `Running`; nothing is asked yet.

        Roots are to be asked in the order of the prompts, by falling length.
        """
        # who asks for branches has no use for distributions
        static = dataclasses.replace(writer.static, top_logprobs=0)
        writer = dataclasses.replace(writer, static=static)
        # samples that think do so each by itself, and go on in rows of their own
        self._writer, self._lanes = writer, 1 if static.thinking else sizes.lanes
        groups = sharding.groups(writer.static.mesh)
        self._queue = OpenQueue(groups, sizes.prompts, sizes.prompts_at_once)
        hooks = Hooks(progress, lambda _: True, NOTHING_STORED)
        # Rows that are parked have a prompt as well: there may be any number of one.
        # Pages come and go more often here: every other size, the largest among them, makes fewer
        # programs.
        sizes = dataclasses.replace(sizes, samples=sizes.rows, pages=sizes.pages[::-2][::-1])
        self._running = Running(writer, sizes, prompts, self._queue, hooks, may_go_on=True)

    @property
    def counts(self) -> Counts:
        """What has been done so far."""
        return self._running.counts

    def root(self, problem: int) -> Branch:
        """The end of a prompt."""
        return branches.root(problem, [])

    def extend(self, branch: Branch, samples: Sequence[int], limit: int, to_step_end: bool) -> None:
        """Asks for samples that go on from a branch's end; `run` writes them.

        Args:
            branch: may be asked again.
            samples: ids; each draws token t of the solution with a number that depends on the
                seed, the problem, the id and t alone. More than are drawn at once are given out in
                parts, which may be alike. Nothing is drawn for ids below 0, which take tokens by
                their rank (`lanes.ranked`): the most likely one at every step, others at the only
                one.
            limit: tokens of the solution, more than the branch has, at which it is over.
            to_step_end: whether it is over where a step ends, too.

        Raises:
            ValueError: no samples, a limit that leaves no room, or ranks that there are none of.
        """
        written = len(branch.logprobs)  # of its queue the first
        most = self._writer.config.max_new_tokens
        if not len(samples):
            raise ValueError("no samples go on from a branch; expected at least one")
        rank = max((int(rank_of(sample)) for sample in samples if sample < 0), default=0)
        if rank > 1 and limit > written + 1:
            raise ValueError(
                f"the token of rank {rank} is asked for {limit - written} times in a row; "
                "expected once, or rank 1"
            )
        if not written < limit <= most:
            raise ValueError(
                f"a branch of {written} tokens is to end at {limit}; expected {written + 1} to "
                f"{most}, the most of a solution (sample.max_new_tokens)"
            )
        for first in range(0, len(samples), self._lanes):
            own = branch
            if branch.problem in self._queue.group_of:
                own = self._rows(branch.problem).twin(branch)
            part = list(samples[first : first + self._lanes])
            self._queue.ask(
                dataclasses.replace(own, samples=part, limit=limit, to_step_end=to_step_end)
            )

    def follow(
        self, branch: Branch, sample: int, tokens: Sequence[int], forced: Sequence[bool]
    ) -> None:
        """Asks for given tokens to be read from a branch's end on; `run` gives out what stands
        there then, as of a sample.

        Args:
            branch: may be asked again; nothing is left of what the calculator had to write.
            sample: its id.
            tokens: that are read.
            forced: which of them the calculator wrote.
        """
        assert not branch.queue, "a branch in the middle of what the calculator writes"
        own = branch
        if branch.problem in self._queue.group_of:
            own = self._rows(branch.problem).twin(branch)
        given = list(zip(tokens, forced, strict=True))
        limit = len(branch.tokens) + len(given)
        self._queue.ask(dataclasses.replace(own, samples=[sample], queue=given, limit=limit))

    def drop(self, branch: Branch) -> None:
        """Lets a branch's pages go."""
        if self._queue.drop(branch):
            self._rows(branch.problem).let_go(branch)

    def close(self, problem: int) -> None:
        """Nothing more is asked of a problem, all of whose samples have ended."""
        if problem in self._queue.group_of:
            rows = self._rows(problem)
            for branch in self._queue.close(problem):
                rows.let_go(branch)

    def run(self) -> Iterator[Ended]:
        """Writes all that was asked, and what is asked meanwhile.

        Samples that have written alike are given out together, from the solution's first token on.
        """
        for _, ended in self._running.run():
            assert ended.branch is not None
            self._queue.hold(ended.branch)
            yield ended

    def _rows(self, problem: int) -> Rows:
        return self._running.rows_of(self._queue.group_of[problem])
