"""Weights, tokenizers and texts that were moved are the same files; what has changed, or cannot be
known, is not.
"""

from __future__ import annotations

import pathlib
import shutil

import pytest

from verifier import config as config_lib
from verifier import errors
from verifier.run import inputs, workdir
from verifier.system import checksums

KNOB = {"weights": "model.weights", "tok.model": "tokenizer.path", "corpus.txt": "pretrain.corpus"}


def config(folder: pathlib.Path) -> config_lib.Config:
    return config_lib.override(
        config_lib.Config(), [f"{knob}={folder / name}" for name, knob in KNOB.items()]
    )


def finished(root: pathlib.Path, own: config_lib.Config, **facts: object) -> workdir.Workdir:
    """A workdir whose generator is finished by its manifest."""
    made = workdir.Workdir(root)
    checksums.write_sealed(
        made.generator / "manifest.json", {"settings": workdir.settings(own, "finetune"), **facts}
    )
    return made


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
        repository / "run", config(repository), inputs=inputs.sums(config(repository), "finetune")
    )
    repository.rename(tmp_path / "new")
    moved = tmp_path / "new"
    made = workdir.Workdir(moved / "run")
    assert workdir.is_done(made.generator, workdir.settings(config(moved), "finetune"))
    workdir.refuse_other_settings(made, config(moved))
    # what else has changed is still seen
    with pytest.raises(errors.WorkdirError, match=r"finetune\.learning_rate"):
        other = config_lib.override(config(moved), ["finetune.learning_rate=0.5"])
        workdir.refuse_other_settings(made, other)
    monkeypatch.setattr(
        checksums, "of_files", lambda *_: pytest.fail("files were read though nothing was moved")
    )
    assert workdir.is_done(made.generator, workdir.settings(config(repository), "finetune"))


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
        repository / "run", config(repository), inputs=inputs.sums(config(repository), "finetune")
    )
    moved = pathlib.Path(shutil.copytree(repository, tmp_path / "new"))
    (moved / name).write_text("another one")
    knob = KNOB[name.partition("/")[0]]
    with pytest.raises(
        errors.WorkdirError, match=rf"those of {knob} are not known to be the same: put them back"
    ):
        workdir.refuse_other_settings(workdir.Workdir(moved / "run"), config(moved))
    (moved / name).unlink()
    with pytest.raises(errors.WorkdirError, match=rf"those of {knob} are not known"):
        workdir.refuse_other_settings(workdir.Workdir(moved / "run"), config(moved))


def test_of_an_older_manifest_the_sums_of_weights_are_known_and_nothing_else(tmp_path, repository):
    sums = inputs.sums(config(repository), "finetune")["model.weights"]
    weights = {name: found for name, found in sums.items() if name.endswith(".safetensors")}
    made = finished(tmp_path / "run", config(repository), weights=weights)
    moved = pathlib.Path(shutil.copytree(repository, tmp_path / "new"))
    with pytest.raises(
        errors.WorkdirError,
        match=r"those of tokenizer\.path, pretrain\.corpus are not known to be the same",
    ):
        workdir.refuse_other_settings(made, config(moved))
    own = config_lib.override(config(repository), [f"model.weights={moved / 'weights'}"])
    workdir.refuse_other_settings(made, own)
    for name in (moved / "nowhere", "no/hub"):
        with pytest.raises(errors.WorkdirError, match=r"those of model\.weights are not known"):
            workdir.refuse_other_settings(made, config_lib.override(own, [f"model.weights={name}"]))


@pytest.mark.parametrize("path", ["~no-such-user-here/weights", "x" * 5000])
def test_a_path_that_no_file_system_has_is_named(tmp_path, repository, path):
    made = finished(tmp_path / "run", config(repository))
    with pytest.raises(errors.UserError, match="is no path that can be looked up"):
        workdir.refuse_other_settings(
            made, config_lib.override(config(repository), [f"tokenizer.path={path}"])
        )
