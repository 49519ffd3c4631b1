"""Weights, tokenizers and texts that were moved are the same files; what has changed, or cannot be
known, is not.
"""

from __future__ import annotations

import pathlib
import shutil

import pytest

from tests.shrunk import context
from verifier import config as config_lib
from verifier import errors
from verifier.recipes import guided, token_verifier
from verifier.run import inputs, stage, workdir
from verifier.system import checksums

SENTENCES = pathlib.Path(__file__).parents[1] / "testdata/sentence_bert"
KNOB = {"weights": "model.weights", "tok.model": "tokenizer.path", "corpus.txt": "pretrain.corpus"}


def config(folder: pathlib.Path) -> config_lib.Config:
    return config_lib.override(
        config_lib.Config(), [f"{knob}={folder / name}" for name, knob in KNOB.items()]
    )


def finished(root: pathlib.Path, own: config_lib.Config, **facts: object) -> pathlib.Path:
    """A workdir whose generator is finished by its manifest."""
    settings = context(own, root, "finetune").settings()
    checksums.write_sealed(root / "generator/manifest.json", {"settings": settings, **facts})
    return root


def is_done(root: pathlib.Path, own: config_lib.Config) -> bool:
    work = context(own, root, "finetune")
    return work.is_done(work.settings())


def refuse(root: pathlib.Path, own: config_lib.Config) -> None:
    workdir.refuse_other_settings(token_verifier.stages(own), root, own)


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "old"
    for name in (
        "weights/model.safetensors",
        "weights/config.json",
        "weights/tokenizer.json",
        "tok.model",
        "corpus.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} as it was")
    return folder


def test_a_finished_run_that_was_moved_with_its_repository_is_used_again(
    tmp_path, repository, monkeypatch
):
    finished(
        repository / "run",
        config(repository),
        inputs=inputs.sums(config(repository), KNOB.values()),
    )
    repository.rename(tmp_path / "new")
    moved = tmp_path / "new"
    made = moved / "run"
    assert is_done(made, config(moved))
    refuse(made, config(moved))
    # what else has changed is still seen
    with pytest.raises(errors.WorkdirError, match=r"finetune\.learning_rate"):
        other = config_lib.override(config(moved), ["finetune.learning_rate=0.5"])
        refuse(made, other)
    monkeypatch.setattr(
        checksums, "of_files", lambda *_: pytest.fail("files were read though nothing was moved")
    )
    assert is_done(made, config(repository))


@pytest.mark.parametrize(
    "name",
    [
        "weights/model.safetensors",
        "weights/config.json",
        "weights/tokenizer.json",
        "tok.model",
        "corpus.txt",
    ],
)
def test_other_files_at_the_new_place_are_refused_by_knob(tmp_path, repository, name):
    finished(
        repository / "run",
        config(repository),
        inputs=inputs.sums(config(repository), KNOB.values()),
    )
    moved = pathlib.Path(shutil.copytree(repository, tmp_path / "new"))
    (moved / name).write_text("another one")
    knob = KNOB[name.partition("/")[0]]
    with pytest.raises(
        errors.WorkdirError, match=rf"those of {knob} are not known to be the same: put them back"
    ):
        refuse(moved / "run", config(moved))
    (moved / name).unlink()
    with pytest.raises(errors.WorkdirError, match=rf"those of {knob} are not known"):
        refuse(moved / "run", config(moved))


def test_of_an_older_manifest_the_sums_of_weights_are_known_and_nothing_else(tmp_path, repository):
    sums = inputs.sums(config(repository), KNOB.values())["model.weights"]
    weights = {name: found for name, found in sums.items() if name.endswith(".safetensors")}
    made = finished(tmp_path / "run", config(repository), weights=weights)
    moved = pathlib.Path(shutil.copytree(repository, tmp_path / "new"))
    with pytest.raises(
        errors.WorkdirError,
        match=r"those of tokenizer\.path, pretrain\.corpus are not known to be the same",
    ):
        refuse(made, config(moved))
    own = config_lib.override(config(repository), [f"model.weights={moved / 'weights'}"])
    refuse(made, own)
    for name in (moved / "nowhere", "no/hub"):
        with pytest.raises(errors.WorkdirError, match=r"those of model\.weights are not known"):
            refuse(made, config_lib.override(own, [f"model.weights={name}"]))


