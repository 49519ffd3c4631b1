"""Which of its own solutions a model learns from (Zelikman et al. 2022, section 3)."""

from __future__ import annotations

import collections
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from verifier.errors import ConfigError

_FIELDS = ["answer", "question"]


class Own(NamedTuple):
    """A solution of a model's own.

    Attributes:
        problem_id: of its problem.
        solution: its text.
        ended: whether it came to its end, and was not cut off.
        correct: whether it reaches the answer.
    """

    problem_id: str
    solution: str
    ended: bool
    correct: bool


class Kept(NamedTuple):
    """One that is learned, and whether it was written with the answer at hand."""

    problem_id: str
    solution: str
    hinted: bool


class Hint:
    """A question with its answer behind it."""

    def __init__(self, template: str) -> None:
        """Reads a template.

        Raises:
            ConfigError: it does not name `{question}` and `{answer}` once each, or has no words by
                which a solution that repeats it can be told.
        """
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise ConfigError(f"star.hint={template!r} cannot be read ({error})") from error
        fields = sorted(name for _, name, _, _ in parts if name is not None)
        if fields != _FIELDS:
            raise ConfigError(
                f"star.hint={template!r} has the fields {fields}; expected {{question}} and "
                "{answer}, once each"
            )
        self.words = [text.strip() for text, *_ in parts if any(map(str.isalpha, text))]
        if not self.words:
            raise ConfigError(
                f"star.hint={template!r} has no words of its own; write some, by which a solution "
                "that repeats the hint can be told"
            )
        self._template = template

    def put(self, question: str, answer: str) -> str:
        """A question with its answer."""
        return self._template.format(question=question, answer=answer)

    def is_in(self, text: str) -> bool:
        """Whether a text repeats words of the hint."""
        return any(words in text for words in self.words)


def unsolved(solutions: Iterable[Own]) -> set[str]:
    """The problems of which no solution is right."""
    solved: dict[str, bool] = collections.defaultdict(bool)
    for each in solutions:
        solved[each.problem_id] |= each.correct
    return {problem_id for problem_id, right in solved.items() if not right}


def kept(
    solutions: Sequence[Own],
    hinted: Sequence[Own],
    hint: Hint,
    deduplicate: bool,
    fewest_words: int = 0,
) -> tuple[list[Kept], Mapping[str, int]]:
    """What is learned: right solutions, and of problems without one those that were written with a
    hint, reach the answer and do not show it.

    Args:
        solutions: written without a hint.
        hinted: written with one.
        hint: that they were given.
        deduplicate: whether solutions of a problem that read alike are one.
        fewest_words: different ones, of a solution; shorter ones have no reasons to be learned.

    Returns:
        The kept ones in the order given, and how many right ones were left out, by reason.
    """
    failed: Collection[str] = unsolved(solutions)
    found: list[Kept] = []
    left_out = collections.Counter[str]()
    seen: set[tuple[str, str]] = set()
    for each, helped in [*((one, False) for one in solutions), *((one, True) for one in hinted)]:
        if not each.correct:
            continue
        # A right solution that was written without help needs none.
        if helped and each.problem_id not in failed:
            left_out["solved without a hint"] += 1
        elif not each.ended:
            left_out["cut off"] += 1
        elif hint.is_in(each.solution):  # a model that has learned to write it, too
            left_out["show the hint"] += 1
        elif len(set(each.solution.split())) < fewest_words:  # an answer said twice is bare, too
            left_out["of too few words"] += 1
        elif deduplicate and (each.problem_id, each.solution) in seen:
            left_out["read alike"] += 1
        else:
            seen.add((each.problem_id, each.solution))
            found.append(Kept(each.problem_id, each.solution, helped))
    return found, left_out
