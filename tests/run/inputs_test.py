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
from verifier.recipes import token_verifier
from verifier.run import inputs, workdir
from verifier.system import checksums

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
