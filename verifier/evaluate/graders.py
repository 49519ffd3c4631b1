"""Verdicts on solutions as text: relabelling with a grader, and where the graders disagree. Knows no scores and no ranks."""

from __future__ import annotations

import collections
import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np

from verifier.config import UserError
from verifier.text.answer import GRADERS, grade, vote_key

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
    graded = [grade(solution, gold, grader) for solution, gold in zip(solutions, golds, strict=True)]
    return [one.answer for one in graded], np.fromiter((one.correct for one in graded), bool, len(graded))


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
        `share` of judged solutions with different verdicts, `judged`, `right` (count a grader), `patterns` (count of each way to disagree, most
        frequent first) and `examples`.
    """
    rows = np.unique(np.linspace(0, len(solutions) - 1, min(most, len(solutions))).astype(np.int64)).tolist()
    right: collections.Counter[str] = collections.Counter({name: 0 for name in GRADERS})
    patterns: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    counts: collections.Counter[str] = collections.Counter()
    for row in rows:
        graded = {name: grade(solutions[row], golds[row], name) for name in GRADERS}
        right.update(name for name, one in graded.items() if one.correct)
        if len({one.correct for one in graded.values()}) == 1:
            continue
        yes = " + ".join(name for name, one in graded.items() if one.correct)
        no = " + ".join(name for name, one in graded.items() if not one.correct)
        pattern = f"right: {yes}; wrong: {no}"
        counts[pattern] += 1
        if len(patterns[pattern]) < _EXAMPLES:
            patterns[pattern].append(
                {
                    "problem_id": problem_ids[row],
                    "sample_id": int(sample_ids[row]),
                    "gold": golds[row],
                    "answers": {name: one.answer for name, one in graded.items()},
                    "correct": {name: bool(one.correct) for name, one in graded.items()},
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
