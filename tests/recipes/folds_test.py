"""Samples out of fold: no training problem is drawn from by a generator that has learned it, and a
run without folds is what it was.
"""

import collections
import json
import pathlib
import shutil

import pytest

from tests.recipes import two_loops
from tests.shrunk import config, rows, run
from verifier import errors
from verifier.plan import amounts, subject
from verifier.recipes import guided, token_verifier
from verifier.run import stage as stage_lib
from verifier.run import status
from verifier.run.context import Context
from verifier.stages import fitting, folds, sample, sweep, table_writing
from verifier.system import checksums
from verifier.tables import store
from verifier.text.split import HELDOUT, TEST, TRAIN

TWO = "sample.folds=2"
PLACES = ["fold=0", "fold=1"]
MADE_ANEW = ("tables/samples/split=train", "tables/labels/split=train", "tables/scores", "verifier")


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def noted(folder, change):
    """Changes a manifest that is there."""
    made = manifest(folder)
    made.pop("sha256", None)
    change(made)
    checksums.write_sealed(folder / "manifest.json", made)


def problem_ids(root, place=""):
    return [row["problem_id"] for row in rows(root / place / "tables/problems/split=train")]


@pytest.fixture(scope="module")
def folded(finished, tmp_path_factory):
    """A run with two folds, stopped while the second one draws and gone on with, and by place the
    problems that were learned from. It has the generator of a run without folds, and its samples of
    other problems. Nobody changes it.
    """
    root = tmp_path_factory.mktemp("folded") / "work"
    shutil.copytree(finished[0], root)
    for name in MADE_ANEW:
        shutil.rmtree(root / name)
    learned, fit = {}, fitting.fit

    def noting(context, job, model, examples, *more):
        learned[context.stage.place or context.stage.name] = {each.name for each in examples.train}
        return fit(context, job, model, examples, *more)

    looks = collections.Counter()

    def stop_in_the_second(progress):
        looks[progress.description] += 1
        if looks["sample train (fold=1)"] == 12:
            raise errors.Stopped("in the test")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "fit", noting)
        patched.setattr(table_writing, "stop_if_asked", stop_in_the_second)
        with pytest.raises(errors.Stopped):
            run(config(TWO), root)
        run(config(TWO), root)
    return root, learned


def test_folds_tile_the_problems_of_the_run(folded):
    root, _ = folded
    parts = [problem_ids(root, place) for place in PLACES]
    assert sorted(parts[0] + parts[1]) == problem_ids(root) and all(parts)
    for number, part in enumerate(parts):
        assert {folds.fold_of(each, 2) for each in part} == {number}


def test_a_problem_keeps_its_fold_and_folds_are_of_like_size():
    ids = [f"{number:016x}" for number in range(3000)]
    counts = collections.Counter(folds.fold_of(each, 3) for each in ids)
    assert set(counts) == {0, 1, 2} and all(900 < count < 1100 for count in counts.values())


def test_no_problem_is_drawn_from_by_a_generator_that_has_learned_it(folded):
    root, learned = folded
    every = set(problem_ids(root))
    place_of = {manifest(root / place / "generator")["id"]: place for place in PLACES}
    drawn = rows(root / "tables/samples/split=train")
    assert {row["generator"] for row in drawn} == set(place_of)
    for row in drawn:
        assert row["problem_id"] not in learned[place_of[row["generator"]]]
    for place in PLACES:  # each learns all others, and says of how many
        assert learned[place] == every - set(problem_ids(root, place))
        told = manifest(root / place / "generator")["learned"]
        assert told == {"problems": len(learned[place]), "left_out": 60 - len(learned[place])}
        unseen = manifest(root / place / "tables/problems/split=train")["id"]
        assert manifest(root / place / "generator")["settings"]["left_out"] == unseen
        assert manifest(root / "tables/samples/split=train")["folds"][place]["problems"] == unseen


def test_the_same_problems_are_drawn_from_and_all_else_is_as_without_folds(folded, finished):
    root, whole = folded[0], finished[0]
    keys = [
        [(row["problem_id"], row["sample_id"]) for row in rows(each / "tables/samples/split=train")]
        for each in (root, whole)
    ]
    assert keys[0] == keys[1] and len(keys[0]) == 30
    assert manifest(root / "generator")["id"] == manifest(whole / "generator")["id"]
    for split in ("heldout", "test", "test_greedy"):
        of = manifest(root / f"tables/samples/split={split}")
        assert of == manifest(whole / f"tables/samples/split={split}")


