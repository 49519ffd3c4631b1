"""Problems of which a teacher alone has said anything: what of them students learn, and where they
may not come from.
"""

import json
from xml.sax.saxutils import escape

import pytest

from experiments import tiny_step_by_step
from verifier import config as config_lib
from verifier.errors import ConfigError, DataError, TablesError, WorkdirError
from verifier.recipes import step_by_step as recipe
from verifier.run.context import Context
from verifier.stages import step_by_step, students
from verifier.tables import store
from verifier.tasks import sources
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.split import TEST, TRAIN, Split

SMALL = """
data.train_problems=3 data.heldout_problems=2 data.test_problems=2 step_by_step.label=answer
step_by_step.methods=[multi_task] step_by_step.train_shares=[1.0] step_by_step.unlabelled=asdiv
""".split()
ASDIV = Split("train", "asdiv")
QUESTIONS = ("How many?", "How few?", "How long?")
TOLD = ("Seven and two.\nThe answer is ( 7 + 2 ).", "Who knows.", "One.\nThe answer is ( 1 ).")


def asdiv(folder, answers, more=()):
    """A folder with ASDiv's file of these answers; further questions are answered by 5."""
    folder.mkdir(exist_ok=True)
    asked = [*zip(QUESTIONS, answers, strict=True), *((question, 5) for question in more)]
    problems = (
        f"<Problem ID='{n}'><Body/><Question>{escape(question)}</Question>"
        f"<Answer>{answer} (things)</Answer><Formula>{answer}+0={answer}</Formula></Problem>"
        for n, (question, answer) in enumerate(asked)
    )
    (folder / "ASDiv.xml").write_text(f"<C>{''.join(problems)}</C>")
    return folder


class Run:
    """The stages of a run up to its first student, in this process."""

    def __init__(self, root, folder, *more):
        self.root, self.log = root, root / "log.jsonl"
        root.mkdir(exist_ok=True)
        self.log.touch()
        given = f"step_by_step.unlabelled_dir={folder}", f"distill.log={self.log}"
        self.config = config_lib.override(tiny_step_by_step.get_config(), [*SMALL, *given, *more])
        self.stages = recipe.stages(self.config)

    def context(self, name):
        stage = next(each for each in self.stages if each.title() == name)
        return Context(self.config, self.root, stage, self.stages)

    def problems(self, split):
        """Those of a split, after the stage that writes them."""
        context = self.context("problems")
        context.stage.do(context)
        table = store.read_table(context.folder(split), "problems")
        return sources.problems_from_table(table)

    def teach(self, told=TOLD):
        """Reads a log of texts about the training problems, and of these about the others."""
        own = [(each.question, "So.\nThe answer is ( 0 ).") for each in self.problems(TRAIN)]
        lines = [
            json.dumps({"question": question, "choices": [{"message": {"content": text}}]})
            for question, text in [*own, *zip(QUESTIONS, told, strict=False)]
        ]
        self.log.write_text("\n".join(lines))
        context = self.context("sample (teacher)")
        context.stage.do(context)

    def learned(self, monkeypatch):
        """Prompts and targets of the student, and what its manifest would tell of them."""
        kept = []

        def make(context, train, examples, **more):
            kept.extend((examples(None, tokenizer).train, more["learned"]))

        tokenizer = ByteTokenizer()
        monkeypatch.setattr(step_by_step, "make_generator", make)
        step_by_step.finetune(self.context("finetune (multi_task,share=1)"), "multi_task", 1.0)
        return [tokenizer.decode(each.tokens.tolist()) for each in kept[0]], kept[1]


@pytest.mark.parametrize("labels", ["gold", "teacher"])
def test_the_teachers_labels_are_learned_and_what_cannot_be_read_is_counted(
    tmp_path, monkeypatch, capsys, labels
):
    run = Run(tmp_path, asdiv(tmp_path / "asdiv", (9, 8, 7)), f"step_by_step.labels={labels}")
    run.teach()
    texts, counts = run.learned(monkeypatch)
    own = run.problems(TRAIN)
    assert texts[:-4:2] == [
        f"predict: {each.question}\n{each.answer if labels == 'gold' else '( 0 )'}" for each in own
    ]
    assert set(texts[-4:]) == {
        "predict: How many?\n( 7 + 2 )",
        "explain: How many?\nSeven and two.",
        "predict: How long?\n( 1 )",
        "explain: How long?\nOne.",
    }
    (reason,) = counts["unlabelled"].pop("not_read").items()
    assert reason[1] == 1 and "lacks" in reason[0]
    assert counts == {"labelled": 3, "unlabelled": {"problems": 3, "learned": 2}}
    assert "beside them 2 of 3 unlabelled problems" in capsys.readouterr().err


