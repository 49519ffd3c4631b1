"""BIG-Bench Hard: problems by task, what is left out, and prompts made of the files as they lie."""

from __future__ import annotations

import collections
import json
import os
import pathlib

import pytest

from verifier import config as config_lib
from verifier.config import DataConfig, OodConfig
from verifier.config.checks import check
from verifier.errors import ConfigError, DataError
from verifier.grading.answer import grade
from verifier.tasks import sources
from verifier.tasks.bbh import TASKS, load_bbh, load_task_prompts

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "bbh"
PROMPT = """\
PLEASE DO NOT TRAIN ON THIS FILE.
-----
Tell what is funny.

It is a question of taste.

Q: Which is funny?
Options:
(A) a cow
(B) Q: the letter
A: Let's think step by step.
Some say the answer is (B).
But cows are. So the answer is (A).

Q: Which of {x} is funny?
A: Let's think step by step. None. So the answer is no.
"""
TEXT = PROMPT.partition("-----\n")[2].strip()


def write(folder, task, rows):
    examples = [{"input": question, "target": target} for question, target in rows]
    (folder / f"{task}.json").write_text(json.dumps({"canary": "x", "examples": examples}))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "snarks", [("a?", "(A)"), ("b?", "(B)"), ("a ?", "(B)"), ("a  ?", "(B)")])
    write(tmp_path, "navigate", [("a?", "Yes"), ("c?", "No"), ("c?", "Yes"), ("d?", "No")])
    return tmp_path


def test_problems_carry_the_name_of_their_task(folder, capsys):
    splits = load_bbh(str(folder), ["snarks"])
    assert splits["train"] == []
    assert {(each.question, each.answer, each.source) for each in splits["test"]} == {
        ("a?", "(A)", "bbh/snarks"),
        ("b?", "(B)", "bbh/snarks"),
        ("a  ?", "(B)", "bbh/snarks"),  # of `a ?` and `a  ?` the one that is less
    }
    assert "snarks: 3 problems; 0 left out (the question has" in capsys.readouterr().err
    problems = load_bbh(str(folder), ["navigate"])["test"]
    assert [each.question for each in problems if each.answer == "Yes"] == ["a?"]
    assert len(problems) == 2  # c? has two answers
    assert "navigate: 2 problems; 1 left out (the question has more" in capsys.readouterr().err


def test_it_is_a_further_set_and_a_test_set_of_some_tasks(folder):
    further = sources.load_further(
        OodConfig(sets=("bbh",), dirs=(str(folder),), bbh_tasks=("navigate",)), 0, {}
    )
    assert {each.source for each in further["test_bbh"]} == {"bbh/navigate"}
    assert {each.split for each in further["test_bbh"]} == {"test_bbh"}
    config = DataConfig(
        name="generated",
        train_problems=3,
        heldout_problems=1,
        test_name="bbh",
        test_dir=str(folder),
        bbh_tasks=("snarks",),
    )
    assert {each.source for each in sources.load_problems(config, 0)["test"]} == {"bbh/snarks"}


def test_tasks_are_knobs_with_names():
    choose = config_lib.choices("ood.bbh_tasks")
    assert choose == TASKS == config_lib.choices("data.bbh_tasks") and len(TASKS) == 27
    for wrong, message in (("snark", "snarks"), ("snarks,snarks", "twice")):
        with pytest.raises(ConfigError, match=message):
            check(config_lib.override(config_lib.Config(), [f"ood.bbh_tasks=[{wrong}]"]))


