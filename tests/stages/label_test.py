"""The stage label: each split is judged by who reads its answers."""

import pytest

from tests.shrunk import config, context
from verifier.stages import label
from verifier.tables import store
from verifier.text.split import OWN, TEST, Split

BBH = Split("test", "bbh")
ANSWERS = {  # gold answer and solution of each split
    "train": ("18", "9+9=18\n#### 18.0"),
    "heldout": ("18", "#### 17"),
    "test": ("18", "so it is invalid"),
    "test_bbh": ("valid", "So the answer is Valid."),
}


def write(work, table, split, row):
    settings = work.stage.settings(work.config, split) if table != "samples" else {"seed": 0}
    writer = store.TableWriter(work.root / "tables" / table / f"split={split}", table, settings)
    writer.append([row])
    writer.finish({})


@pytest.mark.parametrize(
    ("chosen", "judges"),
    [("numeric", "bbh"), ("strict", "bbh"), ("bbh_substring", "bbh_substring")],
)
def test_words_are_judged_as_words_and_numbers_as_chosen(tmp_path, chosen, judges):
    own = config("ood.sets=[bbh]", f"label.grader={chosen}", "sample.greedy=false")
    work = context(own, tmp_path, "label")
    for split in (*OWN, BBH):
        gold, solution = ANSWERS[str(split)]
        key = {"problem_id": "p", "question": "q?", "solution": None, "answer": gold}
        write(work, "problems", split, key | {"source": "made", "split": str(split)})
        made = {"problem_id": "p", "sample_id": 0, "solution": solution, "tokens": [1]}
        made |= {"forced": [False], "logprobs": [0.0], "finish": "eos", "generator": "g"}
        write(work, "samples", split, made | {"seed": 0, "calculator_errors": 0})
    label.label(work)
    for split in (*OWN, BBH):
        (row,) = store.read_table(work.folder(split), "labels").to_pylist()
        assert row["grader"] == (judges if split == BBH else chosen), split
    assert row["correct"] == (judges == "bbh")  # the other one wants the same case


def test_the_run_s_own_test_problems_may_be_words():
    own = config("data.test_name=bbh")
    assert label.grader_of(own, TEST) == label.grader_of(own, Split("test", greedy=True)) == "bbh"
    assert {label.grader_of(own, split) for split in OWN[:2]} == {"numeric"}
    assert label.grader_of(own, Split("test", "svamp")) == "numeric"
    own = config("data.name=labelled_choice", "data.test_name=svamp")
    assert {label.grader_of(own, split) for split in OWN[:2]} == {"bbh"}
    assert label.grader_of(own, TEST) == "numeric"
