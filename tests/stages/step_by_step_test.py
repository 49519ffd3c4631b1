"""What students of labels and rationales learn from: worked solutions of each source, and a
teacher's texts, some of which are missing.
"""

import pyarrow as pa
import pytest

from experiments import tiny_step_by_step
from verifier import config as config_lib
from verifier.errors import ConfigError
from verifier.grading import rationales
from verifier.recipes import step_by_step as recipe
from verifier.run.context import Context
from verifier.stages import step_by_step
from verifier.tables import store
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.problem import make_problem


def learned(monkeypatch, solutions, *more, method="multi_task"):
    """Prompts and targets of a student, whose problems are p0, p1 and so on."""
    more = ["step_by_step.label=answer", f"step_by_step.methods=[{method}]", *more]
    own = config_lib.override(tiny_step_by_step.get_config(), more)
    problems = [
        make_problem(f"p{n}", solution, f"{n}", "fake", "train")
        for n, solution in enumerate(solutions)
    ]
    monkeypatch.setattr(Context, "problems", lambda *_: problems)
    kept = []
    monkeypatch.setattr(step_by_step, "make_generator", lambda *given, **_: kept.append(given[2]))
    student = next(each for each in recipe.stages(own) if each.place == f"{method},share=1")
    context = Context(own, "", student, [])
    step_by_step.finetune(context, method, 1.0)
    tokenizer = ByteTokenizer()
    return [tokenizer.decode(example.tokens.tolist()) for example in kept[0](None, tokenizer).train]


def test_rationales_of_every_source_are_learned(monkeypatch):
    told = rationales.told("Cold\nand hot.", "1"), rationales.told("", "2")
    gsm8k, bare = "He has 3.\nSo 4.\n#### 0", "( 8 - 3 )"
    more = "step_by_step.keep_unexplained=true"
    texts = learned(monkeypatch, [gsm8k, *told, bare, "#### 4"], more)
    assert texts == [
        "predict: p0\n0",
        "explain: p0\nHe has 3.\nSo 4.",
        "predict: p1\n1",
        "explain: p1\nCold\nand hot.",
        *(f"predict: p{n}\n{n}" for n in (2, 3, 4)),
    ]


def test_a_problem_without_an_equation_that_comes_to_its_answer_is_counted(monkeypatch, capsys):
    solutions = ["It is 3-3=<<3-3=0>>0.\n#### 0", "It is 3+4=<<3+4=7>>7.\n#### 7"]
    texts = learned(monkeypatch, solutions, "step_by_step.label=equation")
    assert texts == ["predict: p0\n3-3", "explain: p0\nIt is 3-3=<<3-3=0>>0."]
    assert "1 of 2 problems are left out" in capsys.readouterr().err


def written(monkeypatch, first=0):
    """A teacher's texts of p0 and p1, the first of which states an answer."""
    texts = [("p0", "Why.\nThe answer is ( 7 )."), ("p0", "It is 9."), ("p1", "Nothing.")]

    def read(*_):
        ids = [make_problem(asked, None, "x", "fake", "train").problem_id for asked, _ in texts]
        numbers = [first, first + 1, first]
        columns = {"problem_id": ids, "sample_id": numbers, "solution": [one for _, one in texts]}
        return pa.table(columns)

    monkeypatch.setattr(store, "read_table", read)
    monkeypatch.setattr(Context, "source", lambda *_: None)


@pytest.mark.parametrize("labels", ["gold", "teacher"])
@pytest.mark.parametrize("first", [0, 1])  # as a log may number what a teacher wrote
def test_a_problem_that_the_teacher_was_not_asked_has_its_label(monkeypatch, labels, first):
    texts = [("p0", "Why.\nThe answer is ( 7 )."), ("p0", "It is 9."), ("p1", "Nothing.")]

    def read(*_):
        ids = [
            make_problem(question, None, "x", "fake", "train").problem_id for question, _ in texts
        ]
        numbers = [first, first + 1, first]
        columns = {"problem_id": ids, "sample_id": numbers, "solution": [one for _, one in texts]}
        return pa.table(columns)

    monkeypatch.setattr(store, "read_table", read)
    monkeypatch.setattr(Context, "source", lambda *_: None)
    more = "distill.teacher=somebody", f"step_by_step.labels={labels}"
    found = learned(monkeypatch, [None] * 3, *more, "step_by_step.keep_unexplained=true")
    label = "0" if labels == "gold" else "( 7 )"
    assert found[:2] == [f"predict: p0\n{label}", "explain: p0\nWhy."]
    assert found[2:] == (["predict: p1\n1", "predict: p2\n2"] if labels == "gold" else [])


def test_a_label_alone_is_that_of_the_data_or_of_the_teacher(monkeypatch):
    written(monkeypatch)
    taught = "distill.teacher=somebody"
    for more in ([], [taught]):  # whoever teaches others
        texts = learned(monkeypatch, [None, "Why.\n#### 1"], *more, method="standard_finetuning")
        assert texts == ["p0\n0", "p1\n1"]
    texts = learned(monkeypatch, [None] * 3, taught, method="standard_distillation")
    assert texts == ["p0\n( 7 )"]


def test_what_learns_no_teachers_words_depends_on_none():
    methods = "step_by_step.methods=[standard_finetuning,standard_distillation,multi_task]"
    own = config_lib.override(
        tiny_step_by_step.get_config(),
        [
            *(methods, "distill.teacher=somebody", "step_by_step.label=answer"),
            "step_by_step.unlabelled=asdiv",
        ],
    )
    roles = {"samples", step_by_step.UNLABELLED}
    reads = {
        each.place.partition(",")[0]: roles <= each.reads.keys()
        for each in recipe.stages(own)
        if each.name == "finetune" and each.place.endswith("share=1")
    }
    assert reads == {
        "standard_finetuning": False,
        "standard_distillation": True,
        "multi_task": True,
    }
    page = next(each for each in recipe.stages(own) if each.name == "report")
    learners = [role for role, each in page.inputs() if each.stage.name == "finetune"]
    assert {role.rpartition("_")[0] for role in learners} == {"standard_distillation", "multi_task"}
    with pytest.raises(ConfigError, match="nobody teaches: name a teacher"):
        step_by_step.check(config_lib.override(tiny_step_by_step.get_config(), [methods]))
