"""Specialising a student: a run of two checkpoints, whose page says what was chosen; and what is
refused before anything runs.
"""

import json
import shutil

import pytest

from experiments import tiny_distill
from tests.shrunk import made_once, rows
from verifier import config as config_lib
from verifier.config import checks
from verifier.errors import ConfigError, Damaged
from verifier.evaluate import choices
from verifier.recipes import distill
from verifier.stages import distill as student
from verifier.stages import runner, select
from verifier.system import paths
from verifier.tables import choices as choices_table
from verifier.text import few_shot

SMALL = """
data.train_problems=24 data.heldout_problems=8 data.test_problems=6 ood.sets=[backwards]
ood.problems=8 sample.train_samples=2 sample.heldout_samples=1 sample.max_new_tokens=48
finetune.steps=4 finetune.batch_rows=2 finetune.eval_every=0 select.checkpoints=2
distill.mix=[1,1,0,2] select.formats=[in_context_chain_of_thought]
""".split()
TARGETS = '["{answer}", "{solution}", "{answer}", "Well. {solution}"]'


def config(*more):
    return config_lib.override(tiny_distill.get_config(), [*SMALL, *more])


@pytest.fixture(scope="module")
def specialised(tmp_path_factory):
    """A finished run. Nobody changes it."""

    def make(folder):
        own = config()
        runner.run(distill.stages(own), own, folder / "work")

    return made_once(tmp_path_factory, "specialised", make) / "work"


def solved(root, number, split):
    place = root / f"checkpoint={number}/in_context_chain_of_thought/tables/labels/split={split}"
    return {row["problem_id"]: row["correct"] for row in rows(place)}


def test_the_page_tells_of_every_checkpoint_and_the_chosen_one_is_the_runs_generator(specialised):
    found = json.loads((specialised / "report/metrics.json").read_text())
    (sets,) = found["formats"].values()
    assert set(sets) == {"test", "backwards"} and found["steps"] == [0, 2, 4]
    for number in range(3):
        kept = solved(specialised, number, "test_greedy")
        share = sum(kept.values()) / len(kept)
        assert sets["test"]["accuracy"][number]["value"] == pytest.approx(share, abs=1e-6)
    assert set(sets["test"]["kinds"]) == {"chain", "price"} and not sets["backwards"]["kinds"]
    right, *examples = (each for each in found["learned"].values() if isinstance(each, int))
    assert len(examples) == 4 and sum(examples) == right > 0
    chosen = found["selection"]["ood"]["candidate"]
    manifest = json.loads((specialised / "generator/manifest.json").read_text())
    milestone = specialised / f"checkpoint={chosen}/generator/manifest.json"
    assert manifest["id"] == json.loads(milestone.read_text())["id"]
    assert (specialised / "report/index.html").read_text().count("checkpoint") > 2


def test_checkpoints_are_of_one_training_and_the_last_is_its_end(specialised):
    ids = [
        json.loads((specialised / place / "generator/manifest.json").read_text())["id"]
        for place in ("checkpoint=0", "checkpoint=1", "checkpoint=2", "student")
    ]
    assert len(set(ids[:3])) == 3 and ids[2] == ids[3]
    for place in ("student", "checkpoint=1", "."):  # who loads one is told how to ask it
        manifest = json.loads((specialised / place / "generator/manifest.json").read_text())
        assert (
            manifest["template"]["prompt"] == few_shot.FORMATS["zero_shot_chain_of_thought"].prompt
        )


def test_a_checkpoint_that_was_changed_is_not_taken(specialised, tmp_path):
    copy = tmp_path / "work"
    shutil.copytree(specialised, copy)
    shutil.rmtree(copy / "checkpoint=1/generator")
    milestone = copy / "student/generator/milestones/1"
    changed = max(paths.files_in(milestone), key=lambda path: path.stat().st_size)
    content = bytearray(changed.read_bytes())
    content[len(content) // 2] ^= 1
    changed.write_bytes(content)
    own = config()
    with pytest.raises(Damaged, match=changed.name):
        runner.run(distill.stages(own), own, copy, ["checkpoint"])


def test_choices_are_those_of_the_labels(specialised):
    kept = choices_table.read(specialised / "tables/choices")
    for row in kept:
        number = int(row["candidate"].split("=")[1])
        split = "heldout_greedy" if row["criterion"] == "heldout" else "test_backwards_greedy"
        own = solved(specialised, number, split)
        chose = [
            value
            for key, value in own.items()
            if split == "heldout_greedy" or choices.chooses(key, 0.5)
        ]
        assert row["value"] == pytest.approx(sum(chose) / len(chose))


def test_a_teachers_table_keeps_what_it_thought_of_every_token(specialised):
    for row in rows(specialised / "teacher/tables/samples/split=train"):
        assert len(row["top_ids"]) == len(row["tokens"]) and len(row["top_ids"][0]) == 5
        assert all(t in ids for t, ids in zip(row["tokens"], row["top_ids"], strict=True))


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["distill.mix=[0,0,0,0]"], "one of them above 0"),
        (["distill.mix=[1,1]"], "a share for each"),
        (["sample.top_logprobs=0"], "sample.top_logprobs=5"),
        (["distill.teacher="], "distill.teacher"),
        (["finetune.patience=3"], "finetune.patience=0"),
        ([f"distill.targets={TARGETS}"], "'Well. {solution}'"),
        (["finetune.steps=0", "finetune.epochs=0"], "raise one of them"),
    ],
)
def test_what_a_student_could_not_learn_is_refused(assignments, said):
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        student.check(config(*assignments))


def test_a_choice_needs_sets_that_are_tested(tmp_path):
    with pytest.raises(ConfigError, match="ood.sets"):
        select.check(config("select.sets=[svamp]"))
    with pytest.raises(ConfigError, match="select.by=heldout"):
        select.check(config("select.sets=[]"))
    with pytest.raises(ConfigError, match="sample.greedy=true"):
        select.check(config("sample.greedy=false"))
    with pytest.raises(ConfigError, match="select.formats"):
        checks.check(config("select.formats=[]"))
    with pytest.raises(ConfigError, match="ood.problems=0"):
        checks.check(config("ood.problems=0"))
