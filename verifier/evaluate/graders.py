"""Verdicts on solutions as text: relabelling with a grader, and where the graders disagree. Knows no scores and no ranks."""

from __future__ import annotations

import collections
import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np

from verifier.config import UserError
from verifier.text.answer import GRADERS, vote_key

_EXAMPLES = 5
_TAIL = 160  # characters of a solution that an example shows


class GraderError(UserError):
    """A grader that does not exist; the message gives the nearest names."""


def relabel(solutions: Sequence[str], golds: Sequence[str], grader: str) -> tuple[list[str | None], np.ndarray]:
    """Extracted answers and verdicts of every solution.

    Args:
        solutions: texts of solutions.
        golds: the right answer of each.
        grader: a name in `text.answer.GRADERS`.

    Returns:
        The answers (None where none was found) and bool verdicts.

    Raises:
        GraderError: there is no such grader; the nearest names are given.
    """
    check_grader(grader)
    judge = _Judge(grader)
    graded = [judge(solution, gold) for solution, gold in zip(solutions, golds, strict=True)]
    return [answer for answer, _ in graded], np.fromiter((correct for _, correct in graded), bool, len(graded))


class _Judge:
    """`text.answer.grade` that compares the same two answers only once: samples of a problem repeat each other's answers."""

    def __init__(self, grader: str) -> None:
        self.mode = GRADERS[grader]
        self.equal: dict[tuple[str, str], bool] = {}

    def __call__(self, solution: str, gold: str) -> tuple[str | None, bool]:
        answer = self.mode.extract(solution)
        if answer is None:
            return None, False
        known = self.equal.get((answer, gold))
        if known is None:
            known = self.equal[answer, gold] = self.mode.equal(answer, gold)
        return answer, known


def check_grader(grader: str) -> None:
    """Raises GraderError with the nearest names if there is no such grader."""
    if grader not in GRADERS:
        near = difflib.get_close_matches(grader, GRADERS, n=2, cutoff=0.4) or list(GRADERS)
        raise GraderError(f"there is no grader {grader!r}; nearest: {', '.join(near)}; all: {', '.join(GRADERS)}")


def answer_keys(answers: Sequence[str | None]) -> np.ndarray:
    """Integers that are equal where two answers are numerically equal; -1 where there is no answer."""
    keys: dict[Any, int] = {}
    known: dict[str | None, int] = {}
    for answer in dict.fromkeys(answers):
        key = vote_key(answer)
        known[answer] = -1 if key is None else keys.setdefault(key, len(keys))
    return np.fromiter((known[answer] for answer in answers), np.int64, len(answers))


def disagreement(
    problem_ids: Sequence[str], sample_ids: Sequence[int], solutions: Sequence[str], golds: Sequence[str], most: int
) -> dict[str, Any]:
    """How often the graders give different verdicts on one solution, how, and a few examples.

    Args:
        problem_ids: whose solutions they are.
        sample_ids: which of the problem's.
        solutions: texts of solutions.
        golds: the right answer of each.
        most: at most so many solutions are judged, taken evenly over all of them.

    Returns:
        `share` of judged solutions with different verdicts, `judged`, `right` (count a grader), `patterns` (count of each way to disagree,
        most frequent first) and `examples`.
    """
    rows = np.unique(np.linspace(0, len(solutions) - 1, min(most, len(solutions))).astype(np.int64)).tolist()
    right: collections.Counter[str] = collections.Counter(dict.fromkeys(GRADERS, 0))
    patterns: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    counts: collections.Counter[str] = collections.Counter()
    judges = {name: _Judge(name) for name in GRADERS}
    for row in rows:
        graded = {name: judge(solutions[row], golds[row]) for name, judge in judges.items()}
        yes = " + ".join(name for name, (_, correct) in graded.items() if correct)
        no = " + ".join(name for name, (_, correct) in graded.items() if not correct)
        right.update(name for name, (_, correct) in graded.items() if correct)
        if not yes or not no:
            continue
        pattern = f"right: {yes}; wrong: {no}"
        counts[pattern] += 1
        if len(patterns[pattern]) < _EXAMPLES:
            patterns[pattern].append(
                {
                    "problem_id": problem_ids[row],
                    "sample_id": int(sample_ids[row]),
                    "gold": golds[row],
                    "answers": {name: answer for name, (answer, _) in graded.items()},
                    "correct": {name: correct for name, (_, correct) in graded.items()},
                    "ending": solutions[row][-_TAIL:],
                }
            )
    ordered = [patterns[pattern] for pattern, _ in counts.most_common()]
    examples = [group[turn] for turn in range(_EXAMPLES) for group in ordered if turn < len(group)]
    return {
        "share": sum(counts.values()) / len(rows) if rows else 0.0,
        "judged": len(rows),
        "right": dict(right),
        "patterns": dict(counts.most_common()),
        "examples": examples[:_EXAMPLES],
    }
