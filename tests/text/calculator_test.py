"""The calculator is exact, writes as GSM8K does, and refuses with a reason instead of failing."""

import json
import os
import pathlib
import re
from fractions import Fraction

import hypothesis
import pytest
from hypothesis import strategies as st

from verifier.text.calculator import (
    WRITTEN,
    Evaluated,
    Refused,
    annotations,
    evaluate,
    open_annotation,
)

GSM8K = (
    pathlib.Path(
        os.environ.get("GSM8K_DIR") or pathlib.Path(__file__).parents[3] / "shared/data/gsm8k"
    )
    / "train.jsonl"
)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("4/2", "2"),
        ("48/2", "24"),
        ("63.00000000000001", "63"),
        ("0.1+0.2", "0.3"),
        ("1.1*3", "3.3"),
        ("10*.25", "2.5"),
        (".5*.5", ".25"),
        ("0-.5", "-.5"),
        (".5*3", "1.5"),
        ("10.50-.5", "10"),
        ("3*2.50", "7.50"),
        ("2.50*2", "5"),
        ("1.10/8", "0.1375"),
        ("2/3", "0.6666666667"),
        ("100000/3", "33333.33333"),
        ("5.", "5"),
        ("007", "7"),
        ("1,000*2", "2000"),
        ("1,234,567.5", "1234567.5"),
        (" 2 + 3 ", "5"),
        ("2--3", "5"),
        ("-(2+3)*-4", "20"),
        ("+5", "5"),
        ("2-3-4", "-5"),
        ("24/4/2", "3"),
        ("2+3*4", "14"),
        ("(2+3)*4", "20"),
        ("((((1))))", "1"),
        ("+".join(["(1)"] * 40), "40"),
        ("5-5", "0"),
        ("560//10", "56"),
        ("180 // 3", "60"),
    ],
)
def test_values_and_writing(expression, text):
    result = evaluate(expression)
    assert isinstance(result, Evaluated), result
    assert result.text == text and set(text) <= WRITTEN
    assert abs(Fraction(result.text) - result.value) <= abs(result.value) * Fraction(1, 10**9)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "nothing"),
        ("   ", "nothing"),
        ("2**3", r"\*\*"),
        ("9**9**9**9", r"\*\*"),
        ("7//2", "evenly"),
        ("7//0", "zero"),
        ("7.5//2.5", "evenly"),
        ("5/0", "zero"),
        ("1/(2-2)", "zero"),
        ("x+1", "'x'"),
        ("__import__('os')", "'_'"),
        ("1e9", "'e'"),
        ("$5*2", r"'\$'"),
        ("50%", "'%'"),
        ("2(3)", "follows"),
        ("(2)(3)", "follows"),
        ("1 000", "follows"),
        ("1,00", "not a number"),
        ("(1,2)", "not a number"),
        ("1000,000", "not a number"),
        (",5", "not a number"),
        ("1.2.3", "not a number"),
        (".", "not a number"),
        ("2+", "breaks off"),
        ("(2", "not closed"),
        ("2)", "follows"),
        ("()", "stands where"),
        ("*2", "stands where"),
        ("2* *3", "stands where"),
        ("²", "'²'"),
        ("٣+1", "part of arithmetic"),
        ("2\n+3", "part of arithmetic"),
        ("(" * 200 + "1" + ")" * 20, "parentheses"),
        ("9" * 200, "characters"),
        ("1/" + "9" * 40, "characters"),
        ("1" * 100_000, "characters"),
        ("-" * 100_000 + "1", "characters"),
    ],
)
def test_refusals_say_why(expression, reason):
    result = evaluate(expression)
    assert isinstance(result, Refused), result
    assert re.search(reason, result.reason), result.reason


@hypothesis.given(st.text(alphabet="0123456789+-*/.(), x=", max_size=300))
def test_never_raises(expression):
    result = evaluate(expression)
    assert isinstance(result, Refused) or len(result.text) <= 30


NUMBERS = st.integers(0, 999).map(str) | st.decimals(0, 99, places=2).map(str)
TREES = st.recursive(
    NUMBERS.map(lambda text: (text, Fraction(text))),
    lambda tree: st.tuples(tree, st.sampled_from("+-*"), tree).map(
        lambda parts: (
            f"({parts[0][0]}{parts[1]}{parts[2][0]})",
            {"+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__}[parts[1]](
                parts[0][1], parts[2][1]
            ),
        )
    ),
    max_leaves=8,
)


@hypothesis.given(TREES)
def test_agrees_with_fractions(tree):
    expression, value = tree
    result = evaluate(expression)
    assert isinstance(result, Refused) == (len(expression) > 256) or "takes" in getattr(
        result, "reason", ""
    )
    if isinstance(result, Evaluated):
        assert result.value == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so <<2+3=", ("2+3", "")),
        ("so <<2+3=$", ("2+3", "$")),
        ("<<5==", ("5", "=")),
        ("<<1=1>>1 and <<2*2=", ("2*2", "")),
        ("<<<4=", ("4", "")),
        ("<<=", ("", "")),
        ("<<2+3", None),
        ("<<2+3=5>>", None),
        ("<<1+1= and <<2*2=4>>", None),
        ("2+3=", None),
        ("", None),
    ],
)
def test_open_annotations(text, expected):
    opened = open_annotation(text)
    assert (opened and (opened.expression, opened.written)) == expected


def test_closed_annotations_have_the_span_of_their_result():
    text = "a <<2*3=6>>6 b <<1/2=.5>>.5 c <<7+"
    closed = annotations(text)
    assert [(one.expression, one.result, text[one.start : one.end]) for one in closed] == [
        ("2*3", "6", "6>>"),
        ("1/2", ".5", ".5>>"),
    ]


@pytest.mark.skipif(
    not GSM8K.is_file(), reason="no GSM8K: set GSM8K_DIR to a folder with train.jsonl"
)
def test_every_annotation_of_gsm8k():
    noted = [
        one
        for line in GSM8K.read_text("utf-8").splitlines()
        for one in annotations(json.loads(line)["answer"])
    ]
    results = [evaluate(one.expression) for one in noted]
    assert len(noted) == 23_716
    wrong = [
        (one, result)
        for one, result in zip(noted, results, strict=True)
        if isinstance(result, Refused)
        or abs(Fraction(result.text) - Fraction(one.result)) > Fraction(1, 10**6)
    ]
    assert not wrong
    assert (
        sum(result.text == one.result for one, result in zip(noted, results, strict=True)) == 23_098
    )
