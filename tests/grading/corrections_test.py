"""The list of known-wrong gold answers: each correction follows from its reason, and is applied to
nothing else.
"""

import os
import pathlib
import re

import pyarrow as pa
import pytest

from verifier.grading import corrections
from verifier.grading.number import parse_number
from verifier.tasks.gsm8k import load_gsm8k
from verifier.text import calculator

REAL = pathlib.Path(
    os.environ.get("GSM8K_DIR") or pathlib.Path(__file__).parents[3] / "shared" / "data" / "gsm8k"
)


@pytest.mark.parametrize("row", corrections.known(), ids=lambda row: row["problem_id"])
def test_the_reason_ends_in_arithmetic_that_gives_the_new_answer(row):
    equation = re.search(rf"([0-9 ()*+-]+) = {row['new']}\b", row["reason"])
    assert equation, row["reason"]
    assert (
        calculator.evaluate(equation[1].strip()).value
        == parse_number(row["new"])
        != parse_number(row["old"])
    )


def test_no_problem_is_listed_twice():
    ids = [row["problem_id"] for row in corrections.known()]
    assert len(ids) == len(set(ids)) >= 5 and ids == sorted(ids)


@pytest.mark.skipif(not (REAL / "test.jsonl").is_file(), reason="needs GSM8K_DIR")
def test_the_list_fits_the_data():
    gold = {
        each.problem_id: each.answer for part in load_gsm8k(str(REAL)).values() for each in part
    }
    right, fixed = corrections.corrected(gold)
    assert fixed == corrections.known()
    assert {name for name in gold if gold[name] != right[name]} == {
        row["problem_id"] for row in fixed
    }


def test_only_the_known_wrong_answer_is_corrected():
    row = corrections.known()[0]
    name, old, new = row["problem_id"], row["old"], row["new"]
    assert corrections.corrected({name: old, "other": old}) == ({name: new, "other": old}, [row])
    assert corrections.corrected({name: f"{int(old):,}.0"})[0] == {name: new}
    for answers in ({name: new}, {name: "7"}, {"other": old}, {}):
        assert corrections.corrected(answers) == (answers, [])


def test_a_table_gets_the_new_answers_and_keeps_the_rest():
    row = corrections.known()[0]
    table = pa.table(
        {
            "problem_id": ["x", row["problem_id"]],
            "answer": ["1", row["old"]],
            "question": ["a", None],
        }
    )
    changed = corrections.with_answers(table, [row])
    assert changed["answer"].to_pylist() == ["1", row["new"]] and changed.schema == table.schema
    assert changed.drop_columns(["answer"]).equals(table.drop_columns(["answer"]))
    assert corrections.with_answers(table, []) is table
