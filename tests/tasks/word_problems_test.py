"""The out-of-distribution sets: their formats, what is skipped, and the real files' counts."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from verifier.errors import DataError
from verifier.tasks.asdiv import load_asdiv
from verifier.tasks.multiarith import load_multiarith
from verifier.tasks.svamp import load_svamp
from verifier.tasks.word_problems import for_testing, join, number_text

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("body", "question", "joined"),
    [
        ("He has 3", "How many?", "He has 3. How many?"),
        ("He has 3. ", "How many?", "He has 3. How many?"),
        ("If he has 3,", "how many?", "If he has 3, how many?"),
        ('He said "3!"', "How many?", 'He said "3!" How many?'),
        ("", "  How   many? ", "How many?"),
    ],
)
def test_join(body, question, joined):
    assert join(body, question) == joined


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (51.0, "51"),
        (0.5, "0.5"),
        ("65.0", "65"),
        ("1,350", "1350"),
        ("3.10", "3.1"),
        (".5", "0.5"),
        (-3.0, "-3"),
        (7, "7"),
    ]
    + [
        (value, None)
        for value in ("5/2", "3:4", "two", "", True, None, float("nan"), float("inf"), "1.2.3")
    ],
)
def test_number_text(value, text):
    assert number_text(value) == text


def write(folder, name, content):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_svamp(tmp_path, monkeypatch, capsys):
    rows = [
        {"ID": "1", "Body": "He has 3", "Question": "How many?", "Answer": 3.0},
        {"ID": "2", "Body": "He has 3.", "Question": "How many?", "Answer": 3.0},
        {"ID": "3", "Body": "No", "Question": "Which?", "Answer": "red"},
    ]
    write(tmp_path, "SVAMP.json", rows)
    monkeypatch.setenv("SVAMP_DIR", str(tmp_path))
    splits = load_svamp()
    (problem,) = splits["test"]
    assert (problem.question, problem.solution, problem.answer) == (
        "He has 3. How many?",
        None,
        "3",
    )
    assert (problem.source, problem.split) == ("svamp", "test")
    said = capsys.readouterr().err
    assert (
        splits["train"] == []
        and "svamp: 1 problems; 1 skipped (no numeric answer), 1 left out (the question repeats)"
        in said
    )
    write(tmp_path, "SVAMP.json", [{"Body": "x", "Question": "y"}])
    with pytest.raises(
        DataError, match=r"SVAMP\.json, problem 0: no field 'Answer'; it has Body, Question"
    ):
        load_svamp()
    write(tmp_path, "SVAMP.json", "[\n{,}]")
    with pytest.raises(DataError, match=r"SVAMP\.json, line 2: not JSON"):
        load_svamp()
    write(tmp_path, "SVAMP.json", {})
    with pytest.raises(DataError, match="holds a dict; expected a list"):
        load_svamp()


def test_multiarith(tmp_path, capsys):
    rows = [
        {"sQuestion": " Some  words? ", "lSolutions": [39.0]},
        {"sQuestion": "Two?", "lSolutions": [1.0, 2.0]},
    ]
    write(tmp_path, "MultiArith.json", rows)
    splits = load_multiarith(str(tmp_path))
    assert [(problem.question, problem.answer) for problem in splits["test"]] == [
        ("Some words?", "39")
    ]
    assert "1 skipped" in capsys.readouterr().err


def test_asdiv(tmp_path):
    def problem(answer):
        texts = (
            f"<Body>A {answer[0]},</Body><Question>how many?</Question><Answer>{answer}</Answer>"
        )
        return f"<Problem ID='{answer}'>{texts}</Problem>"

    answers = ["9 (apples)", "8.50 (dollars)", "7", "6 (x); 5 (y)", "4:3", "Yes"]
    write(
        tmp_path, "ASDiv.xml", f"<C><ProblemSet>{''.join(map(problem, answers))}</ProblemSet></C>"
    )
    problems = load_asdiv(str(tmp_path))["test"]
    assert {problem.question[:3]: problem.answer for problem in problems} == {
        "A 9": "9",
        "A 8": "8.5",
        "A 7": "7",
    }
    write(tmp_path, "ASDiv.xml", "<C>\n<Problem ID='p7'><Body>x</Body></Problem></C>")
    with pytest.raises(DataError, match=r"problem p7: no element Question"):
        load_asdiv(str(tmp_path))
    write(tmp_path, "ASDiv.xml", "<C>\n<Prob")
    with pytest.raises(DataError, match=r"ASDiv\.xml, line 2: not XML"):
        load_asdiv(str(tmp_path))


@pytest.mark.parametrize(
    ("load", "variable", "files", "count"),
    [
        (load_svamp, "SVAMP_DIR", "svamp/SVAMP.json", 1000),
        (load_asdiv, "ASDIV_DIR", "asdiv/ASDiv.xml", 2083),
        (load_multiarith, "MULTIARITH_DIR", "multiarith/MultiArith.json", 580),
    ],
)
def test_missing_files_and_the_real_ones(load, variable, files, count, monkeypatch, tmp_path):
    name = files.partition("/")[2]
    path = pathlib.Path(os.environ.get(variable) or (SHARED / files).parent) / name
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(
        DataError,
        match=rf"{name} is not there .{variable}=.*from https://github.com.*--set data\.dir=",
    ):
        load()
    if not path.exists():
        pytest.skip(f"no {name} here; set {variable}")
    problems = load(str(path.parent))["test"]
    assert len(problems) == count
    assert all(
        problem.solution is None and number_text(problem.answer) == problem.answer
        for problem in problems
    )


def test_a_question_that_repeats_with_another_answer_is_refused():
    assert (
        len(
            for_testing(
                [("How many?", "18"), ("How  many?", "18.0")], "svamp", pathlib.Path("svamp.json")
            )["test"]
        )
        == 1
    )
    with pytest.raises(
        DataError, match="svamp: the question 'How many\\?' has two gold answers, '18' and '19'"
    ):
        for_testing([("How many?", "18"), ("How many?", "19")], "svamp", pathlib.Path("svamp.json"))
