"""A dry run says of every result what the run would then do with it, and touches nothing."""

import json
import shutil

import pytest

from experiments import tiny_distill
from tests.shrunk import config, run
from verifier import errors
from verifier.recipes import distill, token_verifier
from verifier.run import stage, status
from verifier.system import checksums


def told(root, *assignments, names=None):
    own = config(*assignments)
    lines = status.lines(token_verifier.stages(own), names, own, root)
    return {(line.stage, line.split): (line.state, line.why) for line in lines}


def files(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_of_a_finished_run_all_is_done_and_nothing_is_touched(finished):
    root, before = finished[0], files(finished[0])
    states = told(root)
    assert {state for (name, _), (state, _) in states.items() if name != "report"} == {"done"}
    assert states["report", ""][0] == "to do" and ("sample", "test_greedy") in states
    assert files(root) == before


def test_results_of_stages_that_are_not_asked_for_are_told_where_they_end_the_run(finished):
    states = told(finished[0], "finetune.learning_rate=0.5", names=["score", "report"])
    assert states["finetune", ""][0] == "refused" and "sample" not in {name for name, _ in states}
    with pytest.raises(errors.WorkdirError, match="learning_rate"):
        run(config("finetune.learning_rate=0.5"), finished[0], ["score"])


def test_what_is_missing_and_will_not_be_made_is_named(copy):
    shutil.rmtree(copy / "generator")
    state, why = told(copy, names=["sample"])["sample", "train"]
    assert state == "refused" and why == "there is no generator; run the stage 'finetune' first"
    assert told(copy, names=["finetune", "sample"])["sample", "train"][0] == "done"


def test_labels_are_told_of_the_samples_that_are_there(copy):
    for split in ("heldout", "test_greedy"):
        shutil.rmtree(copy / "tables/samples" / f"split={split}")
    shutil.rmtree(copy / "tables/labels")
    states = told(copy, names=["label"])
    assert {split for name, split in states if name == "label"} == {"train", "test"}
    shutil.rmtree(copy / "tables/samples")
    assert {state for _, (state, _) in told(copy, names=["label"]).items()} >= {"refused"}


def test_tables_that_were_made_from_others_are_refused(copy):
    path = copy / "tables/samples/split=test/manifest.json"
    manifest = json.loads(path.read_text())
    checksums.write_sealed(path, manifest | {"id": "0123456789abcdef"})
    states = told(copy)
    for name in ("label", "score"):
        state, why = states[name, "test"]
        assert state == "refused" and "0123456789abcdef" in why
    assert states["sample", "test"][0] == states["label", "train"][0] == "done"


def test_what_was_begun_with_other_settings_is_refused(copy):
    folder = copy / "tables/scores/split=test"
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").unlink()
    assert told(copy)["score", "test"][0] == "refused"  # parts of which nobody knows
    begun = {"table": "scores", "schema_version": 1, "settings": manifest["settings"]}
    checksums.write_sealed(folder / "unfinished.json", begun)
    assert told(copy)["score", "test"] == ("to do", "begun, and gone on with")
    begun["settings"] = manifest["settings"] | {"verifier": "another"}
    checksums.write_sealed(folder / "unfinished.json", begun)
    state, why = told(copy)["score", "test"]
    assert state == "refused" and "begun with other settings: verifier: 'another'" in why


def test_greedy_samples_that_are_there_count_though_none_are_asked_for(copy):
    own = "sample.greedy=false"
    shutil.rmtree(copy / "tables/labels/split=test_greedy")
    run(config(own), copy, ["label", "report"])  # which labels and reports what is there
    assert (copy / "tables/labels/split=test_greedy/manifest.json").is_file()
    shutil.rmtree(copy / "tables/samples/split=test_greedy")
    assert ("sample", "test_greedy") not in told(copy, own)
    run(config(own), copy, ["sample"])
    assert not (copy / "tables/samples/split=test_greedy").exists()


def test_greedy_samples_of_other_settings_are_refused_though_none_are_asked_for(copy):
    path = copy / "tables/samples/split=test_greedy/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["settings"]["sample.max_new_tokens"] = 9
    checksums.write_sealed(path, manifest)
    with pytest.raises(errors.WorkdirError, match=r"sample\.max_new_tokens: 9 there"):
        run(config("sample.greedy=false"), copy, ["report"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda stages: [], "a recipe of no stage"),
        (lambda stages: [*stages, *stages], "problems stands twice"),
        (lambda stages: stages[::-1], "report reads .*, which does not come before it"),
        (lambda stages: stages[4:], "verify reads generator of the stage finetune"),
    ],
)
def test_stages_that_cannot_run_in_their_order_are_refused(spoil, message):
    stage.check_recipe(token_verifier.stages(config()))
    with pytest.raises(errors.ConfigError, match=message):
        stage.check_recipe(spoil(token_verifier.stages(config())))


def test_results_that_are_read_in_many_roles_are_counted(tmp_path):
    own = tiny_distill.get_config()
    lines = status.lines(distill.stages(own), None, own, tmp_path)
    (report,) = (line for line in lines if line.stage == "report")
    # of 5 candidates in 2 formats: held-out problems, the target, and three further sets
    labels, *more = (name for name in report.reads if "labels" in name)
    assert labels == "labels of 50 roles" and not more
    assert "choices" in report.reads and "student/generator" in report.reads
    (student,) = (line for line in lines if line.stage == "finetune (student)")
    assert "teacher/labels train" in student.reads  # few are named