def test_what_a_stopped_fold_has_drawn_is_what_it_draws_alone(folded, tmp_path):
    root = pathlib.Path(shutil.copytree(folded[0] / "fold=1", tmp_path / "work/fold=1")).parent
    shutil.copytree(folded[0] / "tables/problems", root / "tables/problems")
    before = rows(root / "fold=1/tables/samples/split=train")
    shutil.rmtree(root / "fold=1/tables/samples")
    stages = [each for each in token_verifier.stages(config(TWO)) if each.place == "fold=1"]
    (drawing,) = (each for each in stages if each.name == "sample")
    sample.sample(Context(config(TWO), root, drawing, stages))
    again = rows(root / "fold=1/tables/samples/split=train")
    assert [row["tokens"] for row in again] == [row["tokens"] for row in before]
    joined = rows(folded[0] / "tables/samples/split=train")
    by_fold = [*rows(folded[0] / "fold=0/tables/samples/split=train"), *before]
    assert joined == sorted(by_fold, key=lambda row: (row["problem_id"], row["sample_id"]))


def test_the_verifier_takes_samples_of_the_folds_as_those_of_its_generator(folded):
    made = manifest(folded[0] / "verifier")
    assert made["trained_on"] == made["generator"] == manifest(folded[0] / "generator")["id"]
    assert made["reads_text"] is False
    ids = {place: manifest(folded[0] / place / "generator")["id"] for place in PLACES}
    assert made["folds"] == ids and len({*ids.values(), made["generator"]}) == 3


def change_epochs(made):
    made["folds"]["fold=1"]["settings"]["finetune.epochs"] = 9.0


def change_weights(made):
    made["folds"]["fold=0"]["weights"] = {"model.safetensors": "0123"}


@pytest.mark.parametrize("change", [change_epochs, change_weights])
def test_folds_of_another_generator_are_refused(folded, tmp_path, change):
    root = pathlib.Path(shutil.copytree(folded[0], tmp_path / "work"))
    shutil.rmtree(root / "verifier")
    noted(root / "tables/samples/split=train", change)
    with pytest.raises(errors.WorkdirError, match="samples of train were drawn by generator .*, "):
        run(config(TWO), root, ["verify"])


def test_a_generator_that_has_learned_what_was_drawn_is_refused(folded, tmp_path):
    root = pathlib.Path(shutil.copytree(folded[0], tmp_path / "work"))
    shutil.rmtree(root / "tables/samples/split=train")
    other = manifest(root / "fold=0/tables/problems/split=train")["id"]
    noted(root / "fold=1/generator", lambda made: made["settings"].update(left_out=other))
    context = Context(config(TWO), root, *_samples_of_run())
    with pytest.raises(errors.TablesError, match=f"has not learned the problems {other}: remove"):
        context.stage.do(context)
    assert not (root / "tables/samples/split=train/manifest.json").exists()


def _samples_of_run():
    stages = token_verifier.stages(config(TWO))
    return next(each for each in stages if each.name == "sample" and not each.place), stages


def test_all_is_done_once_and_told_by_place(folded, tmp_path):
    stages = token_verifier.stages(config(TWO))
    done = status.lines(stages, None, config(TWO), folded[0])
    assert {line.state for line in done if line.makes != "report"} == {"done"}
    fresh = {line.stage: line for line in status.lines(stages, None, config(TWO), tmp_path / "no")}
    assert fresh["finetune (fold=1)"].state == "to do" and not (tmp_path / "no").exists()
    assert "fold=1/problems train" in fresh["finetune (fold=1)"].reads
    assert "fold=0/samples train" in fresh["sample"].reads


@pytest.mark.parametrize("folds_now", [0, 3])
def test_another_number_of_folds_is_refused(folded, folds_now):
    with pytest.raises(errors.WorkdirError, match=r"sample\.folds: 2 there, .* now"):
        run(config(f"sample.folds={folds_now}"), folded[0])


