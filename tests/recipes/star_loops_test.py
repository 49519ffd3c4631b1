"""STaR on sums: kills in a loop, drawing at a temperature, runs without hints and from the last
loop's model, and what a start with other loops leaves.
"""

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from flax import nnx

from experiments import tiny_sums_star
from tests.shrunk import made_once, rows
from verifier import config as config_lib
from verifier.config import checks
from verifier.errors import ComparisonError, DataError, WorkdirError
from verifier.recipes import star
from verifier.report import side_by_side
from verifier.run import model_folder
from verifier.run.context import Context
from verifier.stages import fitting, runner
from verifier.stages import star as loop_stages
from verifier.tables import store
from verifier.text.split import TEST

# The base gets nearly all of two digits and few of four; a larger rate makes it forget that.
SMALL = """
data.lengths=[2,4] data.train_problems=16 data.test_problems=8 sample.rows=32
star.loops=2 star.plateau=0 star.growth=0.5 finetune.steps=2 finetune.batch_rows=2
finetune.learning_rate=1e-4 finetune.checkpoint_every=1 report.resamples=50
""".split()
SAMPLED = """
sample.temperature=0.7 sample.train_samples=3 star.rationalise=false star.start=last
""".split()


class Killed(BaseException):
    """What nothing handles, like a kill."""


def config(*more):
    return config_lib.override(tiny_sums_star.get_config(), [*SMALL, *more])


def run(root, *more):
    own = config(*more)
    checks.check(own)
    runner.run(star.stages(own), own, root)


def params_sum(model):
    """Of a model's parameters, bit for bit."""
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest()


def saved_sum(root, loop):
    return params_sum(
        model_folder.load(root / f"loop={loop}/generator", "finetune", "float32").model
    )


def watched_run(root, *more):
    """A run, and beside it the sums of what every loop's training starts from."""
    starts, fit = [], fitting.fit

    def watched(context, job, model, *rest, **named):
        starts.append(params_sum(model))
        return fit(context, job, model, *rest, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "fit", watched)
        run(root, *more)
    (root / "starts.json").write_text(json.dumps(starts))


@pytest.fixture(scope="module")
def looped(tmp_path_factory):
    """A run with hints, from the base, that was left alone. Nobody changes it."""
    made = made_once(tmp_path_factory, "star_loops", lambda folder: watched_run(folder / "work"))
    return made / "work"


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    """A run at a temperature, without hints, each loop from the last one. Nobody changes it."""
    made = made_once(
        tmp_path_factory, "star_sampled", lambda folder: watched_run(folder / "work", *SAMPLED)
    )
    return made / "work"


def learners(root, own):
    stages = star.stages(own)
    return [Context(own, root, each, stages) for each in stages if each.name == "finetune"]


def metrics(root):
    return json.loads((root / "report/metrics.json").read_text())


def ids(root):
    folders = sorted(root.glob("loop=*/generator"))
    return [json.loads((each / "manifest.json").read_text())["id"] for each in folders]


def drawn(root):
    """All solutions and their labels, by folder."""
    folders = sorted(root.glob("loop=*/**/split=*"))
    return {
        str(each.relative_to(root)): rows(each) for each in folders if "problems" not in str(each)
    }


def test_a_kill_in_a_loop_ends_as_a_run_never_killed(looped, tmp_path):
    work, fit, finish = tmp_path / "work", fitting.fit, store.TableWriter.finish
    kills = []

    def dies(where):
        if where not in kills:
            kills.append(where)
            raise Killed

    def dying_fit(context, *rest, **named):
        made = fit(context, *rest, **named)
        if context.stage.place == "loop=1":
            dies("trained, and not saved")
        return made

    def dying_finish(writer, *rest, **named):
        if "loop=1/hint" in str(writer.folder) and "samples" in str(writer.folder):
            dies("hints drawn, and not finished")
        if "loop=2/tables/labels" in str(writer.folder):
            dies("labels written, and not finished")
        finish(writer, *rest, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "fit", dying_fit)
        patched.setattr(store.TableWriter, "finish", dying_finish)
        for number in range(3):
            with pytest.raises(Killed):
                run(work)
            assert len(kills) == number + 1
        run(work)
    assert ids(work) == ids(looped)
    assert drawn(work) == drawn(looped)
    told, left_alone = metrics(work), metrics(looped)
    assert told["loops"] == left_alone["loops"] and told["unsolved"] == left_alone["unsolved"]


