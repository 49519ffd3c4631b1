"""A recipe of one file: its stages run in places of their own, go on, are told and refused by the
contract alone, and each place is a workdir like any other.
"""

import json
import pathlib

import pytest

from tests.recipes import two_loops
from tests.shrunk import rows
from verifier import config as config_lib
from verifier import errors, export, rerank
from verifier.plan import answer, devices
from verifier.recipes import token_verifier
from verifier.run import experiment, status
from verifier.stages import runner, sweep
from verifier.tables import store

FILE = str(pathlib.Path(two_loops.__file__))
stages_of = experiment.load_recipe(FILE, token_verifier.stages)


@pytest.fixture(scope="module")
def looped(tmp_path_factory):
    """A finished run. Nobody changes it."""
    root = tmp_path_factory.mktemp("looped")
    config = experiment.load(FILE)
    runner.run(stages_of(config), config, root)
    return root


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def states(root, *assignments):
    config = config_lib.override(experiment.load(FILE), assignments)
    stages = stages_of(config)
    lines = status.lines(stages, None, config, root)
    return {(line.stage, line.split): (line.state, line.why) for line in lines}, lines


def test_every_loop_is_drawn_by_the_generator_of_the_one_before(looped):
    generators = [manifest(looped / place / "generator") for place in ("", "loop=1", "loop=2")]
    assert len({each["id"] for each in generators}) == 3
    for before, place in zip(generators, ("loop=1", "loop=2"), strict=False):
        drawn = manifest(looped / place / "tables/samples/split=train")
        assert drawn["settings"]["generator"] == before["id"]
        assert {row["generator"] for row in rows(looped / place / "tables/samples/split=test")} == {
            before["id"]
        }
    for place, made in zip(("loop=1", "loop=2"), generators[1:], strict=True):
        tables = looped / place / "tables"
        for role in ("samples", "labels"):
            assert made["settings"][role] == manifest(tables / role / "split=train")["id"]


def test_a_place_is_a_workdir_by_itself(looped, tmp_path):
    place = looped / "loop=2"
    assert json.loads((place / "config.json").read_text())["name"] == "two_loops"
    rerank.rerank(
        rerank.Sources(place), tmp_path, config_lib.ReportConfig(), config_lib.LabelConfig(), 0
    )
    own, again = (
        json.loads((folder / "metrics.json").read_text())["splits"]["test"]["mean_sample_accuracy"]
        for folder in (place / "report", tmp_path)
    )
    assert own["value"] == again["value"]
    export.export(place / "generator", tmp_path / "exported")
    assert (tmp_path / "exported/model.safetensors").is_file()


def test_it_is_finished_once_and_told_by_stage_and_place(looped, capsys):
    config = experiment.load(FILE)
    runner.run(
        stages_of(config),
        config,
        looped,
        ["finetune", "sample"],
    )
    said = capsys.readouterr().err
    assert "== sample (loop=2)" in said and "sample train (loop=1): already done" in said
    found, lines = states(looped)
    assert {state for (name, _), (state, _) in found.items() if "report" not in name} == {"done"}
    by_name = {line.stage: line for line in lines}
    assert "loop=1/generator" in by_name["sample (loop=2)"].reads
    assert "generator" in by_name["sample (loop=1)"].reads


def test_what_is_to_do_and_what_is_refused_is_said_with_the_reason(looped, tmp_path):
    fresh, _ = states(tmp_path / "nowhere")
    assert {state for state, _ in fresh.values()} == {"to do"}
    assert not (tmp_path / "nowhere").exists()
    found, lines = states(looped, "sample.temperature=0.9")
    assert found["finetune", ""][0] == "done"
    state, why = found["sample (loop=2)", "train"]
    assert state == "refused" and "sample.temperature: 0.7 there, 0.9 now" in why
    assert "refused  train heldout test (made otherwise" in status.table(lines)


def test_a_result_that_was_made_from_others_is_refused(looped, tmp_path, monkeypatch):
    read = store.read_manifest

    def changed(folder):
        known = read(folder)
        return known | {"id": "other"} if known and folder == looped / "generator" else known

    monkeypatch.setattr(store, "read_manifest", changed)
    state, why = states(looped)[0]["sample (loop=1)", "test"]
    assert state == "refused" and "generator: " in why and "'other' now" in why
    config = experiment.load(FILE)
    with pytest.raises(errors.WorkdirError, match="generator: .* there, 'other' now"):
        runner.run(stages_of(config), config, looped, ["sample"])


def test_a_manifest_that_cannot_be_read_is_refused_by_name_and_the_rest_is_told(tmp_path):
    (tmp_path / "generator").mkdir()
    (tmp_path / "generator" / "manifest.json").write_text("{")
    found, _ = states(tmp_path)
    state, why = found["finetune", ""]
    assert state == "refused" and "generator/manifest.json" in why
    assert found["sample (loop=1)", "test"][0] == "to do"


def test_every_loop_has_a_column_of_its_own_in_a_plan():
    config = experiment.load(FILE)
    text = answer.answer(config, stages_of, devices.parse("1"), ["finetune"])
    assert all(name in text for name in (" finetune ", "finetune (loop=1)", "finetune (loop=2)"))


def test_a_sweep_shares_by_place(looped, tmp_path):
    recipe = stages_of
    themes = {"votes": {"fewer": ["report.resamples=20"], "hot": ["sample.temperature=0.9"]}}
    (tmp_path / "seed=0").mkdir()
    (tmp_path / "seed=0" / "base").symlink_to(looped)
    ((base, fewer, hot),) = sweep.check(experiment.load(FILE), recipe, themes, [0], tmp_path)
    for variant in (fewer, hot):
        sweep.share(variant, [base, fewer, hot])
    assert (fewer.root / "loop=2" / "generator").is_symlink()
    assert (hot.root / "generator").is_symlink() and not (hot.root / "loop=1/generator").exists()


def test_a_recipe_that_gives_no_stages_is_refused_with_its_file(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(
        "from verifier.config import Config\n"
        "def get_config():\n    return Config()\n"
        "def get_stages(config):\n    return ['sample']\n"
    )
    with pytest.raises(errors.ConfigError, match=r"get_stages\(\) gave \['sample'\]; expected"):
        experiment.load_recipe(str(path), token_verifier.stages)(config_lib.Config())
