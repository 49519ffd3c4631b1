"""Solutions are handed out once, in order, to whoever is free; nobody waits beside a long line."""

from __future__ import annotations

import collections

import pytest

from verifier.decode.branches import root
from verifier.decode.queue import BranchQueue


def drain(
    work: BranchQueue, groups: int, rows: int, seconds: list[int] | None = None
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Plays a run in which every group writes `rows` solutions at once: (group, problem, sample) as
    begun, and each group's last moment.

    seconds: how long a solution of each problem takes; None: 1.
    """
    begun, running, idle_since = [], collections.defaultdict(list), [0] * groups
    now = 0
    while True:
        for group in range(groups):
            while len(running[group]) < rows:
                found = work.next(group, 1)
                if found is None:
                    if work.take(group, rows - len(running[group])) is None:
                        break
                    continue
                problem, (sample,) = found.branch.problem, found.branch.samples
                begun.append((group, problem, sample))
                running[group].append((now + (seconds[problem] if seconds else 1), problem))
        if not any(running.values()):
            assert work.all_begun
            return begun, idle_since
        now = min(end for each in running.values() for end, _ in each)
        for group in range(groups):
            for each in [each for each in running[group] if each[0] == now]:
                running[group].remove(each)
                work.ended(group, each[1], 1)
                idle_since[group] = now


@pytest.mark.parametrize("groups, prompts, at_once", [(1, 2, 1), (1, 6, 3), (3, 2, 1), (4, 5, 2)])
def test_every_solution_is_begun_once(groups: int, prompts: int, at_once: int) -> None:
    begun, _ = drain(BranchQueue(7, [0, 2, 5], groups, prompts, at_once, 1), groups, rows=2)
    assert sorted((problem, sample) for _, problem, sample in begun) == [
        (problem, sample) for problem in range(7) for sample in (0, 2, 5)
    ]


def test_one_group_takes_problems_and_samples_in_order() -> None:
    begun, _ = drain(BranchQueue(5, range(3), 1, 3, 1, 1), 1, rows=4)
    assert begun == [(0, problem, sample) for problem in range(5) for sample in range(3)]


def test_one_problem_is_shared_by_all_groups() -> None:
    begun, ends = drain(BranchQueue(1, range(64), 4, 2, 1, 1), 4, rows=4)
    counts = collections.Counter(group for group, _, _ in begun)
    assert len(counts) == 4 and min(counts.values()) >= 8 and max(ends) <= 64 // 16 + 2


def test_groups_end_together_though_problems_take_unlike_times() -> None:
    seconds = [40, 1, 1, 1, 30, 1, 1, 25, 1, 1]
    _, ends = drain(BranchQueue(10, range(12), 3, 4, 1, 1), 3, rows=3, seconds=seconds)
    assert max(ends) - min(ends) <= 2 * max(seconds)


def test_no_more_prompts_are_held_than_there_are_slots() -> None:
    work = BranchQueue(9, range(2), 2, prompts=2, at_once=1, together=1)
    for group in (0, 1, 0):
        assert work.take(group, 0)
        while work.next(group, 1):
            pass
    # group 0 holds two prompts, and nothing of them has ended
    assert work.take(0, 0) is None and len(work.problems_in_slots()) == 3
    for _ in range(2):
        work.ended(0, 0, 1)
    assert work.take(0, 0).fresh == {3: 0}


def test_problems_of_other_processes_are_passed_over() -> None:
    asked = []

    def claim(problem: int) -> bool:
        asked.append(problem)
        return problem % 2 == 1

    begun, _ = drain(BranchQueue(6, [0], 2, 2, 1, 1, claim), 2, rows=1)
    assert sorted(problem for _, problem, _ in begun) == [1, 3, 5] and sorted(asked) == list(
        range(6)
    )


def test_the_last_solution_of_a_problem_is_told_wherever_it_is_written() -> None:
    work = BranchQueue(1, range(4), 2, 1, 1, 1)
    assert work.take(0, 0).fresh == {0: 0} and [
        work.next(0, 1).branch.samples for _ in range(2)
    ] == [
        [0],
        [1],
    ]
    taken = work.take(1, 0)
    assert taken.fresh == {0: 0} and work.next(1, 1).branch.samples == [3]
    assert [(group, branch.samples) for group, branch in taken.left] == [(0, [3])]
    assert work.next(0, 1) is not None and work.next(0, 1) is None and work.next(1, 1) is None
    assert [work.ended(group, 0, 1) for group in (1, 0, 0, 0)] == [False, False, False, True]


def test_samples_begin_together_and_a_branch_goes_on_before_the_next_problem() -> None:
    work = BranchQueue(2, range(5), 1, prompts=2, at_once=1, together=3)
    assert work.take(0, 0).fresh == {0: 0}
    assert work.next(0, 2) is None  # three samples want three lanes
    first = work.next(0, 3)
    assert first.branch.samples == [0, 1, 2] and first.slot == 0
    work.put(0, root(0, [2]))
    assert work.take(0, 0) is None
    assert [work.next(0, 3).branch.samples for _ in range(2)] == [[2], [3, 4]]
    assert work.take(0, 0).fresh == {1: 1}
    assert not work.ended(0, 0, 2) and work.ended(0, 0, 3)


def test_samples_begin_in_as_many_rows_as_there_are_slots_for_all_that_are_left() -> None:
    work = BranchQueue(3, range(4), 1, prompts=3, at_once=1, together=4)
    sizes = []
    for idle in (11, 8, 3):  # of 12, 8 and 4 samples that are left
        assert work.take(0, idle) is not None
        while (found := work.next(0, 4)) is not None:
            sizes.append(len(found.branch.samples))
    assert sizes == [2, 2, 1, 1, 1, 1, 2, 2]
