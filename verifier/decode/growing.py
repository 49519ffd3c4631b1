"""Branches that others ask for: from any place of a solution to the end of a step, or further.

    root = growing.root(problem)
    growing.ask(growing.fork(root, samples=[0, 1, 2, 3], limit=200, to_step_end=True))
    for grown in growing.run():         # [0, 3] wrote the same; [1]; [2]
        growing.ask(growing.fork(grown.branch, [0, 1], 200, True))   # goes on from there
        growing.drop(grown.branch)      # a branch that nothing is asked of any more

What lies before a branch's end is read from the pages that hold it. Where memory is short its pages
are given up and its tokens are read once more: nothing but time depends on it.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from verifier.decode import branches, memory
from verifier.decode.branches import Branch
from verifier.decode.job import NOTHING_STORED, Counts, Hooks, Prompt, Writer
from verifier.decode.outcomes import Ended
from verifier.decode.queue import Next, Taken
from verifier.decode.rows import Rows
from verifier.decode.running import Running
from verifier.model import sharding


class Grown(NamedTuple):
    """What some samples have written alike, from the solution's first token on."""

    problem: int  # index of its prompt
    samples: list[int]
    tokens: list[int]
    forced: list[bool]
    logprobs: list[float]
    errors: int
    branch: Branch  # from there on


class OpenQueue:
    """What is asked of branches; problems stay open, with their prompts in slots, until closed."""

    def __init__(self, groups: int, prompts: int, at_once: int) -> None:
        """Nothing is asked yet.

        Args:
            groups: of devices; all branches of a problem are written by one.
            prompts: slots of a group.
            at_once: prompts that a group reads together.
        """
        self._at_once = at_once
        self._free = [list(range(prompts)) for _ in range(groups)]
        self._todo: list[list[Branch]] = [[] for _ in range(groups)]  # the next one last
        self._unread: dict[int, list[Branch]] = {}  # by problem without a slot
        self.group_of: dict[int, int] = {}
        self._slot_of: dict[int, int] = {}
        self._held: dict[int, dict[int, Branch]] = collections.defaultdict(dict)  # by problem

    def ask(self, branch: Branch) -> None:
        """A branch waits for a slot, and its problem's first one for the prompt's, too."""
        if branch.problem in self._slot_of:
            self._todo[self.group_of[branch.problem]].append(branch)
        else:
            self._unread.setdefault(branch.problem, []).append(branch)

    def hold(self, branch: Branch) -> None:
        """A branch is kept that something may be asked of."""
        self._held[branch.problem][id(branch)] = branch

    def drop(self, branch: Branch) -> bool:
        """Nothing is asked of a branch any more; whether it was kept until now."""
        return self._held[branch.problem].pop(id(branch), None) is not None

    def close(self, problem: int) -> list[Branch]:
        """Frees the prompt's slot; the branches that were kept until now."""
        if problem in self._slot_of:
            self._free[self.group_of.pop(problem)].append(self._slot_of.pop(problem))
        return list(self._held.pop(problem, {}).values())

    def next(self, group: int, lanes: int) -> Next | None:
        """As in `BranchQueue`."""
        todo = self._todo[group]
        if not todo or len(todo[-1].samples) > lanes:
            return None
        branch = todo.pop()
        return Next(branch, self._slot_of[branch.problem])

    def put(self, group: int, branch: Branch) -> None:
        """As in `BranchQueue`."""
        self._todo[group].append(branch)

    def waiting(self, group: int) -> int:
        """As in `BranchQueue`."""
        return len(self._todo[group])

    def holding(self, group: int) -> Sequence[Branch]:
        """As in `BranchQueue`; what is kept goes before what is to be written next."""
        kept = [
            branch
            for problem, held in self._held.items()
            if self.group_of.get(problem) == group
            for branch in held.values()
        ]
        return [*kept, *self._todo[group]]

    def take(self, group: int, idle: int) -> Taken | None:
        """As in `BranchQueue`: problems whose prompts have not been read, in their order."""
        if self._todo[group] or not self._unread or not self._free[group]:
            return None
        fresh = {}
        for problem in sorted(self._unread)[: min(self._at_once, len(self._free[group]))]:
            fresh[problem] = self._free[group].pop(0)
            self.group_of[problem], self._slot_of[problem] = group, fresh[problem]
            self._todo[group][:0] = reversed(self._unread.pop(problem))
        return Taken(fresh, [])

    def read(self) -> list[int]:
        """As in `BranchQueue`."""
        return list(self._slot_of)

    @property
    def all_begun(self) -> bool:
        """There may always be more."""
        return False


class Growing:
    """A job whose branches are asked for while it runs."""

    def __init__(
        self,
        writer: Writer,
        sizes: memory.JobSizes,
        prompts: Sequence[Prompt],
        hooks: Hooks | None = None,
    ) -> None:
        """As in `Running`; nothing is asked yet.

        Roots are to be asked in the order of the prompts, by falling length.
        """
        self._writer, self._lanes = writer, sizes.lanes
        groups = sharding.groups(writer.static.mesh)
        self._queue = OpenQueue(groups, sizes.prompts, sizes.prompts_at_once)
        hooks = hooks or Hooks(lambda _: None, lambda _: True, NOTHING_STORED)
        # Rows that are parked have a prompt as well.
        sizes = dataclasses.replace(sizes, samples=min(2 * sizes.samples, sizes.rows))
        self._running = Running(writer, sizes, prompts, self._queue, self._end, hooks, True)

    @property
    def counts(self) -> Counts:
        """What has been done so far."""
        return self._running.counts

    def root(self, problem: int) -> Branch:
        """The end of a prompt."""
        return branches.root(problem, [])

    def fork(self, branch: Branch, samples: Sequence[int], limit: int, to_step_end: bool) -> Branch:
        """Samples that go on from a branch's end.

        Args:
            branch: may be asked again, and for any number of forks.
            samples: ids; each draws token t of the solution with a number that depends on the
                seed, the problem, the id and t alone.
            limit: tokens of the solution, more than the branch has, at which it is over.
            to_step_end: whether it is over where a step ends, too.

        Raises:
            ValueError: no samples, more than are drawn at once, or a limit that leaves no room.
        """
        written = len(branch.tokens) + (branch.logprob is not None)  # of its queue the first
        most = self._writer.config.max_new_tokens
        if not 0 < len(samples) <= self._lanes:
            raise ValueError(
                f"{len(samples)} samples go on from one place; expected 1 to {self._lanes}: as "
                "many as are drawn at once (sample.rows)"
            )
        if not written < limit <= most:
            raise ValueError(
                f"a branch of {written} tokens is to end at {limit}; expected {written + 1} to "
                f"{most}, the most of a solution (sample.max_new_tokens)"
            )
        if branch.problem in self._queue.group_of:
            branch = self._rows(branch.problem).again(branch)
        return dataclasses.replace(
            branch, samples=list(samples), limit=limit, to_step_end=to_step_end
        )

    def ask(self, branch: Branch) -> None:
        """Writes what `fork` gave."""
        self._queue.ask(branch)

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

    def run(self) -> Iterator[Grown]:
        """Writes all that was asked, and what is asked meanwhile."""
        return self._running.run()

    def _rows(self, problem: int) -> Rows:
        return self._running.rows_of(self._queue.group_of[problem])

    def _end(self, group: int, ended: Ended) -> Iterator[Grown]:
        assert ended.branch is not None
        self._queue.hold(ended.branch)
        yield Grown(*ended[:-1], ended.branch)