@pytest.mark.parametrize("path", ["~no-such-user-here/weights", "x" * 5000])
def test_a_path_that_no_file_system_has_is_named(tmp_path, repository, path):
    made = finished(tmp_path / "run", config(repository))
    with pytest.raises(errors.UserError, match="is no path that can be looked up"):
        refuse(made, config_lib.override(config(repository), [f"tokenizer.path={path}"]))


def searched(root: pathlib.Path, own: config_lib.Config, **facts: object) -> None:
    """A workdir whose search is finished by its manifest."""
    settings = guided_search(own).settings(own) | dict.fromkeys(
        ("generator", "verifier", "problems"), "an id"
    )
    folder = root / "tables/search/split=test"
    checksums.write_sealed(folder / "manifest.json", {"settings": settings, **facts})


def guided_search(own: config_lib.Config) -> stage.Stage:
    (found,) = (each for each in guided.stages(own) if each.name == "search")
    return found


def test_what_rain_reads_of_others_is_seen_to_change_where_it_lies(tmp_path):
    judge = tmp_path / "judge.toml"
    judge.write_text("good = 'yes'")
    (tmp_path / "config.json").write_text("of something else that lies beside it")
    encoder = shutil.copytree(SENTENCES, tmp_path / "encoder")
    knobs = [
        "search.methods=[rain]",
        f"rain.judge={judge}",
        f"rain.embeddings={encoder}",
    ]
    own = config_lib.override(config_lib.Config(), knobs)
    search = guided_search(own)
    sums = inputs.sums(own, search.named(own))
    assert sums["rain.judge"].keys() == {"judge.toml"}
    assert sums["rain.embeddings"].keys() >= {"model.safetensors", "1_Pooling/config.json"}
    searched(tmp_path / "run", own, inputs=sums)
    searched(tmp_path / "old", own)  # of an earlier version, which did not note them
    for path in (judge, encoder / "1_Pooling/config.json", encoder / "model.safetensors"):
        there = path.read_bytes()
        path.write_bytes(there + b" ")
        with pytest.raises(errors.WorkdirError, match="has changed since"):
            workdir.refuse_other_settings([search], tmp_path / "run", own)
        workdir.refuse_other_settings([search], tmp_path / "old", own)
        path.write_bytes(there)
    workdir.refuse_other_settings([search], tmp_path / "run", own)
    judge.rename(tmp_path / "moved.toml")
    moved = config_lib.override(own, [f"rain.judge={tmp_path / 'moved.toml'}"])
    with pytest.raises(errors.WorkdirError, match="rain.judge are not known to be the same"):
        workdir.refuse_other_settings([search], tmp_path / "run", moved)


@pytest.mark.parametrize(
    "knobs",
    [
        ["search.methods=[rain]"],  # the verifier judges, hidden states are compared
        ["search.methods=[rain]", "rain.judge=harmless"],
        ["search.methods=[beam]", "rain.judge=own.toml", "rain.embeddings=encoder"],
    ],
)
def test_names_and_what_is_not_read_are_no_files(knobs):
    own = config_lib.override(config_lib.Config(), knobs)
    assert guided_search(own).named(own) == []


def test_files_of_one_split_alone_are_files_of_the_stage():
    knobs = ["ood.sets=[svamp]", "ood.dirs=[there]", "data.dir=here"]
    own = config_lib.override(config_lib.Config(), knobs)
    (problems,) = (each for each in guided.stages(own) if each.name == "problems")
    assert {"data.dir", "ood.dirs"} <= set(problems.named(own))
