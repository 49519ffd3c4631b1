"""Equations as worked solutions in GSM8K's format: a line an operation, each with its annotation.

`((32.0+42.0)-35.0)` with the answer 39 becomes

    32+42=<<32+42=74>>74
    74-35=<<74-35=39>>39
    #### 39

SVAMP, MultiArith and ASDiv have an equation for each problem and no worked solution. ASDiv's may be
several statements (`43+19+16=78; 78-77=1`) and have units (`840 (cm)`); remainders, ratios,
greatest common divisors and unknowns are no arithmetic that the calculator does. Of ASDiv's 2,084
problems with a number for an answer 1,575 can be written so, of SVAMP's 1,000 all but 3, of
MultiArith's 600 all.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import pathlib
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction

from verifier.system import log
from verifier.tasks.word_problems import Row, distinct, for_testing, number_text
from verifier.text import calculator
from verifier.text.answer_lines import MARK
from verifier.text.problem import Problem

_UNIT = re.compile(r"\([A-Za-z][A-Za-z /]*\)")
_UNKNOWN = re.compile(r"[A-Za-z]")
_SIGNS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "/",  # the calculator takes it where it comes out even
}


@dataclasses.dataclass(frozen=True)
class Unworked:
    """Why an equation is no worked solution."""

    reason: str


class _Refusal(Exception):
    """Carries the reason to the door."""


def for_learning(
    rows: Iterable[tuple[str, str | None, str]], source: str, path: pathlib.Path, solutions: str
) -> dict[str, list[Problem]]:
    """The problems of a source for testing, or to learn from.

    Args:
        rows: (question, answer, equation); without an answer the problem is skipped.
        source: what the problems call their source.
        path: of the file, for messages.
        solutions: "source", which has none: all problems are "test"; "equations": those whose
            equation is a solution are "train". How many are not is said, by reason.

    Raises:
        DataError: there is no problem.
    """
    if solutions == "source":
        return for_testing(((question, answer) for question, answer, _ in rows), source, path)
    return {"train": distinct(_with_solutions(rows, source), source, "train", path), "test": []}


def _with_solutions(rows: Iterable[tuple[str, str | None, str]], source: str) -> Iterator[Row]:
    refused: collections.Counter[str] = collections.Counter()
    for question, answer, equation in rows:
        solution = None if answer is None else worked(equation, answer)
        if isinstance(solution, Unworked):
            refused[solution.reason] += 1
        else:
            yield question, answer, solution
    for reason, count in refused.most_common():
        log.say(f"{source}: {count:,} left out, whose equation is no worked solution: {reason}")


def worked(equation: str, answer: str) -> str | Unworked:
    """The solution that an equation stands for, its last line `#### N` included.

    Args:
        equation: `7+2=9`, `X=((32.0+42.0)-35.0)`, `( 8.0 - 3.0 )`, or several, with `;` between.
        answer: the right one, a number.

    Returns:
        The solution, whose every annotation the calculator writes in the same way; or the reason
        why there is none.
    """
    lines: list[str] = []
    try:
        for statement in equation.split(";"):
            came_to = _worked_statement(_UNIT.sub("", statement).strip(), lines)
        if not lines:
            raise _Refusal("there is no operation in it")
        if _value(came_to) != _value(answer):
            raise _Refusal("it comes to another number than the answer")
    except _Refusal as refusal:
        return Unworked(str(refusal))
    return "\n".join([*lines, f"{MARK} {answer}"])


def _worked_statement(statement: str, lines: list[str]) -> str:
    """Adds the lines of `7+2=9`, `X=7+2` or `7+2`; what it comes to."""
    left, equals, right = (part.strip() for part in statement.partition("="))
    if equals and _UNKNOWN.fullmatch(left):
        left, equals = right, ""
    exact = _value(left)
    if equals and _value(right) != exact:
        raise _Refusal("its two sides are not equal")
    text = left.replace(",", "")
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:  # what the calculator reads and Python does not: 007
        raise _Refusal("it has a number with leading zeros") from error
    came_to = _operand(tree, text, lines)
    assert _value(came_to) == exact
    return came_to


def _operand(node: ast.expr, text: str, lines: list[str]) -> str:
    """What a part of an expression comes to, after the lines that work it out."""
    if isinstance(node, ast.Constant):
        number = number_text(ast.get_source_segment(text, node))
        if number is None:
            raise _Refusal("it has a number that is not written plainly")
        return number
    if isinstance(node, ast.UnaryOp):
        if isinstance(node.operand, ast.BinOp):
            raise _Refusal("a sign stands before parentheses")
        number = _operand(node.operand, text, lines)
        negative = isinstance(node.op, ast.USub) != number.startswith("-")
        return "-" * negative + number.removeprefix("-")
    if not isinstance(node, ast.BinOp):
        raise _Refusal("it is no arithmetic")
    left, right = (_operand(each, text, lines) for each in (node.left, node.right))
    sign = _SIGNS[type(node.op)]
    expression = f"{left}{sign}({right})" if right[0] == "-" else f"{left}{sign}{right}"
    result = calculator.evaluate(expression)
    if isinstance(result, calculator.Refused):
        raise _Refusal("the calculator does not work it out")
    if _value(result.text) != result.value:
        raise _Refusal("a result on the way is rounded")
    lines.append(f"{expression}=<<{expression}={result.text}>>{result.text}")
    return result.text


def _value(expression: str) -> Fraction:
    """What an expression comes to, exactly."""
    came_to = calculator.value(expression)
    if came_to is None:
        raise _Refusal("the calculator does not work it out")
    return came_to
