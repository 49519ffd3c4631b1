"""Questions with labels, in the field names of known data sets."""

from __future__ import annotations

import json

import pytest

from verifier.config import DataConfig
from verifier.errors import DataError
from verifier.grading.answer import grade
from verifier.grading.rationales import Rationale, parse
from verifier.tasks.labelled_choice import load_labelled_choice, read_item
from verifier.tasks.sources import load_problems

ASKED = "What absorbs ink?\nAnswer Choices:\n(a) pen\n(b) blotter"
TEXTS = ["pen", "blotter"]
OBJECTS = [{"label": letter, "text": text} for letter, text in zip("AB", TEXTS, strict=True)]
STEM = {"question": "What absorbs ink?"}


@pytest.mark.parametrize(
    ("row", "item"),
    [
        ({"input": "a?", "label": "yes"}, ("a?", "yes", "")),
        ({"input": "a?", "label": 0, "rationale": " so "}, ("a?", "0", "so")),
        ({"input": "a?", "label": -1}, ("a?", None, "")),
        ({"premise": "p", "hypothesis": "h", "label": 2}, ("p\nh", "contradiction", "")),
        ({"premise": "p", "hypothesis": "h", "label": "neutral"}, ("p\nh", "neutral", "")),
        ({"premise": "p", "hypothesis": "h", "label": "-"}, ("p\nh", None, "")),
        (
            {"premise": "p", "hypothesis": "h", "label": 0, "reason": "r", "uid": "1"},
            ("p\nh", "entailment", "r"),
        ),
        (
            STEM | {"choices": TEXTS, "answer": "blotter", "abstractive_explanation": "e"},
            (ASKED, "blotter", "e"),
        ),
        (STEM | {"choices": OBJECTS, "answerKey": "B"}, (ASKED, "blotter", "")),
        (
            STEM | {"choices": {"label": ["A", "B"], "text": TEXTS}, "answerKey": "A"},
            (ASKED, "pen", ""),
        ),
        (
            {"question": {"stem": STEM["question"], "choices": OBJECTS}, "answerKey": "B"},
            (ASKED, "blotter", ""),
        ),
        (STEM | {"choices": OBJECTS, "answerKey": ""}, (ASKED, None, "")),
    ],
)
def test_fields_of_known_data_sets(row, item):
    assert read_item(row, "here") == item


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "label": 1}, "the fields text, label; expected input and label"),
        ({}, "the fields none; expected"),
        ({"input": 3, "label": 1}, "field 'input' is a JSON int"),
        ({"input": "a", "label": [1]}, r"the label is '\[1\]'"),
        ({"premise": "p", "hypothesis": "h"}, "no field 'label'"),
        ({"premise": "p", "hypothesis": "h", "label": 3}, "the label is '3'; expected 0, 1, 2 or"),
        (STEM | {"choices": TEXTS, "answer": "cow"}, "answer is 'cow', which is none.*A 'pen'"),
        (STEM | {"choices": OBJECTS, "answerKey": "C"}, "answerKey is 'C', which is none"),
        (STEM | {"choices": "pen", "answerKey": "A"}, "the choices are 'pen'; expected a list"),
        (STEM | {"choices": [], "answerKey": "A"}, r"the choices are '\[\]'"),
        (STEM | {"choices": [3], "answerKey": "A"}, r"the choices are '\[3\]'"),
        (STEM | {"choices": TEXTS}, "no field 'answerKey'"),
        (
            STEM | {"choices": {"label": ["A", "B", "C"], "text": TEXTS}, "answerKey": "A"},
            "the choices are .*two lists of one length",
        ),
    ],
)
def test_what_is_none_is_named(row, message):
    with pytest.raises(DataError, match=f"^here: {message}"):
        read_item(row, "here")


def write(folder, **files):
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows(split, count):
    return [{"input": f"{split} {n}?", "label": "yes"} for n in range(count)]


def test_a_folder_of_files(tmp_path, capsys, monkeypatch):
    extra = [
        {"input": "train 0?", "label": "yes", "rationale": "why"},
        {"input": "train 1?", "label": "no"},
        {"input": "unknown?", "label": ""},
    ]
    write(tmp_path, train=[*rows("train", 9), *extra], test=rows("test", 3))
    monkeypatch.setenv("LABELLED_CHOICE_DIR", str(tmp_path))
    splits = load_labelled_choice()
    assert {split: len(each) for split, each in splits.items()} == {"train": 8, "test": 3}
    said = capsys.readouterr().err
    assert "train.jsonl: 1 of 12 rows left out, which have no label" in said
    assert "1 left out (the question has more than one answer), 1 left out (the question" in said
    for each in splits["train"]:
        assert parse(each.solution, "anli") == Rationale(
            each.solution.partition("So the")[0].strip(), each.answer
        )
        assert grade(each.solution, each.answer, "bbh").correct
    # without and with files that hold out
    held = load_problems(DataConfig(name="labelled_choice", heldout_problems=2), 0)
    assert {split: len(each) for split, each in held.items()} == {
        "train": 6,
        "heldout": 2,
        "test": 3,
    }
    write(tmp_path, valid=rows("valid", 4))
    held = load_problems(DataConfig(name="labelled_choice", heldout_problems=3), 0)
    assert len(held["train"]) == 8 and len(held["heldout"]) == 3
    assert all(each.question.startswith("valid") for each in held["heldout"])


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("LABELLED_CHOICE_DIR", raising=False)
    with pytest.raises(
        DataError, match=r"needs train\.jsonl and test\.jsonl .*LABELLED_CHOICE_DIR="
    ):
        load_labelled_choice()
    write(tmp_path, train=[{"input": "a", "label": ""}], test=rows("test", 1))
    with pytest.raises(DataError, match=r"train\.jsonl: none of its 1 rows has a label"):
        load_labelled_choice(str(tmp_path))