@pytest.mark.parametrize("number", [0, 1])
def test_a_run_without_folds_is_what_it_was(finished, number):
    own = config(f"sample.folds={number}")
    stages = token_verifier.stages(own)
    names = "problems finetune sample label verify score report".split()
    assert [str(each) for each in stages] == names
    for each in stages:
        for split, folder in each.results(finished[0]).items():
            assert "sample.folds" not in each.settings(own, split)
            assert "folds" not in manifest(folder) and "learned" not in manifest(folder)


def test_samples_of_other_problems_are_shared_with_a_run_without_folds(tmp_path):
    ((base, two),) = sweep.check(
        config(), token_verifier.stages, {"folds": {"two": [TWO]}}, [0], tmp_path
    )
    shared = {(str(each), split) for each, split in sweep.to_be_shared(two, [base])}
    assert {("finetune", None), ("sample", HELDOUT), ("sample", TEST)} <= shared
    assert ("sample", TRAIN) not in shared and ("verify", None) not in shared


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (["sample.folds=3", "sample.train_problems=2"], "sample.folds=3 with sample.train_prob"),
        (["sample.folds=61"], "sample.folds=61 with data.train_problems=60"),
        (["sample.folds=9"], "none of the 10 training problems that are sampled from is in fold"),
    ],
)
def test_folds_that_would_be_empty_are_refused_before_any_training(tmp_path, knobs, message):
    with pytest.raises(errors.ConfigError, match=message):
        run(config(*knobs), tmp_path / "work")
    assert not (tmp_path / "work/fold=0/generator").exists()


def test_a_recipe_that_has_no_folds_refuses_them():
    own = config(TWO)
    refused = [each for each in two_loops.get_stages(own) if each.name == "sample"]
    with pytest.raises(errors.ConfigError, match=r"sample\.folds=2, but in this recipe"):
        refused[0].refuse(own)


def test_recipes_on_top_read_what_is_the_runs_own():
    own = config(TWO, "verify.labels=hard")
    for recipe in (token_verifier, guided):
        stage_lib.check_recipe(recipe.stages(own))
    (searched,) = (each for each in guided.stages(own) if each.name == "search")
    assert {part.stage.place for _, part in searched.inputs()} == {""}


def test_rollouts_of_the_folds_are_joined_into_one_table(folded, tmp_path):
    root = pathlib.Path(shutil.copytree(folded[0], tmp_path / "work"))
    own = config(TWO, "verify.labels=hard")
    stages = token_verifier.stages(own)
    joined = [each for each in stages if each.name == "rollouts"]
    for number, each in enumerate(joined[:-1]):
        row = {"problem_id": f"p{number}", "sample_id": 0, "step": 0, "end_token": 3}
        row |= {"rollouts": 2, "hits": number}
        writer = store.TableWriter(each.results(root)[TRAIN], "steps", {})
        writer.append([row])
        writer.finish({"seconds": 1.0})
    context = Context(own, root, joined[-1], stages)
    context.stage.do(context)
    table = root / "tables/steps/split=train"
    assert [row["hits"] for row in rows(table)] == [0, 1] and manifest(table)["seconds"] == 2.0


def test_a_plan_counts_what_the_folds_do():
    def planned(*knobs):
        own = config("finetune.epochs=2", *knobs)
        stages = token_verifier.stages(own)
        jobs = {(str(each), job.name): job for each in stages for job in each.jobs}
        return subject.read(own, list(jobs.values())), jobs

    alone, jobs = planned()
    trained = amounts.trained_tokens(alone, jobs["finetune", "finetune"])
    drawn = amounts.asked(alone, jobs["sample", "sample"])
    parted, jobs = planned(TWO)
    of_folds = [jobs[f"finetune ({place})", "finetune"] for place in PLACES]
    assert [amounts.trained_tokens(parted, each) for each in of_folds] == [trained / 2] * 2
    titles = ["sample", *(f"sample ({place})" for place in PLACES)]
    asked = [amounts.asked(parted, jobs[title, "sample"]) for title in titles]
    assert set(asked[0]) == {"heldout", "test"} and set(asked[1]) == {"train"}
    problems = sum(each["train"][0].problems for each in asked[1:])
    assert problems == drawn["train"][0].problems == 10
