"""Model folders of others at the door: sizes, shapes and names are judged before they are believed,
and each fault is named.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.hf.files_test import refused
from verifier import errors
from verifier.errors import UserError, WeightsError
from verifier.hf.config import arch_from_hf
from verifier.hf.files import resolve_weights, stored_tensors
from verifier.hf.safetensors_files import reader
from verifier.hf.weights import load_weights
from verifier.system import checksums

TESTDATA = pathlib.Path(__file__).parents[1] / "testdata"
LLAMA = json.loads((TESTDATA / "hf_llama" / "config.json").read_text())
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"


@pytest.fixture
def folder(tmp_path):
    return pathlib.Path(shutil.copytree(TESTDATA / "hf_llama", tmp_path / "model"))


@pytest.mark.parametrize(
    "field",
    [
        "num_hidden_layers",
        "hidden_size",
        "vocab_size",
        "num_attention_heads",
        "intermediate_size",
        "head_dim",
    ],
)
@pytest.mark.parametrize(
    "value", [-3, 0, True, 2.5, "big", [1], {"a": 1}, float("nan"), float("inf"), 10**30]
)
def test_sizes_that_are_none_are_named(field, value):
    message = refused(arch_from_hf, LLAMA | {field: value})
    assert message.startswith(f"{field}={value!r} is not a whole number from 1 to")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "num_hidden_layers",
            10**9,
            "num_hidden_layers=1000000000 is not a whole number from 1 to 1,000",
        ),
        ("hidden_size", None, "lacks 'hidden_size'"),
        ("rms_norm_eps", float("nan"), "rms_norm_eps=nan is not a finite number above 0"),
        ("rms_norm_eps", "1e-6", "rms_norm_eps='1e-6' is not a finite number"),
        ("tie_word_embeddings", "false", "tie_word_embeddings='false' is not true or false"),
        ("model_type", ["llama"], "model_type=['llama'] is not a text"),
        ("hidden_act", {"a": 1}, "hidden_act={'a': 1} is not a text"),
        ("layer_types", 5, "layer_types=5 is not a list of texts"),
        ("rope_parameters", "linear", "rope_parameters='linear' is not an object"),
        (
            "rope_parameters",
            {"rope_type": "default", "rope_theta": "x"},
            "rope_theta='x' is not a finite number",
        ),
        (
            "rope_parameters",
            {"rope_type": "yarn", "rope_theta": 1, "factor": 2},
            "rope_theta=1 is not a finite number above 1",
        ),
        (
            "rope_parameters",
            {"rope_type": "yarn", "factor": 2, "mscale": "a", "mscale_all_dim": 1},
            "mscale='a' makes no sense",
        ),
        ("rope_parameters", {"rope_type": "linear", "factor": [2]}, "factor=[2] makes no sense"),
        ("rope_parameters", {"rope_type": ["x"]}, "config.json does not describe a llama model"),
    ],
)
def test_other_fields_of_a_wrong_kind_are_named(field, value, message):
    assert message in refused(arch_from_hf, LLAMA | {field: value})


def test_null_counts_as_absent():
    assert (
        arch_from_hf(LLAMA | {"rms_norm_eps": None, "max_position_embeddings": None}).norm_eps
        == 1e-6
    )


def test_more_layers_than_tensors_are_refused_before_anything_is_built(folder, monkeypatch):
    (folder / "config.json").write_text(json.dumps(LLAMA | {"num_hidden_layers": 999}))
    monkeypatch.setattr("verifier.hf.weights._new", None)
    assert "says that there are 999 layers, but the files hold 20 tensors" in refused(
        lambda: load_weights(folder, tokenizer_size=79)
    )


def _header(folder: pathlib.Path, edit) -> None:
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    changed = edit(header)
    text = changed if isinstance(changed, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def _first(key: str, value: object):
    return lambda header: header["model.embed_tokens.weight"].update({key: value})


def _overlap(header: dict) -> None:
    names = [name for name in header if name != "__metadata__"]
    one, other = (header[name]["data_offsets"] for name in names[:2])
    other[:] = [one[0], one[0] + other[1] - other[0]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_first("shape", [2**40, 2**40]), "shape [1099511627776, 1099511627776] takes 10240 bytes"),
        (_first("shape", [-1, -2560]), "has the shape [-1, -2560]"),
        (_first("shape", "big"), "has the shape big"),
        (_first("shape", None), "no readable safetensors header"),
        (_first("dtype", ["F32"]), "no readable safetensors header"),
        (_first("data_offsets", [10_240, 0]), "takes -10240 bytes"),
        (_first("data_offsets", [0]), "no readable safetensors header"),
        (_overlap, "where the one before it ends at"),
        (lambda header: b'{"a": 1, "a": 2}', "a name stands twice in it"),
        (lambda header: b"[" * 99_999, "recursion"),
    ],
)
def test_headers_that_contradict_themselves_are_refused(folder, edit, message):
    _header(folder, edit)
    found = refused(stored_tensors, folder)
    assert str(folder / "model.safetensors") in found and message in found


def test_a_header_longer_than_the_library_takes_is_not_read(folder, monkeypatch):
    monkeypatch.setattr("verifier.hf.safetensors_files._MOST_HEADER", 50)
    assert "at most 50 are allowed" in refused(stored_tensors, folder)


def test_what_only_the_library_refuses_is_named_too(folder):
    _header(folder, lambda header: header.update({"__metadata__": {"format": 5}}))
    stored = stored_tensors(folder)
    with reader() as read:
        assert "cannot be read by the safetensors library" in refused(
            read, "model.norm.weight", stored["model.norm.weight"]
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named_by_tensor(folder, value):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    save_file(tensors, folder / "model.safetensors")
    stored = stored_tensors(folder)
    with reader() as read:
        read("model.norm.weight", stored["model.norm.weight"])
        message = refused(
            read, "model.layers.1.mlp.up_proj.weight", stored["model.layers.1.mlp.up_proj.weight"]
        )
    assert (
        "model.layers.1.mlp.up_proj.weight" in message
        and "1 numbers of 1,280 that are not finite" in message
    )


def test_finite_numbers_whose_sum_overflows_are_taken(tmp_path):
    save_file(
        {"a": np.full(8, 3e38, np.float32), "b": np.array([1e300])}, tmp_path / "model.safetensors"
    )
    stored = stored_tensors(tmp_path)
    with reader() as read:
        assert np.isfinite(read("a", stored["a"])).all()
        assert "beyond float32" in refused(read, "b", stored["b"])


@pytest.mark.parametrize(
    "shard",
    [
        "../x.safetensors",
        "/x.safetensors",
        "sub/../../x.safetensors",
        "~/x.safetensors",
        "",
        ".",
        "a\0.safetensors",
        5,
        None,
        [1],
    ],
)
def test_an_index_leads_nowhere_but_to_its_own_folder(folder, shard):
    shutil.copy(folder / "model.safetensors", folder.parent / "x.safetensors")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "one.safetensors"}})
    )
    assert len(stored_tensors(folder)) == 20
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "one.safetensors", "b": shard}})
    )
    assert f"looks for 'b' in {shard!r}, which is no name" in refused(stored_tensors, folder)


def test_a_tensor_that_stands_in_two_shards_is_refused(folder):
    shutil.copy(folder / "model.safetensors", folder / "two.safetensors")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "stands in" in refused(stored_tensors, folder)


@pytest.mark.parametrize(
    ("name", "said", "way_out"),
    [
        ("model-Q4.gguf", "GGUF", "gguf_file="),
        ("pytorch_model-00001-of-00002.bin", "torch's own format", "save_pretrained"),
        ("consolidated.00.pth", "model's own authors", "where they are published"),
        ("tf_model.h5", "TensorFlow", "save_pretrained"),
        (
            "adapter_model.safetensors",
            "an adapter .*to the model 'org/base', not a whole model",
            "merge_and_unload",
        ),
    ],
)
@pytest.mark.parametrize("config", [True, False])
def test_a_folder_in_another_form_is_named_with_the_way_out(folder, name, said, way_out, config):
    (folder / "model.safetensors").rename(folder / name)
    if name.startswith("adapter"):
        (folder / "adapter_config.json").write_text(
            json.dumps({"base_model_name_or_path": "org/base"})
        )
    if not config:
        (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=f"(?s){said}.*{way_out}"):
        load_weights(folder, tokenizer_size=79)


def test_an_adapter_beside_a_whole_model_is_not_passed_over(folder):
    (folder / "adapter_config.json").write_text("{}")
    assert len(stored_tensors(folder)) == 20  # a trace of one that was merged
    (folder / "adapter_model.safetensors").touch()
    assert "Merge it" in refused(stored_tensors, folder)


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "model.safetensors.index.json", "adapter_config.json"],
)
def test_pointers_of_git_lfs_are_named_wherever_they_stand(folder, name):
    if name == "model.safetensors.index.json":
        (folder / "model.safetensors").unlink()
    if name == "adapter_config.json":
        (folder / "adapter_model.safetensors").touch()
    (folder / name).write_bytes(POINTER)
    with pytest.raises(UserError, match=f"{name} is a Git LFS pointer.*git lfs pull"):
        load_weights(folder, tokenizer_size=79)


@pytest.mark.parametrize(
    "text", ["[" * 99_999, '{"a":' * 99_999, '{"a": ' + "9" * 5_000 + "}", "null", ""]
)
def test_json_that_cannot_be_read_is_named(folder, text):
    (folder / "config.json").write_text(text)
    assert str(folder / "config.json") in refused(lambda: load_weights(folder, tokenizer_size=79))


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "x" * 5_000, "../" * 2_000, "a\0b"])
def test_paths_that_cannot_be_are_named(path):
    with pytest.raises(UserError, match="no path that can be looked up|there is no folder"):
        resolve_weights(path)


def test_lists_of_sums_stay_in_their_folder(folder):
    for name in ("../x", "/etc/hostname", "a/../../x"):
        with pytest.raises(errors.Damaged, match="lies outside of it; mend it"):
            checksums.check(folder, {name: "0"}, "mend it")
    (folder / checksums.SUMS).write_bytes(b"\xff\xfe  model.safetensors\n")
    with pytest.raises(errors.Damaged, match="has changed"):
        stored_tensors(folder)


def test_weights_under_other_names_and_places_are_named(folder):
    weights = folder / "model.safetensors"
    shutil.copytree(folder, folder / "checkpoint-9")
    weights.rename(folder / "model-00001-of-00002.safetensors")
    assert "but shards (model-00001-of-00002.safetensors); download the index" in refused(
        stored_tensors, folder
    )
    (folder / "model-00001-of-00002.safetensors").rename(folder / "best.safetensors")
    assert "but best.safetensors; if that is the whole model, call it model.safetensors" in refused(
        stored_tensors, folder
    )
    weights.symlink_to(folder / "blob")
    assert f"{weights} is a link to {folder / 'blob'}, where nothing is" in refused(
        stored_tensors, folder
    )
    weights.unlink()
    (folder / "config.json").unlink()
    assert f"do you mean {folder / 'checkpoint-9'}, which holds one" in refused(
        lambda: load_weights(folder, tokenizer_size=79)
    )
