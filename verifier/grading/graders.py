"""Verdicts on solutions as text: relabelling with a grader, and where the graders disagree."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import difflib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from verifier.config import LabelConfig
from verifier.errors import GraderError
from verifier.grading import extraction
from verifier.grading.answer import GRADERS, beside, comparable, vote_key
from verifier.grading.math_process import MathVerify, check_installed

Solutions = tuple[Sequence[str], Sequence[str]]  # texts, and the right answer of each
MATH_VERIFY = "math_verify"
BY_ENDING = tuple(GRADERS)  # find an answer without knowing the right one
NAMES = (*GRADERS, MATH_VERIFY)
_EXAMPLES = 5
_TAIL = 160  # characters of a solution that an example shows
_LOOKED_AT = 200  # solutions that other graders try, where one finds no answers
_SHOWN = 60  # characters of a text in a finding


@dataclasses.dataclass(frozen=True)
class Relabelled:
    """Verdicts on solutions.

    Attributes:
        answers: extracted answers, None where none was found.
        correct: [solutions] bool.
        not_graded: solutions that the grader was too long over or broke off at; they have no answer
            and count as wrong.
    """

    answers: list[str | None]
    correct: np.ndarray
    not_graded: int = 0


def relabel(
    solutions: Iterable[str],
    golds: Iterable[str],
    grader: str,
    seconds: float = LabelConfig.grader_seconds,
) -> Relabelled:
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
    with opened(grader, seconds) as grade:
        return grade(solutions, golds)


@contextlib.contextmanager
def opened(
    grader: str, seconds: float = LabelConfig.grader_seconds
) -> Iterator[Callable[[Iterable[str], Iterable[str]], Relabelled]]:
    """`relabel` by one grader, to be called again and again: `math_verify` has one process for all,
    and keeps what it has graded. Arguments and errors as there.
    """
    check_grader(grader)
    if grader != MATH_VERIFY:
        yield functools.partial(_by_ending, grader)
        return
    with MathVerify(seconds) as compare:
        yield functools.partial(_one_by_one, compare)


def _one_by_one(compare: MathVerify, solutions: Iterable[str], golds: Iterable[str]) -> Relabelled:
    before = compare.not_graded
    graded = [compare(solution, gold) for solution, gold in zip(solutions, golds, strict=True)]
    correct = np.fromiter((right for _, right in graded), bool, len(graded))
    return Relabelled([answer for answer, _ in graded], correct, compare.not_graded - before)


def _by_ending(grader: str, solutions: Iterable[str], golds: Iterable[str]) -> Relabelled:
    code, answers = extraction.codes(
        extraction.answers(pa.array(list(solutions), pa.string()), grader)
    )
    owner, different = extraction.codes(list(golds))
    correct = verdicts_on(code, answers, owner, [str(gold) for gold in different], grader)
    texts = [*answers, None]  # -1, no answer, is the last
    return Relabelled([texts[number] for number in code.tolist()], correct)


def verdicts_on(
    code: np.ndarray,
    answers: Sequence[str | None],
    problem: np.ndarray,
    golds: Sequence[str],
    grader: str,
) -> np.ndarray:
    """Verdicts on answers that are given as numbers.

    Each pair of an answer and a problem is compared once.

    Args:
        code: [rows] the answer's index in `answers`; negative where there is none.
        answers: different texts.
        problem: [rows] the problem's index in `golds`.
        golds: right answer of each problem.
        grader: a name in `answer.GRADERS`.

    Returns:
        [rows] bool verdicts.

    Raises:
        GraderError: there is no such grader; the nearest names are given.
    """
    check_grader(grader)
    equal = GRADERS[grader].equal
    pairs, inverse = np.unique((code + 1) * len(golds) + problem, return_inverse=True)
    right = np.zeros(len(pairs), bool)
    for index in range(np.searchsorted(pairs, len(golds)), len(pairs)):  # below: no answer
        text = answers[pairs[index] // len(golds) - 1]
        right[index] = text is not None and equal(text, golds[pairs[index] % len(golds)])
    return right[inverse]


def check_grader(grader: str) -> None:
    """Whether a grader can be used.

    Raises:
        GraderError: there is none of that name; the nearest names are given.
        MathProcessError: `math_verify` without its package.
    """
    if grader not in NAMES:
        near = difflib.get_close_matches(grader, NAMES, n=2, cutoff=0.4) or NAMES
        raise GraderError(
            f"there is no grader {grader!r}; nearest: {', '.join(near)}; all: {', '.join(NAMES)}"
        )
    if grader == MATH_VERIFY:
        check_installed()


def given_up(count: int, grader: str, seconds: float) -> str:
    """What is to be said of solutions that were not graded."""
    return (
        f"{count:,} solutions were not graded and count as wrong: {grader} took more than "
        f"{seconds:g} s over them, or broke off"
    )


def findings(
    name: str,
    grader: str,
    answered: np.ndarray,
    none_right: bool,
    gold: Mapping[str, str],
    look: Callable[[np.ndarray], Solutions],
) -> list[str]:
    """What makes verdicts doubtful, to be said before any figure.

    Named are answers that a grader does not find, and gold answers that it cannot compare.

    Args:
        name: of the split.
        grader: who graded.
        answered: [rows] bool, whether an answer was found in the solution.
        none_right: whether no solution is right.
        gold: the right answers that were graded by, by problem.
        look: texts and right answers of the solutions in chosen rows; asked once at most, for the
            first few in question.

    Returns:
        A sentence a finding; none where most solutions have an answer, some are right and every
        right answer can be compared.
    """
    said = _gold_findings(name, grader, gold) if grader in GRADERS else []
    unanswered = np.nonzero(~answered)[0]
    without = 2 * len(unanswered) > len(answered)
    if not without and not (none_right and len(answered)):
        return said
    solutions, golds = look((unanswered if without else np.arange(len(answered)))[:_LOOKED_AT])
    fault = f"finds no answer in {len(unanswered):,} of" if without else "finds none right of"
    example = f"such as one for {_quoted(golds[0])} that ends in {_quoted(solutions[0])}"
    return [
        *said,
        f"{name}: the grader {grader} {fault} {len(answered):,} solutions, {example}; "
        f"{_who_would(solutions, golds, grader)}.",
    ]


def _gold_findings(name: str, grader: str, gold: Mapping[str, str]) -> list[str]:
    """Gold answers that no solution can equal, with the grader that reads most of them."""
    bad = {answer for answer in set(gold.values()) if not comparable(answer, grader)}
    problems = [problem for problem, answer in gold.items() if answer in bad]
    if not problems:
        return []
    kind = "equation" if grader == "equation" else "number"
    tried = sorted(bad)[:_LOOKED_AT]
    read = {each: sum(comparable(answer, each) for answer in tried) for each in beside(grader)}
    best = max(read, key=lambda each: read[each])
    way_out = (
        f"{_taken(best)} reads {read[best]:,} of the {len(tried):,} different ones"
        if read[best]
        else f"give each as one {kind}; words are compared by {_taken('bbh')}"
    )
    what = (
        f"{len(problems):,} of {len(gold):,} gold answers hold no {kind} that the grader "
        f"{grader} compares"
    )
    return [
        f"{name}: {what}, such as {_quoted(gold[problems[0]])} of problem {problems[0]}: no "
        f"solution of theirs is right; {way_out}."
    ]


def _who_would(solutions: Sequence[str], golds: Sequence[str], grader: str) -> str:
    """The other grader that holds most of some solutions right, in words."""
    right = {
        each: int(relabel(solutions, golds, each).correct.sum())
        for each in beside(grader)
        if each != grader
    }
    best = max(right, key=lambda each: right[each])
    if not right[best]:
        return f"of the first {len(solutions):,} of these {', '.join(right)} hold none right either"
    return f"{_taken(best)} holds {right[best]:,} of the first {len(solutions):,} of these right"


def _taken(grader: str) -> str:
    return f"{grader} (--grader={grader} of rerank, label.grader={grader} of a run)"


def _quoted(text: str) -> str:
    """The end of a text, in quotes, with what a terminal would obey escaped."""
    return repr(("..." if len(text) > _SHOWN else "") + text[-_SHOWN:])


def answer_keys(answers: Sequence[str | None]) -> np.ndarray:
    """Integers that are equal where answers are numerically equal; -1 where there is no answer."""
    keys: dict[Any, int] = {}
    known: dict[str | None, int] = {}
    for answer in dict.fromkeys(answers):
        key = vote_key(answer)
        known[answer] = -1 if key is None else keys.setdefault(key, len(keys))
    return np.fromiter((known[answer] for answer in answers), np.int64, len(answers))


def disagreement(
    keys: Sequence[tuple[str, int]],
    solutions: Sequence[str],
    golds: Sequence[str],
    given: tuple[str, Relabelled],
) -> dict[str, Any]:
    """How often the graders give different verdicts on one solution, how, and a few examples.

    Graders of answers of the same kind (`answer.beside`) grade anew; the one that gave the report's
    verdicts takes part with these if it is another.

    Args:
        keys: problem_id and sample_id of every solution.
        solutions: texts of solutions.
        golds: the right answer of each.
        given: the grader whose verdicts the report uses, and its verdicts on these solutions.

    Returns:
        `share` of graded solutions with different verdicts, `judged`, `right` (count a grader),
        `pairs` (of every two `graders` the number of solutions that they grade differently,
        `differ`, its `share`, and the number that `only` one of them holds right), `patterns`
        (count of each way to disagree, most frequent first), `examples`, and `not_graded` among all
        solutions.
    """
    name, verdicts = given
    graded = {each: relabel(solutions, golds, each) for each in beside(name)}
    graded.setdefault(name, verdicts)
    right_GR = np.stack([each.correct for each in graded.values()])
    patterns: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    counts: collections.Counter[str] = collections.Counter()
    for row in np.nonzero(right_GR.any(axis=0) & ~right_GR.all(axis=0))[0].tolist():
        correct = {each: bool(relabelled.correct[row]) for each, relabelled in graded.items()}
        yes = " + ".join(each for each in graded if correct[each])
        no = " + ".join(each for each in graded if not correct[each])
        pattern = f"right: {yes}; wrong: {no}"
        counts[pattern] += 1
        if len(patterns[pattern]) < _EXAMPLES:
            patterns[pattern].append(
                {
                    "problem_id": keys[row][0],
                    "sample_id": int(keys[row][1]),
                    "gold": golds[row],
                    "answers": {
                        each: relabelled.answers[row] for each, relabelled in graded.items()
                    },
                    "correct": correct,
                    "ending": solutions[row][-_TAIL:],
                }
            )
    ordered = [patterns[pattern] for pattern, _ in counts.most_common()]
    examples = [group[turn] for turn in range(_EXAMPLES) for group in ordered if turn < len(group)]
    return {
        "share": sum(counts.values()) / len(solutions) if len(solutions) else 0.0,
        "judged": len(solutions),
        "right": {each: int(relabelled.correct.sum()) for each, relabelled in graded.items()},
        "pairs": _pairs(tuple(graded), right_GR),
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
        pairs.append(
            {
                "graders": [a, b],
                "differ": differ,
                "share": differ / max(right_GR.shape[1], 1),
                "only": only,
            }
        )
    return sorted(pairs, key=lambda pair: -pair["differ"])
