"""Sources whose equations are labels or worked solutions, and ASDiv without labels."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

from verifier.config import DataConfig
from verifier.errors import DataError
from verifier.grading.answer import grade
from verifier.tasks.asdiv import load_asdiv
from verifier.tasks.multiarith import load_multiarith
from verifier.tasks.sources import SOURCES, load_problems
from verifier.tasks.svamp import load_svamp, load_svamp_equations
from verifier.text.problem import make_problem

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data"
# numpy.random.RandomState(0).permutation(20) and numpy.random.default_rng(0).permutation(16), which
# must never become others
ORDER = [18, 1, 19, 8, 10, 17, 6, 13, 4, 2, 5, 14, 9, 7, 16, 11, 3, 0, 15, 12]
INNER = [2, 11, 3, 10, 0, 4, 7, 5, 14, 12, 6, 9, 13, 8, 1, 15]


def folder_of(variable, name):
    folder = pathlib.Path(os.environ.get(variable) or SHARED / name)
    if not folder.is_dir():
        pytest.skip(f"no {name} here; set {variable}")
    return str(folder)


def svamp_folder(folder, count=20):
    rows = [
        {
            "ID": str(n),
            "Body": f"He has {n}",
            "Question": "How many?",
            "Equation": f"( {n}.0 + 1.0 )",
            "Answer": float(n + 1 + (n == 3)),
        }
        for n in range(count)
    ]
    (folder / "SVAMP.json").write_text(json.dumps(rows))
    return str(folder)


def test_svamp_with_equations_for_answers_has_the_split_of_the_released_code(tmp_path, capsys):
    splits = load_svamp_equations(svamp_folder(tmp_path))
    learned, test = ORDER[:16], ORDER[16:]
    expected = {
        "train": [learned[n] for n in INNER[2:]],
        "heldout": [learned[n] for n in INNER[:2]],
        "test": test,
    }
    for split, numbers in expected.items():
        assert {each.answer for each in splits[split]} == {f"( {n}.0 + 1.0 )" for n in numbers}
        for each in splits[split]:
            assert each.solution == each.answer and each.split == split
            assert each.question.startswith("He has") and each.question.endswith(". How many?")
    assert "1 of 20 equations do not come to SVAMP's answer" in capsys.readouterr().err
    plain = {each.problem_id for each in load_svamp(str(tmp_path))["test"]}
    assert {each.problem_id for split in splits.values() for each in split} == plain


def test_held_out_are_those_that_the_source_holds_out(tmp_path):
    config = DataConfig(name="svamp_equations", dir=svamp_folder(tmp_path), heldout_problems=2)
    splits = load_problems(config, 0)
    assert {split: len(each) for split, each in splits.items()} == {
        "train": 14,
        "heldout": 2,
        "test": 4,
    }
    own = load_svamp_equations(str(tmp_path))["heldout"]
    assert [each.problem_id for each in splits["heldout"]] == [each.problem_id for each in own]
    with pytest.raises(DataError, match=r"is 128, but svamp_equations holds out 2 .*problems=2"):
        load_problems(DataConfig(name="svamp_equations", dir=str(tmp_path)), 0)


def test_the_real_svamp(capsys):
    splits = load_svamp_equations(folder_of("SVAMP_DIR", "svamp"))
    assert {split: len(each) for split, each in splits.items()} == {
        "train": 720,
        "heldout": 80,
        "test": 200,
    }
    assert "1 of 1,000 equations do not come" in capsys.readouterr().err
    for each in (each for split in splits.values() for each in split):
        assert grade(each.solution, each.answer, "equation").correct


@pytest.fixture
def other(monkeypatch):
    """A source to test on."""
    test = [make_problem(f"test {n}?", None, str(n), "fake", "test") for n in range(3)]
    monkeypatch.setitem(SOURCES, "fake", lambda config, seed: {"train": [], "test": test})


def test_equations_are_solutions_where_they_are_asked_for(tmp_path, capsys, other):
    folder = svamp_folder(tmp_path)
    assert load_svamp(folder)["train"] == [] and load_svamp(folder)["test"][0].solution is None
    (tmp_path / "MultiArith.json").write_text(
        json.dumps([{"sQuestion": "a?", "lEquations": ["X=((3.0+4.0)-5.0)"], "lSolutions": [2.0]}])
    )
    (only,) = load_multiarith(folder, "equations")["train"]
    assert only.solution == "3+4=<<3+4=7>>7\n7-5=<<7-5=2>>2\n#### 2" and only.answer == "2"
    capsys.readouterr()
    config = DataConfig(
        name="svamp",
        dir=folder,
        solutions="equations",
        heldout_problems=4,
        test_name="fake",
    )
    splits = load_problems(config, 0)
    assert {split: len(each) for split, each in splits.items()} == {
        "train": 15,
        "heldout": 4,
        "test": 3,
    }
    said = capsys.readouterr().err
    assert "svamp: 1 left out, whose equation is no worked solution: it comes to another" in said
    for each in splits["train"]:
        assert grade(each.solution, each.answer, "paper").correct and "<<" in each.solution


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "svamp", "solutions": "source"}, r"or set data\.solutions=equations to learn"),
        ({"name": "bbh"}, r"data\.name is 'bbh'; expected one of svamp, asdiv, multiarith"),
        ({"name": "gsm8k"}, r"data\.name is 'gsm8k'; expected one of svamp"),
        ({"name": "svamp"}, r"name others to test on, such as data\.test_name=gsm8k"),
    ],
)
def test_what_has_no_equations_or_no_test_problems_is_said(changes, message):
    with pytest.raises(DataError, match=message):
        load_problems(DataConfig(**{"solutions": "equations"} | changes), 0)


@pytest.mark.parametrize(
    ("load", "variable", "name", "count"),
    [
        (load_svamp, "SVAMP_DIR", "svamp", 997),
        (load_asdiv, "ASDIV_DIR", "asdiv", 1575),
        (load_multiarith, "MULTIARITH_DIR", "multiarith", 580),
    ],
)
def test_how_many_of_the_real_equations_are_solutions(load, variable, name, count):
    problems = load(folder_of(variable, name), "equations")["train"]
    assert len(problems) == count
    for each in problems:
        assert grade(each.solution, each.answer, "numeric").correct
