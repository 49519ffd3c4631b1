"""BIG-Bench Hard's answers: what is another spelling, what is another answer, and where the
lenient grader flatters.
"""

import itertools
import json
import os
import pathlib

import hypothesis
import pytest
from hypothesis import strategies as st

from verifier.evaluate import results_table
from verifier.grading import bbh, graders
from verifier.grading.answer import comparable, extract, grade, same

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "bbh"
# solution, target, whether bbh and whether bbh_substring hold it right
TABLE = [
    ("So the answer is (B).", "(B)", True, True),
    ("So the answer is B.", "(B)", True, False),
    ("so the answer is b", "(B)", True, False),
    ("So the answer is B)", "(B)", True, False),
    ("So the answer is **(B)**.", "(B)", True, True),
    ("So the answer is (A).", "(B)", False, False),
    ("So the answer is (A) or (B).", "(B)", False, True),
    ("So the answer is not (B).", "(B)", False, True),
    ("So the answer is True.", "True", True, True),
    ("So the answer is true", "True", True, False),
    ("So the answer is not True.", "True", False, True),
    ("So the answer is invalid.", "valid", False, True),
    ("So the answer is valid.", "invalid", False, False),
    ("So the answer is nothing.", "no", False, True),
    ("So the answer is 124.", "24", False, True),
    ("So the answer is 24.0.", "24", True, True),
    ("So the answer is 1,024.", "1024", True, False),
    ("So the answer is -24.", "24", False, True),
    ("So the answer is 2,4.", "24", False, False),
    ("So the answer is 24.", "2,4", False, False),
    ("So the answer is barn, damp, dot.", "barn damp dot", True, False),
    ('So the answer is ["barn", "damp", "dot"].', "barn damp dot", True, False),
    ("So the answer is damp barn dot.", "barn damp dot", False, False),
    ("So the answer is barn damp dot zoo.", "barn damp dot", False, True),
    ("So the answer is ]]>.", "] ] >", True, False),
    ("So the answer is ] ] >", "] ] >", True, True),
    ("So the answer is ] >", "] ] >", False, False),
    ("So the answer is ( ) ]", ") ]", False, True),
    ("So the answer is Monsters, Inc.", "Monsters, Inc", True, True),
    ("The answer is\n(B)", "(B)", True, False),
    ("the answer is (A). No, the answer is (B).", "(B)", True, False),
    ("the answer is (B). No, the answer is (A).", "(B)", False, True),
    ("the answer is (B).\n\nQ: And now?\nA: the answer is (A).", "(B)", True, True),
    ("(B)", "(B)", True, True),
    ("Step one: (A).\nStep two: (B)", "(B)", False, False),
    ("the answer is", "(B)", False, False),
    ("the answer is .", "(B)", False, False),
    ("", "(B)", False, False),
]


@pytest.mark.parametrize("row", TABLE, ids=[repr(row[:2]) for row in TABLE])
def test_conformance(row):
    solution, target, strict, lenient = row
    assert grade(solution, target, "bbh").correct == strict
    assert grade(solution, target, "bbh_substring").correct == lenient


def test_votes_count_spellings_of_one_answer_together():
    one, *others = (extract(f"the answer is {text}", "bbh") for text in ("(B)", "B.", "b", "**B**"))
    assert one == "B" and all(same(one, other) for other in others)
    assert same(extract("the answer is 7.0", "bbh"), extract("the answer is 7.", "bbh"))
    assert extract("the answer is ...", "bbh") is None


@hypothesis.given(st.text() | st.text(alphabet="()[]<>{} ,.\"'Aa1*$\n"))
def test_one_spelling_is_its_own_and_nothing_raises(text):
    spelled = bbh.spelled(text)
    assert bbh.spelled(spelled) == spelled
    assert bbh.same_answer(text, text) == bool(spelled)
    answer = bbh.stated(f"the answer is {text}")
    assert answer is None or answer


def test_a_report_says_how_much_the_lenient_grader_flatters():
    solutions = [row[0] for row in TABLE]
    targets = [row[1] for row in TABLE]
    keys = [(f"p{row}", 0) for row in range(len(TABLE))]
    given = graders.relabel(solutions, targets, "bbh")
    report = graders.disagreement(keys, solutions, targets, ("bbh", given))
    assert report["right"] == {
        "bbh": sum(row[2] for row in TABLE),
        "bbh_substring": sum(row[3] for row in TABLE),
    }
    (pair,) = report["pairs"]
    assert pair["only"] == {
        "bbh": sum(row[2] and not row[3] for row in TABLE),
        "bbh_substring": sum(row[3] and not row[2] for row in TABLE),
    }


def test_every_real_target_is_right_and_no_other_of_its_task_is():
    folder = pathlib.Path(os.environ.get("BBH_DIR") or SHARED)
    paths = sorted(folder.glob("*.json"))
    if not paths:
        pytest.skip("no BIG-Bench Hard here; set BBH_DIR")
    for path in paths:
        targets = sorted({row["target"] for row in json.loads(path.read_text())["examples"]})
        for target in targets:
            for text in (f"It is so.\nSo the answer is {target}.", target):
                assert grade(text, target, "bbh").correct, (path.name, text)
                assert grade(text, target, "bbh_substring").correct, (path.name, text)
            assert comparable(target, "bbh") and comparable(target, "bbh_substring")
        for one, other in itertools.permutations(targets[:60], 2):
            assert not grade(f"So the answer is {one}.", other, "bbh").correct, (one, other)


def test_the_table_of_results_says_it_too():
    solutions = ["So the answer is invalid."] * 3 + ["So the answer is Valid."]
    targets = ["valid"] * 4
    given = graders.relabel(solutions, targets, "bbh")
    keys = [("p", row) for row in range(4)]
    report = graders.disagreement(keys, solutions, targets, ("bbh", given))
    assert results_table._graders(report) == (
        "graders differ on 100.0% of 4 solutions; bbh alone holds 25.0% right, "
        "bbh_substring alone holds 75.0% right"
    )
