"""Folders of safetensors: what is missing or damaged is named, what is written can be read by the
safetensors library.
"""

import json
import sys
import types

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from verifier import errors
from verifier.errors import WeightsError
from verifier.hf.files import read_json, resolve_weights, stored_tensors, write_folder
from verifier.hf.safetensors_files import NewTensor, reader
from verifier.system import checksums

A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(4, np.float32)
NEW = [NewTensor("a", (2, 3), lambda: A), NewTensor("b", (4,), lambda: B)]


def refused(action, *arguments):
    with pytest.raises(WeightsError) as error:
        action(*arguments)
    return str(error.value)


def test_written_files_are_safetensors(tmp_path):
    write_folder(tmp_path, {"model_type": "x"}, NEW, shard_bytes=1000)
    found = load_file(tmp_path / "model.safetensors")
    assert (
        sorted(found) == ["a", "b"]
        and np.array_equal(found["a"], A)
        and np.array_equal(found["b"], B)
    )
    assert read_json(tmp_path / "config.json") == {"model_type": "x"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_shards_hold_the_same_and_replace_a_single_file_and_back(tmp_path):
    write_folder(tmp_path, {}, NEW, shard_bytes=1000)
    write_folder(tmp_path, {}, NEW, shard_bytes=1)
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        *shards,
        "model.safetensors.index.json",
    ]
    stored = stored_tensors(tmp_path)
    with reader() as read:
        assert np.array_equal(read("a", stored["a"]), A) and np.array_equal(
            read("b", stored["b"]), B
        )
    write_folder(tmp_path, {}, NEW, shard_bytes=1000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_folder(tmp_path, {}, NEW, shard_bytes=1000)

    def fail() -> np.ndarray:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_folder(tmp_path, {}, [NEW[0], NewTensor("b", (4,), fail)], shard_bytes=1000)
    assert np.array_equal(load_file(tmp_path / "model.safetensors")["b"], B)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("known_by", ["sums", "link"])
def test_a_file_that_is_not_what_its_sum_says_is_named(tmp_path, known_by):
    path = tmp_path / "model.safetensors"
    save_file({"a": A}, path)
    if known_by == "sums":
        checksums.write_sums(tmp_path)
    else:  # as in the hub's cache: the file has its sum for a name, and a link the name
        blob = tmp_path / checksums.of_file(path)
        path = path.rename(blob)
        (tmp_path / "model.safetensors").symlink_to(blob)
    assert list(stored_tensors(tmp_path)) == ["a"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(errors.Damaged, match=r"model\.safetensors has changed .*download it again"):
        stored_tensors(tmp_path)
    write_folder(tmp_path / "new", {}, NEW, shard_bytes=1000)
    (tmp_path / "new" / checksums.SUMS).write_text("0  model.safetensors\n")  # of an older export
    write_folder(tmp_path / "new", {}, NEW, shard_bytes=1000)
    assert len(stored_tensors(tmp_path / "new")) == 2


@pytest.mark.parametrize("keep", [3, 20, -1])
def test_a_truncated_file_is_named_with_both_sizes(tmp_path, keep):
    path = tmp_path / "model.safetensors"
    save_file({"a": A}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    message = refused(stored_tensors, tmp_path)
    assert (
        str(path) in message and "truncated" in message and f"{len(whole[:keep])} bytes" in message
    )
    if keep == -1:
        assert f"{len(whole)} expected" in message


def test_a_pointer_and_rubbish_are_named(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "Git LFS pointer" in refused(stored_tensors, tmp_path)
    path.write_bytes((8).to_bytes(8, "little") + b"[1, 2, 3")
    assert f"{path} has no readable safetensors header" in refused(stored_tensors, tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert f"{tmp_path / 'config.json'} is not JSON" in refused(read_json, tmp_path / "config.json")


def test_missing_files_are_named_with_the_way_out(tmp_path):
    assert "holds no model.safetensors" in refused(stored_tensors, tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    message = refused(stored_tensors, tmp_path)
    assert "only pytorch_model.bin" in message and "save_pretrained" in message
    write_folder(tmp_path, {}, NEW, shard_bytes=1)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "lacks 1 of the 2 shards in its index: model-00002-of-00002.safetensors" in refused(
        stored_tensors, tmp_path
    )
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({}))
    assert "has no weight_map" in refused(stored_tensors, tmp_path)


def test_a_folder_is_itself_and_a_file_is_refused(tmp_path, monkeypatch):
    assert resolve_weights(str(tmp_path)) == tmp_path
    (tmp_path / "model.safetensors").touch()
    assert "is a file" in refused(resolve_weights, str(tmp_path / "model.safetensors"))
    for no_hub_id in ("missing", "/no/such/folder", "./no/folder", "../folder"):
        assert "there is no folder" in refused(resolve_weights, no_hub_id)


def test_a_hub_id_is_fetched(tmp_path, monkeypatch):
    def fetch(name, **patterns):
        return str(tmp_path / name)

    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=fetch)
    )
    assert resolve_weights("org/name-1.5") == tmp_path / "org/name-1.5"


def test_a_hub_id_without_the_extra_or_offline_tells_the_ways_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = refused(resolve_weights, "org/name")
    assert "pip install huggingface-hub" in message and "hf download org/name" in message

    def offline(name, **patterns):
        raise FileNotFoundError("outgoing traffic has been disabled")

    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=offline)
    )
    message = refused(resolve_weights, "org/name")
    assert "outgoing traffic" in message and "hf download org/name" in message
