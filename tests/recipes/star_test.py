"""STaR: of a run of two loops from a base that solves some problems, what is learned is right,
every loop starts from the base again, and the page tells what the labels say.
"""

import json
import shutil

import pytest

from tests.recipes.star_loops_test import config, run, watched_run
from tests.shrunk import made_once, rows
from verifier.config import checks
from verifier.errors import ConfigError
from verifier.grading import corrections
from verifier.recipes import star
from verifier.run.context import Context
from verifier.stages import base_model, plateau, runner
from verifier.stages import star as loop_stages
from verifier.text import tokenizer as tokenizer_lib


@pytest.fixture(scope="module")
def looped(tmp_path_factory):
    """A finished run. Nobody changes it."""
    made = made_once(tmp_path_factory, "star_loops", lambda folder: watched_run(folder / "work"))
    return made / "work"


def contexts(root, own, name):
    """What the stages of a name are given, by their places."""
    stages = star.stages(own)
    return {each.place: Context(own, root, each, stages) for each in stages if each.name == name}


def failed_of(root, loop):
    """Ids of the training problems that a loop has not solved, of one solution each."""
    labels = rows(root / f"loop={loop}/tables/labels/split=train")
    return {row["problem_id"] for row in labels if not row["correct"]}


def manifest(root, place):
    return json.loads((root / place / "manifest.json").read_text())


def test_what_is_learned_reaches_the_answer_and_has_no_trace_of_the_hint(looped):
    for loop, context in enumerate(contexts(looped, config(), "finetune").values()):
        found, counts = loop_stages.kept_of(context)
        assert found and counts["own"] + counts["hinted"] == len(found)
        assert counts["used"] == len({each.problem_id for each in found}) / 16
        assert counts["used_without_hints"] == counts["own"] / 16
        right = set()
        for place in (f"loop={loop}", f"loop={loop}/hint"):
            labels = rows(looped / place / "tables/labels/split=train")
            samples = rows(looped / place / "tables/samples/split=train")
            for label, sample in zip(labels, samples, strict=True):
                if label["correct"]:
                    right.add((sample["problem_id"], sample["solution"], place.endswith("hint")))
        assert set(found) <= right
        problems = {each.problem_id: each for each in context.problems("problems")}
        tokenizer = tokenizer_lib.load_tokenizer(looped / "loop=0/generator")
        (job,) = context.stage.jobs
        made = loop_stages.examples_of(context, job, found, list(problems.values()), tokenizer)
        for example, kept in zip(made, found, strict=True):
            text = tokenizer.decode(list(example.tokens))
            assert problems[kept.problem_id].question in text
            assert "(The answer is" not in text


def test_only_failures_are_put_with_a_hint(looped):
    for loop in range(2):
        failed = failed_of(looped, loop)
        asked = rows(looped / f"loop={loop}/hint/tables/samples/split=train")
        assert {row["problem_id"] for row in asked} == failed != set()


def test_a_hint_gives_the_answer_that_solutions_are_graded_by(looped, tmp_path, monkeypatch):
    root = shutil.copytree(looped, tmp_path / "work")
    shutil.rmtree(root / "loop=0/hint")
    corrected = config("label.fix_labels=true")
    context = contexts(root, corrected, "failures")["loop=0/hint"]
    failed = failed_of(root, 0)
    gold = {each.problem_id: each.answer for each in context.problems("problems")}
    one = min(failed)
    wrong = [{"problem_id": one, "old": gold[one], "new": "77", "reason": "x"}]
    monkeypatch.setattr(corrections, "known", lambda: wrong)
    context.stage.do(context)
    asked = rows(root / "loop=0/hint/tables/problems/split=train")
    told = {each["problem_id"]: each["answer"] for each in asked}
    assert told == {name: gold[name] for name in failed} | {one: "77"}


def test_every_loop_starts_from_the_base_and_takes_more_steps(looped):
    base = base_model.weight_sums(config().model.weights)
    made = [manifest(looped, f"loop={loop}/generator") for loop in (1, 2)]
    assert [each["weights"] for each in made] == [base, base]
    assert [each["learned"]["steps"] for each in made] == [2, 3]
    assert made[0]["id"] != made[1]["id"]


def test_the_page_tells_what_the_labels_say(looped):
    found = json.loads((looped / "report/metrics.json").read_text())
    assert [each["loop"] for each in found["loops"]] == [0, 1, 2]
    for loop, each in enumerate(found["loops"]):
        for name, split in (("train", "train"), ("test", "test_greedy")):
            kept = [
                row["correct"] for row in rows(looped / f"loop={loop}/tables/labels/split={split}")
            ]
            share = sum(kept) / len(kept)
            assert each["sets"][name]["accuracy"]["value"] == pytest.approx(share, abs=1e-6)
    assert found["loops"][0]["first_solved"]["sums/2"] > 0
    assert "first solved" in (looped / "report/index.html").read_text()


def test_more_loops_go_on_and_none_is_done_behind_a_plateau(looped, tmp_path, capsys):
    work = shutil.copytree(looped, tmp_path / "work")
    before = manifest(work, "loop=2/generator")
    ends = contexts(work, config("star.plateau=1", "star.loops=3"), "report")[""]
    roles = [f"labels {loop} train" for loop in range(4)]
    end = plateau.end_of(roles[:3], 1, ends)
    assert end in (1, 2)  # the base solves all of what it knows
    run(work, "star.plateau=1", "star.loops=3")
    said = capsys.readouterr()
    assert "finetune (loop=3): not done: training accuracy" in said.err + said.out
    assert not (work / "loop=3/generator").exists()
    assert manifest(work, "loop=2/generator") == before
    found = json.loads((work / "report/metrics.json").read_text())
    assert len(found["loops"]) == end + 1 and found["ended_by_plateau"]


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        (["finetune.steps=0"], "finetune.steps=0"),
        (["finetune.patience=2"], "patience"),
        (["sample.train_samples=2"], "most likely solution is one"),
        (["sample.greedy=false"], "sample.greedy"),
        (["star.hint={question}"], "star.hint"),
    ],
)
def test_what_no_loop_could_do_is_refused_before_any(knobs, told, tmp_path):
    own = config(*knobs)
    checks.check(own)
    with pytest.raises(ConfigError, match=told):
        runner.run(star.stages(own), own, tmp_path / "work")
    assert not (tmp_path / "work").exists()
