"""What is written next, and by which group of devices.

Problems go to whoever has slots free.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from verifier.decode.branches import Branch, root


class Next(NamedTuple):
    """Samples that go on together."""

    branch: Branch
    slot: int  # of their prompt, in their group


class Taken(NamedTuple):
    """Branches that a group takes over."""

    fresh: dict[int, int]  # problems that it must read for them, with their prompt slots
    left: list[tuple[int, Branch]]  # those that had waited at another group, and which one


class Queue(Protocol):
    """What a running batch is to write."""

    def next(self, group: int, lanes: int) -> Next | None:
        """What a group goes on with, if it has that many lanes free; None: nothing, or too many
        samples.
        """

    def put(self, group: int, branch: Branch) -> None:
        """A branch of what the group writes waits for a slot."""

    def waiting(self, group: int) -> int:
        """How many branches wait for a slot of a group."""

    def holding(self, group: int) -> Sequence[Branch]:
        """The branches in no row that hold pages of a group, the first to give them up first."""

    def take(self, group: int, idle: int) -> Taken | None:
        """More branches for a group none of whose own waits; None: nothing is left for it, or there
        is no slot for a prompt.

        Args:
            group: of devices.
            idle: slots of it in which nothing is written.
        """

    def problems_in_slots(self) -> list[int]:
        """Problems whose prompts lie in some slot."""

    @property
    def all_begun(self) -> bool:
        """Whether nothing waits and nothing new will come."""


class _Group:
    """What one group of devices has before it."""

    def __init__(self, prompts: int) -> None:
        self.todo: list[Branch] = []  # the next one last; their prompts are read
        self.free = collections.deque(range(prompts))  # prompt slots
        self.slot_of: dict[int, int] = {}  # of problems whose solutions this group writes
        self.unended: dict[int, int] = {}  # how many of them


class BranchQueue:
    """Problems in their order, each read by one group of devices, which writes its solutions.

    A group goes on with the branch that came last, so that few of them wait, and takes the next
    problems when none does. When no problem is left, it takes over half of what waits at the group
    that is furthest behind, reading that prompt once more: no group waits for another's last
    problem.
    """

    def __init__(
        self,
        problems: int,
        sample_ids: Sequence[int],
        groups: int,
        prompts: int,
        at_once: int,
        together: int,
        claim: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """Everything is still to be written.

        Args:
            problems: how many.
            sample_ids: of every problem.
            groups: of devices.
            prompts: slots of a group.
            at_once: prompts that a group reads together.
            together: most samples of a problem that begin as one branch; 1: nothing is shared.
            claim: as in `Engine.run`, of a problem's index.
        """
        self._unread = collections.deque(range(problems))
        self._claim = claim
        self._sample_ids, self._at_once, self._together = list(sample_ids), at_once, together
        self._groups = [_Group(prompts) for _ in range(groups)]
        self._left = dict.fromkeys(range(problems), len(self._sample_ids))

    def next(self, group: int, lanes: int) -> Next | None:
        """What a group goes on with, if it has that many lanes free; None: nothing, or too many
        samples.
        """
        own = self._groups[group]
        if not own.todo or len(own.todo[-1].samples) > lanes:
            return None
        branch = own.todo.pop()
        return Next(branch, own.slot_of[branch.problem])

    def put(self, group: int, branch: Branch) -> None:
        """A branch of what the group writes waits for a slot."""
        self._groups[group].todo.append(branch)

    def waiting(self, group: int) -> int:
        """How many branches wait for a slot of a group."""
        return len(self._groups[group].todo)

    def holding(self, group: int) -> Sequence[Branch]:
        """The branches in no row that hold pages of a group, the longest waiting first."""
        return self._groups[group].todo

    def take(self, group: int, idle: int) -> Taken | None:
        """More branches for a group none of whose own waits; None: nothing is left for it, or there
        is no slot for a prompt.

        Samples begin in as many rows as there are slots for all that are left: what they had in
        common would save no step, and each parting takes two.

        Args:
            group: of devices.
            idle: slots of it in which nothing is written.
        """
        own = self._groups[group]
        if own.todo:
            return None
        if self._unread and len(own.free) < min(self._at_once, len(self._unread)):
            return None
        left = len(self._unread) * len(self._sample_ids)
        slots = max(idle * len(self._groups), 1)
        together = min(max(-(-left // slots), 1), self._together)
        if taken := self._claimed():
            parts = self._parts(together)
            branches = [root(problem, part) for problem in taken for part in parts]
            moved: list[tuple[int, Branch]] = []
        else:
            moved = self._taken_over(group)
            branches = [branch for _, branch in moved]
            taken = list(dict.fromkeys(branch.problem for branch in branches))
        if not branches:
            return None
        own.todo.extend(reversed(branches))
        for branch in branches:
            self._count(own, branch.problem, len(branch.samples))
        fresh = {problem: own.free.popleft() for problem in taken if problem not in own.slot_of}
        own.slot_of |= fresh
        return Taken(fresh, moved)

    def ended(self, group: int, problem: int, samples: int) -> bool:
        """Some solutions have ended; whether they were the last of their problem."""
        self._count(self._groups[group], problem, -samples)
        self._left[problem] -= samples
        return not self._left[problem]

    def problems_in_slots(self) -> list[int]:
        """As `Queue` says."""
        return [problem for group in self._groups for problem in group.slot_of]

    @property
    def all_begun(self) -> bool:
        return not self._unread and not any(group.todo for group in self._groups)

    def _claimed(self) -> list[int]:
        """The next problems that are this process's to do, as many as a group reads at once."""
        claimed: list[int] = []
        while self._unread and len(claimed) < self._at_once:
            problem = self._unread.popleft()
            if self._claim(problem):
                claimed.append(problem)
        return claimed

    def _parts(self, together: int) -> list[list[int]]:
        """The samples of a problem, so many together."""
        return [
            self._sample_ids[first : first + together]
            for first in range(0, len(self._sample_ids), together)
        ]

    def _taken_over(self, group: int) -> list[tuple[int, Branch]]:
        """Half of the branches of a problem that wait at the group where most do, and that group;
        nothing where there is no slot for its prompt.
        """
        own = self._groups[group]
        most = max(range(len(self._groups)), key=lambda each: len(self._groups[each].todo))
        behind = self._groups[most]
        if len(behind.todo) < 2:
            return []
        problem = behind.todo[0].problem
        if problem not in own.slot_of and not own.free:
            return []
        of_it = [branch for branch in behind.todo if branch.problem == problem]
        taken = of_it[: -(-len(of_it) // 2)]
        behind.todo = [branch for branch in behind.todo if branch not in taken]
        for branch in taken:
            self._count(behind, problem, -len(branch.samples))
        return [(most, branch) for branch in taken]

    def _count(self, group: _Group, problem: int, samples: int) -> None:
        """So many more samples of a problem are a group's to write; frees the slot of a prompt that
        nobody of the group reads any more.
        """
        group.unended[problem] = group.unended.get(problem, 0) + samples
        if not group.unended[problem]:
            del group.unended[problem]
            group.free.append(group.slot_of.pop(problem))


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
        """As `Queue` says."""
        todo = self._todo[group]
        if not todo or len(todo[-1].samples) > lanes:
            return None
        branch = todo.pop()
        return Next(branch, self._slot_of[branch.problem])

    def put(self, group: int, branch: Branch) -> None:
        """As `Queue` says."""
        self._todo[group].append(branch)

    def waiting(self, group: int) -> int:
        """As `Queue` says; what waits for its prompt, too, where there is room for that."""
        room = min(len(self._free[group]), self._at_once)
        return len(self._todo[group]) or min(len(self._unread), room)

    def holding(self, group: int) -> Sequence[Branch]:
        """As `Queue` says; what is kept goes before what is to be written next."""
        kept = [
            branch
            for problem, held in self._held.items()
            if self.group_of.get(problem) == group
            for branch in held.values()
        ]
        return [*kept, *self._todo[group]]

    def take(self, group: int, idle: int) -> Taken | None:
        """As `Queue` says: problems whose prompts have not been read, in their order."""
        if self._todo[group] or not self._unread or not self._free[group]:
            return None
        fresh = {}
        for problem in sorted(self._unread)[: min(self._at_once, len(self._free[group]))]:
            fresh[problem] = self._free[group].pop(0)
            self.group_of[problem], self._slot_of[problem] = group, fresh[problem]
            self._todo[group][:0] = reversed(self._unread.pop(problem))
        return Taken(fresh, [])

    def problems_in_slots(self) -> list[int]:
        """As `Queue` says."""
        return list(self._slot_of)

    @property
    def all_begun(self) -> bool:
        """There may always be more."""
        return False