def test_gold_answers_of_unlabelled_problems_are_nowhere_in_a_run(tmp_path, monkeypatch):
    made = []
    for name, answers in (("one", (9, 8, 7)), ("other", (123, 456, 789))):
        run = Run(tmp_path / name, asdiv(tmp_path / f"{name} asdiv", answers))
        run.teach()
        assert {each.answer for each in run.problems(ASDIV)} == {""}
        made.append((run.problems(ASDIV), run.learned(monkeypatch)))
    assert made[0] == made[1]


def test_they_are_not_tested_labelled_or_shown_and_the_report_counts_them(tmp_path, monkeypatch):
    run = Run(tmp_path, "")
    for stage in run.stages:
        if stage.name == "label" or stage.place.startswith("multi_task"):
            assert ASDIV not in stage.splits, stage
    told = {"learned": {"labelled": 3}}
    monkeypatch.setattr(Context, "manifest", lambda self, role: told if role else {})
    learned = students._learned(run.context("report"))
    assert learned == {"learned": [{"method": "multi_task", "share": 1.0, "labelled": 3}]}


def test_a_problem_of_another_split_is_refused_or_left_out(tmp_path):
    shared = Run(tmp_path / "first", asdiv(tmp_path / "asdiv", (9, 8, 7))).problems(TEST)[0]
    folder = asdiv(tmp_path / "asdiv", (9, 8, 7), [shared.question])
    with pytest.raises(DataError, match="is in test and in train_asdiv"):
        Run(tmp_path / "second", folder).problems(ASDIV)
    left = Run(tmp_path / "third", folder, "ood.shared=leave_out").problems(ASDIV)
    assert {each.question for each in left} == set(QUESTIONS)


def test_a_test_set_that_comes_later_has_none_of_them(tmp_path):
    folder = asdiv(tmp_path / "asdiv", (9, 8, 7))
    (tmp_path / "MultiArith.json").write_text(
        json.dumps([{"sQuestion": question, "lSolutions": [1.0]} for question in QUESTIONS[:2]])
    )
    more = "ood.sets=[multiarith]", f"ood.dirs=[{tmp_path}]"
    root = tmp_path / "work"
    assert len(Run(root, folder).problems(ASDIV)) == 3
    with pytest.raises(WorkdirError, match="2 problems of test_multiarith, which came later"):
        Run(root, folder, *more).problems(ASDIV)
    fresh = Run(tmp_path / "fresh", folder, *more, "ood.shared=leave_out")
    assert [each.question for each in fresh.problems(ASDIV)] == ["How long?"]


def test_a_log_without_them_and_knobs_that_lead_nowhere_are_refused(tmp_path):
    folder = asdiv(tmp_path / "asdiv", (9, 8, 7))
    run = Run(tmp_path, folder)
    with pytest.raises(TablesError, match="is of the unlabelled problems"):
        run.teach(told=())
    for more, said in (
        (["distill.log="], r"unlabelled=asdiv, but nobody labels .*distill\.teacher"),
        (["step_by_step.unlabelled="], r"unlabelled_dir=.* no set is named"),
    ):
        with pytest.raises(ConfigError, match=said):
            step_by_step.check(config_lib.override(run.config, more))


def test_of_a_run_without_them_nothing_changes():
    def settings(*more):
        own = config_lib.override(
            tiny_step_by_step.get_config(),
            ["distill.teacher=somebody", "step_by_step.label=answer", *more],
        )
        return {
            (stage.title(), split): (stage.settings(own, split), sorted(stage.reads))
            for stage in recipe.stages(own)
            for split in stage.splits or (None,)
        }

    without, with_them = settings(), settings("step_by_step.unlabelled=asdiv")
    assert not any(split == ASDIV for _, split in without)
    assert not any("step_by_step.unlabelled" in own for own, _ in without.values())
    # The teacher's solutions of the others are used again, and students are others.
    for (title, split), (own, reads) in without.items():
        changed = with_them[title, split] != (own, reads)
        assert changed == title.startswith(("finetune", "report", "problems")), title
        if title.startswith("problems"):
            assert with_them[title, split][0] == own
    added = {(title, split) for title, split in with_them if split == ASDIV}
    assert added == {("problems", ASDIV), ("sample (teacher)", ASDIV)}
    assert not any(
        path.startswith(("sample.train_problems", "sample.heldout_"))
        for path in with_them["sample (teacher)", ASDIV][0]
    )