def test_every_loop_is_trained_from_the_base_or_from_the_last(looped, sampled):
    base = saved_sum(looped, 0)
    assert json.loads((looped / "starts.json").read_text()) == [base, base]
    assert saved_sum(looped, 1) != base
    starts = json.loads((sampled / "starts.json").read_text())
    assert starts == [saved_sum(sampled, 0), saved_sum(sampled, 1)] and starts[0] != starts[1]


def test_at_a_temperature_several_solutions_are_drawn_and_each_text_is_learned_once(sampled):
    assert not list(sampled.glob("loop=*/hint"))
    for loop, context in enumerate(learners(sampled, config(*SAMPLED))):
        samples = rows(sampled / f"loop={loop}/tables/samples/split=train")
        assert len(samples) == 16 * 3
        assert len({row["solution"] for row in samples}) > 16  # not the likeliest one, thrice
        labels = rows(sampled / f"loop={loop}/tables/labels/split=train")
        right = {
            (sample["problem_id"], sample["solution"])
            for sample, label in zip(samples, labels, strict=True)
            if label["correct"] and sample["finish"] == "eos"
        }
        found, counts = loop_stages.kept_of(context)
        assert {each[:2] for each in found} == right and len(found) == len(right)
        assert counts["hinted"] == 0 and counts["used"] == counts["used_without_hints"]
        shares = counts["used_by_kind"]
        sources = [each.source for each in context.problems("problems")]
        used = sum(share * sources.count(kind) for kind, share in shares.items())
        assert used / 16 == pytest.approx(counts["used"])
        assert list(shares) == ["sums/2", "sums/4"]


def test_a_start_with_other_loops_loses_nothing_and_one_with_other_hints_is_refused(
    looped, tmp_path
):
    work = shutil.copytree(looped, tmp_path / "work")
    before = ids(work)
    run(work, "star.loops=1")
    assert [each["loop"] for each in metrics(work)["loops"]] == [0, 1] and ids(work) == before
    run(work)
    assert metrics(work)["loops"] == metrics(looped)["loops"] and ids(work) == before
    with pytest.raises(WorkdirError, match=r"star\.rationalise"):
        run(work, "star.rationalise=false")
    assert ids(work) == before


def test_loops_with_nothing_to_learn_stop_with_the_numbers_and_keep_what_is_there(tmp_path):
    work = tmp_path / "work"
    too_long = ["data.lengths=[9]", "star.rationalise=false", "sample.max_new_tokens=16"]
    with pytest.raises(DataError, match="0 of 16 solutions of the loop before are right"):
        run(work, *too_long)
    assert len(rows(work / "loop=0/tables/labels/split=train")) == 16
    assert not (work / "loop=1/generator/manifest.json").exists()


def test_runs_of_loops_stand_beside_each_other(looped, sampled, tmp_path):
    table = side_by_side.compare([looped, sampled], tmp_path, TEST, 50, 0)
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert found["shared_problems"] == 8
    for root, each in zip((looped, sampled), found["runs"], strict=True):
        own = [one["sets"]["test"]["accuracy"]["value"] for one in metrics(root)["loops"]]
        assert [one["accuracy"]["value"] for one in each["loops"]] == pytest.approx(own)
    assert "- first" in table and "of train" in (tmp_path / "index.html").read_text()
    shutil.copytree(sampled, tmp_path / "odd")
    shutil.rmtree(tmp_path / "odd/loop=1/tables/labels")
    with pytest.raises(ComparisonError, match="is not there; expected the labels"):
        side_by_side.compare([looped, tmp_path / "odd"], tmp_path / "out", TEST, 50, 0)
