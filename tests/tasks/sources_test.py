"""Splits share no problem and no choice depends on the order of rows."""

from __future__ import annotations

import dataclasses
import random

import pytest

from verifier.config import DataConfig, OodConfig
from verifier.errors import DataError
from verifier.tables.schemas import SCHEMAS
from verifier.tasks import sources as problems_lib
from verifier.tasks.sources import (
    FOR_TESTING,
    SOURCES,
    load_problems,
    problems_from_table,
    problems_table,
)
from verifier.text.problem import make_problem


def made(split, count):
    return [make_problem(f"{split} {n}?", f"#### {n}", str(n), "fake", split) for n in range(count)]


@pytest.fixture
def fake(monkeypatch):
    """A source named "fake" whose rows a test may change."""
    splits = {"train": made("train", 100), "test": made("test", 40)}
    monkeypatch.setitem(
        SOURCES, "fake", lambda config, seed: {split: list(rows) for split, rows in splits.items()}
    )
    return splits


def config(**changes):
    return DataConfig(**({"name": "fake", "heldout_problems": 10} | changes))


def ids(problems):
    return [problem.problem_id for problem in problems]


def test_splits_are_disjoint_complete_and_say_their_name(fake):
    splits = load_problems(config(), 0)
    assert {split: len(problems) for split, problems in splits.items()} == {
        "train": 90,
        "heldout": 10,
        "test": 40,
    }
    assert set(ids(splits["train"])) | set(ids(splits["heldout"])) == set(ids(fake["train"]))
    for split, problems in splits.items():
        assert {problem.split for problem in problems} == {split} and ids(problems) == sorted(
            ids(problems)
        )
    assert all(problem.question.startswith("train") for problem in splits["heldout"])


def test_no_choice_depends_on_the_order_of_rows(fake):
    wanted = config(train_problems=20, test_problems=5)
    before = load_problems(wanted, 3)
    for rows in fake.values():
        random.Random(1).shuffle(rows)
    assert load_problems(wanted, 3) == before