def test_what_is_missing_or_broken_is_said(folder, monkeypatch):
    monkeypatch.setenv("BBH_DIR", str(folder))
    with pytest.raises(
        DataError,
        match=r"boolean_expressions\.json is not there .BBH_DIR=.*needs boolean_expressions\.json "
        r"\.\.\. word_sorting\.json, 27 files .from https://github.com/suzgunmirac.*folder bbh.",
    ):
        load_bbh()
    for content, message in (
        ("[]", "expected an object with the field 'examples'"),
        ('{"examples": []}', "no list with an entry"),
        ('{"examples": [{"input": "a"}]}', "example 0: no field 'target'"),
        ('{"examples": [{"input": "a", "target": 3}]}', "example 0: field 'target' is a JSON int"),
    ):
        (folder / "snarks.json").write_text(content)
        with pytest.raises(DataError, match=rf"snarks\.json.*{message}"):
            load_bbh(tasks=["snarks"])


def test_prompts_are_the_files_and_the_answers_in_them(folder):
    (folder / "snarks.txt").write_text(PROMPT)
    prompt = load_task_prompts(str(folder), ["snarks"])["snarks"]
    assert prompt.chain_of_thought("Why {y}?") == (
        f"{TEXT}\n\nQ: Why {{y}}?\nA: Let's think step by step.\n"
    )
    assert prompt.answer_only("Why {y}?") == (
        "Tell what is funny.\n\nIt is a question of taste.\n\n"
        "Q: Which is funny?\nOptions:\n(A) a cow\n(B) Q: the letter\nA: the answer is (A).\n\n"
        "Q: Which of {x} is funny?\nA: the answer is no.\n\nQ: Why {y}?\nA:"
    )
    # What a model that goes on in the same way writes is read.
    for each in prompt.exemplars:
        assert grade(each.solution, each.answer, "bbh").correct
        assert grade(f" the answer is {each.answer}.", each.answer, "bbh").correct
    (folder / "snarks.txt").write_text(TEXT)  # without the lines before the description
    assert load_task_prompts(str(folder), ["snarks"])["snarks"] == prompt


def test_a_question_is_not_shown_among_its_own_exemplars(folder):
    (folder / "snarks.txt").write_text(PROMPT)
    prompt = load_task_prompts(str(folder), ["snarks"])["snarks"]
    first, second = prompt.exemplars
    for own, other in ((first, second), (second, first)):
        asked = f" {own.question}\n"
        worked, plain = prompt.chain_of_thought(asked), prompt.answer_only(asked)
        assert worked == (
            f"{prompt.description}\n\nQ: {other.question}\nA: {other.solution}\n\n"
            f"Q: {asked}\nA: Let's think step by step.\n"
        )
        assert plain.count(own.question) == 1 and other.question in plain


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Tell.\n", "no line that begins with 'Q: '"),
        ("Tell.\n\nQ: a?\nB: so the answer is b.", "exemplar 1: .*expected a question"),
        (PROMPT + "\nQ: a?\nA: I do not know.", "exemplar 3: 'a.*I do not know.'"),
    ],
)
def test_broken_prompts_are_named(folder, monkeypatch, content, message):
    monkeypatch.delenv("BBH_PROMPTS_DIR", raising=False)
    with pytest.raises(DataError, match=r"needs snarks\.txt .from .*cot-prompts.*BBH_PROMPTS_DIR="):
        load_task_prompts("", ["snarks"])
    (folder / "snarks.txt").write_text(content)
    with pytest.raises(DataError, match=rf"snarks\.txt.*{message}"):
        load_task_prompts(str(folder), ["snarks"])


def test_the_real_ones():
    folder = pathlib.Path(os.environ.get("BBH_DIR") or SHARED)
    if not (folder / "snarks.json").exists():
        pytest.skip("no BIG-Bench Hard here; set BBH_DIR")
    problems = load_bbh(str(folder))["test"]
    assert len(problems) == len({each.problem_id for each in problems}) == 6505
    counts = collections.Counter(each.source.removeprefix("bbh/") for each in problems)
    other = {"causal_judgement": 183, "penguins_in_a_table": 146, "snarks": 178}
    assert counts == dict.fromkeys(TASKS, 250) | other | {"sports_understanding": 248}
