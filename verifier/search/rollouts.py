"""Solutions that go on from the ends of others' steps: what a step is worth.

A prefix that several solutions have in common is gone on from once, and its tokens are read once.
Rollouts of a place are drawn with numbers that depend on the seed, the problem, the tokens before
it and the rollout alone, so they are independent of each other and of what else is rolled out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from verifier.decode.branches import Branch
from verifier.decode.growing import Growing
from verifier.decode.lanes import first_of
from verifier.decode.outcomes import Ended

Prefix = tuple[int, ...]


class Solution(NamedTuple):
    """A stored solution, and where its steps end."""

    tokens: Sequence[int]
    forced: Sequence[bool]
    ends: Sequence[int]  # index of each step's last token, that of the last step left out


@dataclasses.dataclass(eq=False)
class _Place:
    """The end of a step, reached by one way."""

    prefix: Prefix
    forced: tuple[bool, ...]
    next: dict[Prefix, _Place] = dataclasses.field(default_factory=dict)
    completions: list[list[int]] = dataclasses.field(default_factory=list)


class _Problem:
    """The places of one problem's solutions, and how much is under way."""

    def __init__(self, solutions: Sequence[Solution]) -> None:
        self.root, self.pending = _Place((), ()), 0
        self.places: dict[Prefix, _Place] = {}
        self.written_by: dict[int, _Place] = {}  # by sample id, of what only reads a step
        self.rolled_from: dict[int, _Place] = {}  # by sample id, of rollouts
        for one in solutions:
            place = self.root
            for end in one.ends:
                prefix = tuple(one.tokens[: end + 1])
                if prefix not in place.next:
                    made = _Place(prefix, tuple(one.forced[: end + 1]))
                    place.next[prefix] = self.places[prefix] = made
                place = place.next[prefix]


def completions(
    growing: Growing,
    problems: Iterable[Sequence[Solution]],
    number: int,
    limit: int,
    at_once: int,
) -> Iterator[tuple[int, dict[Prefix, list[list[int]]]]]:
    """Goes on from every end of a step.

    Args:
        growing: a job with the problems' prompts, in the same order.
        problems: the solutions of each, asked for as it begins.
        number: of rollouts of a place.
        limit: most tokens of a solution.
        at_once: problems that are open at a time.

    Returns:
        Problem by problem, as they are done: its index, and for each prefix at whose end a step
        ends the whole solutions that went on from there.
    """
    waiting = enumerate(problems)
    under_way: dict[int, _Problem] = {}

    def begin() -> Iterator[tuple[int, dict[Prefix, list[list[int]]]]]:
        while len(under_way) < at_once and (given := next(waiting, None)) is not None:
            index, solutions = given
            problem = _Problem(solutions)
            if not problem.places:
                yield index, {}
                continue
            under_way[index] = problem
            _follow(growing, problem, problem.root, growing.root(index), number)

    yield from begin()
    for ended in growing.run():
        problem = under_way[ended.problem]
        _take(growing, problem, ended, number, limit)
        if not problem.pending:
            growing.close(ended.problem)
            del under_way[ended.problem]
            assert all(len(place.completions) == number for place in problem.places.values())
            yield (
                ended.problem,
                {prefix: place.completions for prefix, place in problem.places.items()},
            )
            yield from begin()


def _follow(
    growing: Growing, problem: _Problem, place: _Place, branch: Branch, number: int
) -> None:
    """Lets the steps behind a place be read."""
    for prefix, next_ in place.next.items():
        own = slice(len(place.prefix), len(prefix))
        sample = first_of(prefix, number + 1)  # its next ones are the rollouts
        problem.written_by[sample] = next_
        problem.pending += 1
        growing.follow(branch, sample, prefix[own], next_.forced[own])


def _take(growing: Growing, problem: _Problem, ended: Ended, number: int, limit: int) -> None:
    """A step has been read, or rollouts have ended."""
    assert ended.branch is not None
    for sample in ended.samples:
        problem.pending -= 1
        if (place := problem.written_by.get(sample)) is None:
            problem.rolled_from[sample].completions.append(ended.tokens)
            continue
        first = first_of(place.prefix, number + 1) + 1
        ids = range(first, first + number)
        problem.rolled_from |= dict.fromkeys(ids, place)
        problem.pending += number
        growing.extend(ended.branch, ids, limit, to_step_end=False)
        _follow(growing, problem, place, ended.branch, number)
    growing.drop(ended.branch)
