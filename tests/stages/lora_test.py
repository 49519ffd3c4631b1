"""A run with adapters: model folders of a few numbers and the id of their base."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
from flax import nnx

from experiments import tiny_student
from tests.shrunk import config, run
from verifier import api, errors, export
from verifier.config import checks
from verifier.hf import weights as hf_weights
from verifier.model import lora, names
from verifier.run import adapted_base, model_folder
from verifier.stages import verify

WEIGHTS = pathlib.Path(tiny_student.__file__).with_name("tiny_student_weights")
LORA = f"model.weights={WEIGHTS} tokenizer.kind=auto model.lora_rank=2 verify.head=linear".split()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("lora")
    more = ("finetune.learning_rate=1e-2", "finetune.epochs=1", "data.train_problems=24")
    run(config(*LORA, *more), root, ["finetune", "sample", "label", "verify"])
    return root


def leaves(model):
    return names.named_leaves(nnx.state(model, nnx.Param))


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_folder_holds_adapters_and_what_is_loaded_is_merged(made):
    saved = model_folder.load(made / "generator", "finetune", "float32")
    beside = model_folder.load(made / "generator", "finetune", "float32", merged=False)
    base = hf_weights.load_weights(WEIGHTS, tokenizer_size=saved.tokenizer.vocab_size)
    assert size(made / "generator" / "params") < size(WEIGHTS) / 2
    assert lora.is_adapted(nnx.state(beside.model, nnx.Param))
    own, before = leaves(saved.model), leaves(base)
    assert own.keys() == before.keys()
    changed = {name for name in own if not np.array_equal(own[name], before[name])}
    assert changed and all(name.endswith("kernel") for name in changed)
    tokens = np.arange(8)[None]
    logits = [
        model.logits(model.hidden(tokens, tokens, None)) for model in (saved.model, beside.model)
    ]
    np.testing.assert_allclose(*logits, rtol=1e-3, atol=1e-3)


def test_a_verifier_goes_on_at_the_generators_adapters(made):
    saved = model_folder.load(made / "verifier", "verify", "float32", merged=False)
    generator = model_folder.load(made / "generator", "finetune", "float32", merged=False)
    own, theirs = leaves(saved.model), leaves(generator.model)
    for name, array in theirs.items():
        assert np.array_equal(own[f"backbone/{name}"], array) == ("lora_" not in name), name
    assert saved.manifest["lora"] == generator.manifest["lora"]
    assert "head/kernel" in own


def test_a_base_that_has_changed_or_gone_is_said(made, tmp_path):
    manifest = json.loads((made / "generator" / "manifest.json").read_text())
    saved = model_folder.outline(made / "generator", "finetune", "float32")
    size, about = saved.tokenizer.vocab_size, manifest["lora"]
    how = (saved.model.arch, size, "float32", None)
    other = about | {"files": dict.fromkeys(about["files"], "0")}
    with pytest.raises(errors.UserError, match="which has changed since"):
        adapted_base.load(tmp_path, other, *how)
    with pytest.raises(errors.UserError, match="cannot be read"):
        adapted_base.load(tmp_path, about | {"weights": str(tmp_path / "gone")}, *how)


def test_what_could_not_work_is_refused_before_anything_begins():
    with pytest.raises(errors.ConfigError, match="without model.weights"):
        checks.check(config("model.lora_rank=2"))
    with pytest.raises(errors.ConfigError, match="set verify.head=linear"):
        verify.check(config(*LORA, "verify.head=reserved_logit"))
    encoder = dataclasses.replace(tiny_arch(), encoder_layers=1, positions="relative")
    with pytest.raises(errors.ConfigError, match="encoder"):
        lora.attach(type("T5", (), {"arch": encoder})(), config(*LORA).model, jax.random.key(0))


def tiny_arch():
    return hf_weights.arch_from_hf(json.loads((WEIGHTS / "config.json").read_text()))


def test_what_is_exported_is_merged_and_needs_no_base(made, tmp_path):
    export.export(made / "generator", tmp_path / "generator")
    saved = model_folder.load(made / "generator", "finetune", "float32")
    size = saved.tokenizer.vocab_size
    own = leaves(saved.model)
    exported = leaves(hf_weights.load_weights(tmp_path / "generator", tokenizer_size=size))
    assert all(np.array_equal(own[name], exported[name]) for name in own | exported)

    export.export(made / "verifier", tmp_path / "verifier")
    judges = map(api.load, (made / "verifier", tmp_path / "verifier"))
    [own_score], [exported_score] = (each.score("1+1?", ["that is 2"]) for each in judges)
    assert own_score.score == pytest.approx(exported_score.score, abs=1e-6)
