"""Verdicts on solutions as text: relabelling with a grader, and where the graders disagree. Knows no scores and no ranks."""

from __future__ import annotations

import collections
import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from verifier.config import UserError
from verifier.evaluate import columns
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
    code, answers = columns.codes(columns.answers(pa.array(solutions, pa.string()), grader))
    owner, different = columns.codes(golds)
    correct = judge(code, answers, owner, [str(gold) for gold in different], grader)
    texts = [*answers, None]  # -1, no answer, is the last
    return [texts[number] for number in code.tolist()], correct


def judge(code: np.ndarray, answers: Sequence[str | None], problem: np.ndarray, golds: Sequence[str], grader: str) -> np.ndarray:
    """Verdicts on answers that are given as numbers; each pair of an answer and a problem is compared once.

    Args:
        code: [rows] the answer's place in `answers`; negative where there is none.
        answers: different texts.
        problem: [rows] the problem's place in `golds`.
        golds: right answer of each problem.
        grader: a name in `text.answer.GRADERS`.

    Returns:
        [rows] bool verdicts.

    Raises:
        GraderError: there is no such grader; the nearest names are given.
    """
    check_grader(grader)
    equal = GRADERS[grader].equal
    pairs, inverse = np.unique((code + 1) * len(golds) + problem, return_inverse=True)
    right = np.zeros(len(pairs), bool)
    for place in range(np.searchsorted(pairs, len(golds)), len(pairs)):  # below: no answer
        text = answers[pairs[place] // len(golds) - 1]
        right[place] = text is not None and equal(text, golds[pairs[place] % len(golds)])
    return right[inverse]


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


def disagreement(problem_ids: Sequence[str], sample_ids: Sequence[int], solutions: Sequence[str], golds: Sequence[str]) -> dict[str, Any]:
    """How often the graders give different verdicts on one solution, how, and a few examples.

    Args:
        problem_ids: whose solutions they are.
        sample_ids: which of the problem's.
        solutions: texts of solutions.
        golds: the right answer of each.

    Returns:
        `share` of judged solutions with different verdicts, `judged`, `right` (count a grader), `patterns` (count of each way to disagree,
        most frequent first) and `examples`.
    """
    patterns: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    counts: collections.Counter[str] = collections.Counter()
    judged = {name: relabel(solutions, golds, name) for name in GRADERS}
    verdicts = np.stack([correct for _, correct in judged.values()])
    right = {name: int(correct.sum()) for name, (_, correct) in judged.items()}
    for row in np.nonzero(verdicts.any(axis=0) & ~verdicts.all(axis=0))[0].tolist():
        graded = {name: (answer[row], bool(correct[row])) for name, (answer, correct) in judged.items()}
        yes = " + ".join(name for name, (_, correct) in graded.items() if correct)
        no = " + ".join(name for name, (_, correct) in graded.items() if not correct)
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
        "share": sum(counts.values()) / len(solutions) if len(solutions) else 0.0,
        "judged": len(solutions),
        "right": right,
        "patterns": dict(counts.most_common()),
        "examples": examples[:_EXAMPLES],
    }
