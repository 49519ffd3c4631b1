"""Verdicts on solutions as text: relabelling with a grader, and where the graders disagree. Knows no scores and no ranks."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from verifier.config import LabelConfig, UserError
from verifier.evaluate.math_process import MathVerify, check_installed
from verifier.text.answer import GRADERS, vote_key

MATH_VERIFY = "math_verify"
NAMES = (*GRADERS, MATH_VERIFY)
_EXAMPLES = 5
_TAIL = 160  # characters of a solution that an example shows


class GraderError(UserError):
    """A grader that does not exist; the message gives the nearest names."""


@dataclasses.dataclass(frozen=True)
class Relabelled:
    """Verdicts on solutions.

    Attributes:
        answers: extracted answers, None where none was found.
        correct: [solutions] bool.
        not_graded: solutions that the grader was too long over or broke off at; they have no answer and count as wrong.
    """

    answers: list[str | None]
    correct: np.ndarray
    not_graded: int = 0


def relabel(solutions: Sequence[str], golds: Sequence[str], grader: str, seconds: float = LabelConfig.grader_seconds) -> Relabelled:
    """Extracted answers and verdicts of every solution.

    Args:
        solutions: texts of solutions.
        golds: the right answer of each.
        grader: a name in `NAMES`.
        seconds: of computing that `math_verify` has for one solution; the others need no limit.

    Raises:
        GraderError: there is no such grader; the nearest names are given.
        MathProcessError: `math_verify` is asked for and not installed.
    """
    check_grader(grader)
    with MathVerify(seconds) if grader == MATH_VERIFY else _Judge(grader) as judge:
        graded = [judge(solution, gold) for solution, gold in zip(solutions, golds, strict=True)]
        correct = np.fromiter((correct for _, correct in graded), bool, len(graded))
        return Relabelled([answer for answer, _ in graded], correct, judge.not_graded)


class _Judge:
    """`text.answer.grade` that compares the same two answers only once: samples of a problem repeat each other's answers."""

    not_graded = 0  # each takes time linear in the text

    def __init__(self, grader: str) -> None:
        self.mode = GRADERS[grader]
        self.equal: dict[tuple[str, str], bool] = {}

    def __enter__(self) -> _Judge:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, solution: str, gold: str) -> tuple[str | None, bool]:
        answer = self.mode.extract(solution)
        if answer is None:
            return None, False
        known = self.equal.get((answer, gold))
        if known is None:
            known = self.equal[answer, gold] = self.mode.equal(answer, gold)
        return answer, known


def check_grader(grader: str) -> None:
    """Whether a grader can be used.

    Raises:
        GraderError: there is none of that name; the nearest names are given.
        MathProcessError: `math_verify` without its package.
    """
    if grader not in NAMES:
        near = difflib.get_close_matches(grader, NAMES, n=2, cutoff=0.4) or NAMES
        raise GraderError(f"there is no grader {grader!r}; nearest: {', '.join(near)}; all: {', '.join(NAMES)}")
    if grader == MATH_VERIFY:
        check_installed()


def given_up(count: int, grader: str, seconds: float) -> str:
    """What is to be said of solutions that were not graded."""
    return f"{count:,} solutions were not graded and count as wrong: {grader} took more than {seconds:g} s over them, or broke off"


def answer_keys(answers: Sequence[str | None]) -> np.ndarray:
    """Integers that are equal where two answers are numerically equal; -1 where there is no answer."""
    keys: dict[Any, int] = {}
    known: dict[str | None, int] = {}
    for answer in dict.fromkeys(answers):
        key = vote_key(answer)
        known[answer] = -1 if key is None else keys.setdefault(key, len(keys))
    return np.fromiter((known[answer] for answer in answers), np.int64, len(answers))


def disagreement(
    keys: Sequence[tuple[str, int]], solutions: Sequence[str], golds: Sequence[str], given: tuple[str, Relabelled], most: int
) -> dict[str, Any]:
    """How often the graders give different verdicts on one solution, how, and a few examples.

    Graders that need no process of their own judge anew; the one that gave the report's verdicts takes part with these if it is another.

    Args:
        keys: problem_id and sample_id of every solution.
        solutions: texts of solutions.
        golds: the right answer of each.
        given: the grader whose verdicts the report uses, and its verdicts.
        most: at most so many solutions are judged, taken evenly over all of them.

    Returns:
        `share` of judged solutions with different verdicts, `judged`, `right` (count a grader), `pairs` (of every two `graders` the number
        of solutions that they judge differently, `differ`, its `share`, and the number that `only` one of them holds right), `patterns`
        (count of each way to disagree, most frequent first), `examples`, and `not_graded` among all solutions.
    """
    rows = np.unique(np.linspace(0, len(solutions) - 1, min(most, len(solutions))).astype(np.int64)).tolist()
    name, verdicts = given
    names = (*GRADERS, *([name] if name not in GRADERS else []))
    judges = {each: _Judge(each) for each in GRADERS}
    patterns: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    counts: collections.Counter[str] = collections.Counter()
    right_GR = np.zeros((len(names), len(rows)), bool)
    for column, row in enumerate(rows):
        graded = {each: judge(solutions[row], golds[row]) for each, judge in judges.items()}
        graded.setdefault(name, (verdicts.answers[row], bool(verdicts.correct[row])))
        right_GR[:, column] = [graded[each][1] for each in names]
        yes = " + ".join(each for each in names if graded[each][1])
        no = " + ".join(each for each in names if not graded[each][1])
        if not yes or not no:
            continue
        pattern = f"right: {yes}; wrong: {no}"
        counts[pattern] += 1
        if len(patterns[pattern]) < _EXAMPLES:
            patterns[pattern].append(
                {
                    "problem_id": keys[row][0],
                    "sample_id": int(keys[row][1]),
                    "gold": golds[row],
                    "answers": {each: answer for each, (answer, _) in graded.items()},
                    "correct": {each: correct for each, (_, correct) in graded.items()},
                    "ending": solutions[row][-_TAIL:],
                }
            )
    ordered = [patterns[pattern] for pattern, _ in counts.most_common()]
    examples = [group[turn] for turn in range(_EXAMPLES) for group in ordered if turn < len(group)]
    return {
        "share": sum(counts.values()) / len(rows) if rows else 0.0,
        "judged": len(rows),
        "right": {each: int(right_R.sum()) for each, right_R in zip(names, right_GR, strict=True)},
        "pairs": _pairs(names, right_GR),
        "patterns": dict(counts.most_common()),
        "examples": examples[:_EXAMPLES],
        "not_graded": verdicts.not_graded,
    }


def _pairs(names: Sequence[str], right_GR: np.ndarray) -> list[dict[str, Any]]:
    """Every two graders, those that differ most often first."""
    pairs = []
    for (a, right_R), (b, other_R) in itertools.combinations(zip(names, right_GR, strict=True), 2):
        only = {a: int(np.sum(right_R & ~other_R)), b: int(np.sum(other_R & ~right_R))}
        differ = sum(only.values())
        pairs.append({"graders": [a, b], "differ": differ, "share": differ / max(right_GR.shape[1], 1), "only": only})
    return sorted(pairs, key=lambda pair: -pair["differ"])
