"""Equations as answers: equal where they come to the same, and nothing is run as a program."""

import random
from fractions import Fraction

import hypothesis
import pytest
from hypothesis import strategies as st

from verifier.grading import equations, graders
from verifier.grading.answer import comparable, extract, grade, same, vote_key

REFUSED = [
    *("", " ", "nan", "inf", "x", "(", ")", "( 3 - )", "3 +", "1 2", "2(3)", "2 ** 9 ** 9"),
    *("1 / 0", "( 4 - 4 ) / ( 2 - 2 )", "0 / 0", "1e5", "5 - 3 = 2", "1_000", "3; 4", "3 if 1"),
    *("__import__('os').system('true')", "print(3)", "[].append(3)", "(lambda: 3)()", "9 // 2"),
    *("(" * 40 + "1" + ")" * 40, "1+" * 200 + "1", "9*" * 40 + "9"),
]


def random_equation(rng: random.Random, depth: int) -> str:
    """With parentheses around every operation, as SVAMP writes them."""
    if not depth or rng.random() < 0.3:
        return rng.choice(["3", "8.0", "2.5", "10", ".5", "0.25"])
    sides = [random_equation(rng, depth - 1) for _ in range(2)]
    return f"( {sides[0]} {rng.choice('+-*/')} {sides[1]} )"


def reference(equation: str) -> Fraction | None:
    """By Python's parser, numbers made exact beforehand; only for equations made here."""
    words = [
        f"Fraction('{word}')" if word[0].isdigit() or word[0] == "." else word
        for word in equation.split()
    ]
    try:
        return eval(" ".join(words), {"Fraction": Fraction})  # noqa: S307
    except ZeroDivisionError:
        return None


def test_values_are_those_of_exact_arithmetic():
    rng = random.Random(0)
    failures = 0
    for _ in range(500):
        equation = random_equation(rng, 3)
        expected = reference(equation)
        failures += expected is None
        assert equations.value(equation) == expected, equation
    assert failures  # divisions by zero are among them


@pytest.mark.parametrize("text", REFUSED)
def test_what_has_no_value_equals_nothing_not_even_itself(text):
    assert equations.value(text) is None
    assert extract(text, "equation") is None
    for gold in (text, "3", "( 8.0 - 3.0 )"):
        assert not grade(text, gold, "equation").correct
        assert not grade(gold, text, "equation").correct
        assert not equations.same_value(text, gold) and not equations.same_value(gold, text)
    assert not comparable(text, "equation")


@hypothesis.given(st.text() | st.text(alphabet="0123456789.+-*/() \t\n"))
def test_any_text_has_a_value_or_none(text):
    came_to = equations.value(text)
    assert came_to is None or isinstance(came_to, Fraction)
    assert equations.same_value(text, text) == (came_to is not None)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("( 8.0 - 3.0 )", "(8-3)", True),
        ("( 8.0 - 3.0 )", " (\t8.0\n-3.0 )\u00a0", True),
        ("( 8.0 - 3.0 )", "( 3.0 + 2.0 )", True),
        ("( 8.0 - 3.0 )", "5", True),
        ("( 8.0 - 3.0 )", "( 3.0 - 8.0 )", False),
        ("0.1 + 0.2", "0.3", True),  # not in floats
        ("1 / 3", "0.3333333333", False),
        ("10 / 4 / 2", "10 / ( 4 * 2 )", True),
        ("10 / 4 / 2", "10 / ( 4 / 2 )", False),
        ("2 - - 3", "5", True),
    ],
)
def test_equal_where_they_come_to_the_same(one, other, equal):
    assert grade(one, other, "equation").correct == equal
    assert grade(other, one, "equation").correct == equal


def test_an_equation_behind_a_rationale_and_votes_by_value():
    stated = [
        "He gave 3 of 8 away. The answer is ( 8.0 - 3.0 ).",
        "The answer is 4. No, the answer is: (2 + 3)",
        "5",
    ]
    answers = [extract(text, "equation") for text in stated]
    assert answers == ["5"] * 3 and extract("( 10 / 3 )", "equation") == "10/3"
    assert same("10/3", extract("5 / 1.5", "equation")) and vote_key("10/3") == Fraction(10, 3)
    assert extract("the answer is unknown", "equation") is None


def test_exact_compares_texts_beside_it():
    solutions, golds = ["( 8.0 - 3.0 )", "(8-3)", "( 8.0 - 3.0 ) "], ["( 8.0 - 3.0 )"] * 3
    report = graders.disagreement(
        [("p", n) for n in range(3)],
        solutions,
        golds,
        ("equation", graders.relabel(solutions, golds, "equation")),
    )
    assert report["right"] == {"equation": 3, "exact": 2}
