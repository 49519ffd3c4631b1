"""What the out-of-distribution sets share: how texts are joined, numbers read, repeats left out."""

from __future__ import annotations

import collections
import math
import pathlib
import re
from collections.abc import Iterable

from verifier.errors import DataError
from verifier.grading.answer import same
from verifier.system import log
from verifier.text.problem import Problem, make_problem

_NUMBER = re.compile(r"[-+]?(\d[\d,]*(\.\d+)?|\.\d+)")


def join(body: str, question: str) -> str:
    """Body and question as running text.

    A full stop where the body lacks its end, none after a comma.
    """
    body, question = " ".join(body.split()), " ".join(question.split())
    if not body:
        return question
    closed = body.rstrip("\"')")[-1:] in {*".!?,;:"}
    return f"{body}{'' if closed else '.'} {question}"


def number_text(value: object) -> str | None:
    """A numeric answer as text; None for what is no number.

    Whole numbers have no fraction part: "51.0" gives "51".
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    text = str(value).strip()
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    if not _NUMBER.fullmatch(text):
        return None
    whole, point, rest = text.replace(",", "").partition(".")
    rest = rest.rstrip("0")
    return f"{whole or '0'}{point if rest else ''}{rest}"


def refuse_other_answer(kept: Problem, problem: Problem) -> None:
    """Raises DataError if a question that repeats has another answer than before."""
    if not (kept.answer == problem.answer or same(kept.answer, problem.answer)):
        which = (
            f"{problem.source}: the question {problem.question[:80]!r} has two gold answers, "
            f"{kept.answer!r} and {problem.answer!r}"
        )
        raise DataError(f"{which}; expected one: mend the file, or leave the question out")


Row = tuple[str, str | None, str | None]  # question, answer, worked solution


def with_one_answer(problems: Iterable[Problem], source: str) -> list[Problem]:
    """Problems whose question has one answer only, each once, sorted by problem_id.

    Both kinds of loss are said, of the source by this name.
    """
    asked: dict[str, list[Problem]] = collections.defaultdict(list)
    for problem in problems:
        asked[problem.problem_id].append(problem)
    clear = [each for each in asked.values() if len({one.answer for one in each}) == 1]
    repeated = sum(map(len, clear)) - len(clear)
    if len(clear) < len(asked) or repeated:
        log.say(
            f"{source}: {len(clear):,} problems; {len(asked) - len(clear):,} left out (the "
            f"question has more than one answer), {repeated:,} left out (the question repeats)"
        )
    # Of equal questions the one with the least text: a choice that no order of rows changes.
    kept = [min(each, key=lambda one: (one.question, one.solution or "")) for each in clear]
    return sorted(kept, key=lambda each: each.problem_id)


def for_testing(
    pairs: Iterable[tuple[str, str | None]], source: str, path: pathlib.Path
) -> dict[str, list[Problem]]:
    """Problems for testing, sorted by problem_id, solutions unknown; arguments as `distinct`.

    Returns:
        "train" (empty) and "test".
    """
    rows = ((question, answer, None) for question, answer in pairs)
    return {"train": [], "test": distinct(rows, source, "test", path)}


def distinct(rows: Iterable[Row], source: str, split: str, path: pathlib.Path) -> list[Problem]:
    """Problems of a source, sorted by problem_id.

    Args:
        rows: (question, answer, worked solution or None); where the answer is None it is not
            numeric and the problem is skipped. Both kinds of loss are said.
        source: what the problems call their source.
        split: which they are of.
        path: of the file, for messages.

    Raises:
        DataError: there is no problem.
    """
    problems: dict[str, Problem] = {}
    skipped = repeated = 0
    for question, answer, solution in rows:
        if answer is None:
            skipped += 1
            continue
        problem = make_problem(question, solution, answer, source=source, split=split)
        repeated += problem.problem_id in problems
        # Of equal questions the one with the least text stays: a choice that no order of rows
        # changes.
        kept = problems.setdefault(problem.problem_id, problem)
        refuse_other_answer(kept, problem)
        problems[problem.problem_id] = min(
            kept, problem, key=lambda each: (each.question, each.answer, each.solution or "")
        )
    if not problems:
        raise DataError(
            f"{path}: no problem with a numeric answer is in it ({skipped:,} without); fetch "
            f"{source}'s file again"
        )
    if skipped or repeated:
        log.say(
            f"{source}: {len(problems)} problems; {skipped} skipped (no numeric answer), "
            f"{repeated} left out (the question repeats)"
        )
    return [problems[problem_id] for problem_id in sorted(problems)]
