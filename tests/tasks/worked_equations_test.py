"""Equations as worked solutions: what the calculator would write, line by line."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from tests.grading.equations_test import random_equation
from verifier.grading.answer import grade
from verifier.tasks.worked_equations import Unworked, worked
from verifier.text import calculator


@pytest.mark.parametrize(
    ("equation", "answer", "lines"),
    [
        ("7+2=9", "9", ["7+2=<<7+2=9>>9"]),
        ("( 8.0 - 3.0 )", "5", ["8-3=<<8-3=5>>5"]),
        ("X=((32.0+42.0)-35.0)", "39", ["32+42=<<32+42=74>>74", "74-35=<<74-35=39>>39"]),
        ("10-(3+2)=5", "5", ["3+2=<<3+2=5>>5", "10-5=<<10-5=5>>5"]),
        ("2*9+3=21 ", "21", ["2*9=<<2*9=18>>18", "18+3=<<18+3=21>>21"]),
        ("43+36=79; 79-77=2", "2", ["43+36=<<43+36=79>>79", "79-77=<<79-77=2>>2"]),
        ("840 (cm) / 100 (cm/m) = 8.40 (m)", "8.4", ["840/100=<<840/100=8.4>>8.4"]),
        ("1,000 + .50", "1000.5", ["1000+0.5=<<1000+0.5=1000.5>>1000.5"]),
        ("3 - 5 = -2; 4 - -2 = 6", "6", ["3-5=<<3-5=-2>>-2", "4-(-2)=<<4-(-2)=6>>6"]),
    ],
)
def test_a_line_an_operation(equation, answer, lines):
    assert worked(equation, answer) == "\n".join([*lines, f"#### {answer}"])


@pytest.mark.parametrize(
    ("equation", "answer", "reason"),
    [
        ("( ( 4.0 - 2.0 ) + 3.0 )", "1", "another number than the answer"),
        ("8.0", "8", "no operation"),
        ("7+2=10", "10", "two sides are not equal"),
        ("(1+1+2)/3=1.333", "1.333", "two sides are not equal"),
        ("( 60.0 * ( 55.0 / 15.0 ) )", "220", "rounded"),
        ("1/3", "0.3333333333", "rounded"),
        ("47/6=7 r5", "5", "does not work it out"),
        ("15:18=5:6", "5", "does not work it out"),
        ("GCD(16,12)=4", "4", "does not work it out"),
        ("x:The number; 2x-12=20", "16", "does not work it out"),
        ("1/0", "1", "does not work it out"),
        ("007+1", "8", "leading zeros"),
        ("-(2+3) = -5", "-5", "sign stands before"),
        ("", "1", "does not work it out"),
        ("3+4", "seven", "does not work it out"),
    ],
)
def test_what_is_no_worked_solution_has_a_reason(equation, answer, reason):
    refused = worked(equation, answer)
    assert isinstance(refused, Unworked) and reason in refused.reason


def test_every_annotation_is_the_calculator_s_and_the_last_is_the_answer():
    rng, counts = random.Random(0), {True: 0, False: 0}
    for _ in range(500):
        equation = random_equation(rng, 3)
        exact = calculator.evaluate(equation)
        answer = exact.text if isinstance(exact, calculator.Evaluated) else "1"
        text = worked(equation, answer)
        counts[isinstance(text, str)] += 1
        if isinstance(text, Unworked):
            continue
        found = calculator.annotations(text)
        operations = sum(equation.count(f" {sign} ") for sign in "+-*/")
        assert len(found) == operations == text.count("\n")
        for each in found:
            result = calculator.evaluate(each.expression)
            assert result.text == each.result and Fraction(each.result) == result.value
        assert Fraction(found[-1].result) == exact.value
        assert grade(text, answer, "numeric").correct and grade(text, answer, "paper").correct
    assert min(counts.values()) > 50