def test_limits_nest_and_the_seed_chooses(fake):
    few, many = (load_problems(config(train_problems=n, test_problems=n // 2), 0) for n in (20, 40))
    for split in ("train", "test"):
        assert set(ids(few[split])) < set(ids(many[split]))
    other = load_problems(config(train_problems=20, test_problems=10), 1)
    assert ids(other["train"]) != ids(few["train"]) and ids(other["test"]) != ids(few["test"])
    assert other["heldout"] == few["heldout"] == many["heldout"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_problems": 91},
            r"data\.train_problems .beside 10 held out. is 91, but there are 90",
        ),
        ({"test_problems": 41}, r"data\.test_problems is 41, but there are 40"),
        ({"heldout_problems": 100}, r"data\.heldout_problems is 100 of 100 training problems"),
        ({"test_problems": -1}, r"data\.test_problems is -1"),
        ({"name": "gms8k"}, r"'gms8k'.*nearest: gsm8k"),
        ({"name": "qqq"}, r"nearest: generated, gsm8k, svamp"),
        ({"name": "generated"}, r"data\.train_problems is 0; generated problems have no end"),
    ],
)
def test_impossible_wishes_are_named_with_numbers(fake, changes, message):
    with pytest.raises(DataError, match=message):
        load_problems(config(**changes), 0)


def test_a_problem_in_two_splits_is_refused(fake):
    fake["test"].append(fake["train"][0])
    with pytest.raises(DataError, match=r"is in (train|heldout) and in test: 'train 0\?'"):
        load_problems(config(), 0)


@pytest.mark.parametrize("name", FOR_TESTING)
def test_sets_for_testing_only_name_the_way_out(name):
    message = (
        rf"'{name}', but svamp, asdiv, multiarith, bbh are for testing only: "
        rf".*data\.name=gsm8k.*data\.test_name={name} data\.test_dir="
    )
    with pytest.raises(DataError, match=message):
        load_problems(config(name=name), 0)


def test_test_problems_from_another_source(fake, monkeypatch):
    folders = []

    def other(config, seed):
        folders.append(config.dir)
        return {"train": [], "test": made("svamp", 30)}

    monkeypatch.setitem(SOURCES, "svamp", other)
    wanted = config(dir="here", test_name="svamp", test_dir="there", test_problems=20)
    splits = load_problems(wanted, 0)
    assert folders == ["there"] and {split: len(each) for split, each in splits.items()} == {
        "train": 90,
        "heldout": 10,
        "test": 20,
    }
    alone = load_problems(config(), 0)
    assert splits["train"] == alone["train"] and splits["heldout"] == alone["heldout"]
    assert all(
        problem.question.startswith("svamp") and problem.split == "test"
        for problem in splits["test"]
    )
    with pytest.raises(DataError, match=r"data\.test_problems is 31, but there are 30"):
        load_problems(dataclasses.replace(wanted, test_problems=31), 0)
    with pytest.raises(DataError, match=r"data\.test_name is 'svmp'.*nearest: svamp"):
        load_problems(config(test_name="svmp"), 0)
    monkeypatch.setitem(
        SOURCES, "svamp", lambda config, seed: {"train": [], "test": fake["train"][:1]}
    )
    with pytest.raises(DataError, match=r"is in (train|heldout) and in test: 'train 0\?'"):
        load_problems(config(test_name="svamp"), 0)


def test_generated_problems_beside_another_source_need_only_their_own_number(fake):
    splits = load_problems(config(test_name="generated", test_problems=7), 0)
    assert len(splits["train"]) == 90 and len(splits["test"]) == 7
    assert all(problem.source.startswith("generated/") for problem in splits["test"])
    splits = load_problems(config(name="generated", train_problems=20, test_name="fake"), 0)
    assert (len(splits["train"]), len(splits["heldout"]), len(splits["test"])) == (20, 10, 40)
    with pytest.raises(DataError, match=r"data\.test_problems is 0; generated"):
        load_problems(config(test_name="generated"), 0)


def test_generated_problems_are_asked_for_in_the_right_numbers(monkeypatch):
    calls = []

    def generate(split, count, seed, kinds, lengths):
        calls.append((split, count, seed, kinds, lengths))
        return made(split, count)

    monkeypatch.setattr(problems_lib, "generate", generate)
    splits = load_problems(
        DataConfig(
            name="generated",
            train_problems=30,
            heldout_problems=7,
            test_problems=9,
            kinds=("chain",),
            lengths=(3,),
        ),
        5,
    )
    assert calls == [("train", 37, 5, ("chain",), (3,)), ("test", 9, 5, ("chain",), (3,))]
    assert {split: len(problems) for split, problems in splits.items()} == {
        "train": 30,
        "heldout": 7,
        "test": 9,
    }


def test_problems_go_to_their_table_and_back():
    problems = [*made("train", 3), make_problem("no solution?", None, "4", "svamp", "test")]
    table = problems_table(problems)
    assert table.schema == SCHEMAS["problems"] and problems_from_table(table) == problems
    assert problems_table([]).schema == SCHEMAS["problems"]


def test_what_a_further_set_shares_with_training_is_refused_or_left_out_of_it(
    fake, monkeypatch, capsys
):
    shared = [fake["train"][3], fake["train"][7]]
    monkeypatch.setitem(SOURCES, "svamp", lambda config, seed: {"test": made("own", 5) + shared})
    known = {"train": fake["train"][:5], "heldout": fake["train"][5:]}
    with pytest.raises(DataError, match=r"is in (train|heldout) and in test_svamp.*leave_out"):
        problems_lib.load_further(OodConfig(sets=("svamp",)), 0, known)
    config = OodConfig(sets=("svamp",), shared="leave_out", problems=5)
    further = problems_lib.load_further(config, 0, known)["test_svamp"]
    assert {each.question for each in further} == {f"own {n}?" for n in range(5)}
    assert "2 of 7 problems are left out" in capsys.readouterr().err


def test_unlabelled_problems_have_no_answer_and_are_in_no_other_split(fake, monkeypatch, capsys):
    shared = [fake["train"][3], fake["test"][7]]
    monkeypatch.setitem(SOURCES, "asdiv", lambda config, seed: {"test": made("own", 5) + shared})
    with pytest.raises(DataError, match=r"is in train and in train_asdiv.*leave_out"):
        problems_lib.load_unlabelled("asdiv", "", "refuse", fake)
    kept = problems_lib.load_unlabelled("asdiv", "", "leave_out", fake)
    assert {each.question for each in kept} == {f"own {n}?" for n in range(5)}
    assert {(each.answer, each.solution, each.split) for each in kept} == {
        ("", None, "train_asdiv")
    }
    assert "2 of 7 problems are left out" in capsys.readouterr().err
    monkeypatch.setitem(SOURCES, "asdiv", lambda config, seed: {"test": shared})
    with pytest.raises(DataError, match=r"all problems of asdiv are among the run's own"):
        problems_lib.load_unlabelled("asdiv", "", "leave_out", fake)
