"""model.dtype=auto is one type in the whole of a run, whatever devices it goes on with."""

import json

import jax
import pytest

from tests.run.hosts_test import Store
from tests.shrunk import config
from verifier import errors
from verifier.model.precision import Choice
from verifier.run import hosts, precision, workdir

AUTO = config("model.dtype=auto")


@pytest.fixture
def device(monkeypatch):
    """What the device is fast in."""

    def fast_in(dtype):
        choice = Choice(dtype, f"the test says {dtype}")
        monkeypatch.setattr(precision.precision, "of_this_device", lambda: choice)

    return fast_in


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_new_workdir_gets_what_its_device_is_fast_in(tmp_path, capsys, device, dtype):
    device(dtype)
    assert precision.settled(AUTO, [tmp_path / "new"]) == config(f"model.dtype={dtype}")
    assert f"model.dtype=auto: {dtype}, for the test says {dtype}" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_workdir_goes_on_with_the_type_that_it_was_begun_with(tmp_path, capsys, device, dtype):
    workdir.save_config(tmp_path, config(f"model.dtype={dtype}"))
    device("float32" if dtype == "bfloat16" else "bfloat16")
    found = precision.settled(AUTO, [tmp_path / "missing", tmp_path])
    assert found.model.dtype == dtype
    assert f"auto: {dtype}, with which {tmp_path} was begun" in capsys.readouterr().err


def test_a_workdir_of_before_the_knob_has_the_type_of_its_time(tmp_path, device):
    workdir.save_config(tmp_path, AUTO)
    saved = json.loads((tmp_path / "config.json").read_text())
    del saved["settings"]["model.dtype"], saved["sha256"]  # nor was it sealed then
    (tmp_path / "config.json").write_text(json.dumps(saved))
    device("bfloat16")
    assert precision.settled(AUTO, [tmp_path]).model.dtype == "float32"


def test_a_type_that_is_named_stays(tmp_path, capsys, device):
    workdir.save_config(tmp_path, config("model.dtype=bfloat16"))
    device("bfloat16")
    named = config("model.dtype=float32")
    assert precision.settled(named, [tmp_path]) is named
    assert not capsys.readouterr().err


def test_a_damaged_config_is_refused(tmp_path, device):
    workdir.save_config(tmp_path, config("model.dtype=bfloat16"))
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace("bfloat16", "float32"))
    device("bfloat16")
    with pytest.raises(errors.Damaged, match=r"config\.json has changed"):
        precision.settled(AUTO, [tmp_path])


def test_all_processes_take_what_the_first_one_finds(monkeypatch):
    store, process = Store(), [0]
    monkeypatch.setattr(hosts, "_client", lambda: store)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: process[0])
    found = []
    for process[0], own in ((0, "bfloat16"), (1, "float32")):
        found.append(hosts.from_first("which", lambda own=own: own))
    assert found == ["bfloat16", "bfloat16"]
