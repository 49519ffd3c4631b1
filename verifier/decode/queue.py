"""Which solution is written next, and by which group of devices.

Problems go to whoever has slots free.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Next(NamedTuple):
    """A solution to be written."""

    problem: int  # index in the list of problems
    sample: int
    slot: int  # of its prompt, in its group


class _Group:
    """What one group of devices has before it."""

    def __init__(self, prompts: int) -> None:
        # Problem and sample; their prompts are read.
        self.todo: collections.deque[tuple[int, int]] = collections.deque()
        self.free = collections.deque(range(prompts))  # prompt slots
        self.slot_of: dict[int, int] = {}  # of problems whose solutions this group writes
        self.unended: dict[int, int] = {}  # how many of them


class SolutionQueue:
    """Problems in their order, each read by one group of devices, which writes its solutions.

    A group takes the next problems when it has begun all solutions of its own. When none is left,
    it takes over half of what the group that is furthest behind has not begun, reading that prompt
    once more: no group waits for another's last problem.
    """

    def __init__(
        self,
        problems: int,
        sample_ids: Sequence[int],
        groups: int,
        prompts: int,
        at_once: int,
        claim: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """Everything is still to be written.

        Args:
            problems: how many.
            sample_ids: of every problem.
            groups: of devices.
            prompts: slots of a group.
            at_once: prompts that a group reads together.
            claim: as in `Engine.run`, of a problem's index.
        """
        self._unread, self._claim = collections.deque(range(problems)), claim
        self._sample_ids, self._at_once = list(sample_ids), at_once
        self._groups = [_Group(prompts) for _ in range(groups)]
        self._left = dict.fromkeys(range(problems), len(self._sample_ids))

    def next(self, group: int) -> Next | None:
        """The group's next solution; None: its own are all begun."""
        own = self._groups[group]
        if not own.todo:
            return None
        problem, sample = own.todo.popleft()
        return Next(problem, sample, own.slot_of[problem])

    def take(self, group: int) -> dict[int, int] | None:
        """More solutions for a group that has begun all of its own.

        Returns:
            the problems that it must read for them, with their prompt slots; None: nothing is left
            for it, or there is no slot.
        """
        own = self._groups[group]
        if self._unread and len(own.free) < min(self._at_once, len(self._unread)):
            return None
        if taken := self._claimed():
            solutions = [(problem, sample) for problem in taken for sample in self._sample_ids]
        else:
            solutions = self._taken_over(group)
            taken = list(dict.fromkeys(problem for problem, _ in solutions))
        if not solutions:
            return None
        own.todo.extend(solutions)
        for problem, _ in solutions:
            own.unended[problem] = own.unended.get(problem, 0) + 1
        fresh = {problem: own.free.popleft() for problem in taken if problem not in own.slot_of}
        own.slot_of |= fresh
        return fresh

    def ended(self, group: int, problem: int) -> bool:
        """One solution has ended; whether it was the last of its problem."""
        own = self._groups[group]
        own.unended[problem] -= 1
        self._release(own, problem)
        self._left[problem] -= 1
        return not self._left[problem]

    def read(self) -> list[int]:
        """Problems whose prompts lie in some slot."""
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

    def _taken_over(self, group: int) -> list[tuple[int, int]]:
        """The later half of the longest line's last problem; nothing where no line has two."""
        own, behind = self._groups[group], max(self._groups, key=lambda each: len(each.todo))
        if len(behind.todo) < 2:
            return []
        problem = behind.todo[-1][0]
        if problem not in own.slot_of and not own.free:
            return []
        of_it = sum(other == problem for other, _ in behind.todo)
        solutions = [behind.todo.pop() for _ in range(-(-of_it // 2))][::-1]
        behind.unended[problem] -= len(solutions)
        self._release(behind, problem)
        return solutions

    def _release(self, group: _Group, problem: int) -> None:
        """Frees the slot of a prompt that nobody of the group reads any more."""
        if not group.unended[problem]:
            del group.unended[problem]
            group.free.append(group.slot_of.pop(problem))
