"""Verifiers as ForTokenClassification checkpoints: goldens of transformers
(testdata/make_goldens.py), and both heads out and back.
"""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from tests.hf.families import FAMILIES, build
from verifier.hf import names as hf_names
from verifier.hf.verifier import load_verifier, save_verifier
from verifier.hf.weights import WeightsError
from verifier.model.heads import LinearHead, ReservedLogitHead, Verifier

TESTDATA = pathlib.Path(__file__).parents[1] / "testdata"
ROWS = 40  # of every golden's embedding
EACH = pytest.mark.parametrize(
    "golden", sorted(TESTDATA.glob("values_*")), ids=lambda folder: folder.name
)
IDS = 28  # of a tokenizer; the reserved id is the next one
NO_TOKEN_CLASSIFIER = {
    "gemma3_text",
    "t5",
}  # transformers has none, so that nothing can be compared


@nnx.jit
def read(verifier, tokens_BT):
    order_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1]), tokens_BT.shape)
    return verifier.values(verifier.backbone.hidden(tokens_BT, order_BT, None))


def values(verifier, tokens_BT):
    with jax.default_matmul_precision("highest"):
        return np.asarray(read(verifier, jnp.asarray(tokens_BT)))


def made(arch, head):
    """A verifier whose head matters: gain, bias and kernel far from a neutral start."""
    backbone = build(arch)
    if head == "reserved_logit":
        value_head = ReservedLogitHead(IDS, initial_bias=-0.3)
        value_head.gain[...] = jnp.float32(1.7)
    else:
        value_head = LinearHead(arch.width, initial_bias=0.2)
        value_head.kernel[...] = jnp.asarray(
            np.random.default_rng(1).normal(size=arch.width), jnp.float32
        )
    return Verifier(backbone, value_head)


def test_every_family_has_a_golden():
    families = {
        json.loads((folder / "config.json").read_text())["model_type"]
        for folder in TESTDATA.glob("values_*")
    }
    assert families == set(hf_names.FAMILIES) - NO_TOKEN_CLASSIFIER


@EACH
def test_values_agree_with_transformers(golden):
    stored = np.load(golden / "golden.npz")
    found = values(load_verifier(golden, tokenizer_size=ROWS - 1), stored["tokens"])
    assert np.abs(found - stored["values"]).max() < 1e-4 and stored["values"].std() > 0.1


@EACH
def test_what_transformers_wrote_is_written_again(golden, tmp_path):
    save_verifier(load_verifier(golden, tokenizer_size=ROWS - 1), tmp_path, end_id=3)
    before, after = (
        load_file(golden / "model.safetensors"),
        load_file(tmp_path / "model.safetensors"),
    )
    assert before.keys() == after.keys() and all(
        np.array_equal(before[name], after[name]) for name in before
    )
    there, here = (
        json.loads((folder / "config.json").read_text()) for folder in (golden, tmp_path)
    )
    assert (
        here["architectures"] == there["architectures"]
        and len(here["id2label"]) == len(here["label2id"]) == 1
    )
    assert here["eos_token_id"] == 3


@pytest.mark.parametrize("head", ["reserved_logit", "linear"])
@pytest.mark.parametrize(
    "name", [name for name in FAMILIES if "window" not in name and name != "gemma3"]
)
def test_a_verifier_comes_back_with_the_same_values(name, head, tmp_path):
    verifier = made(FAMILIES[name], head)
    save_verifier(verifier, tmp_path, tokenizer_size=IDS)
    tokens_BT = np.random.default_rng(0).integers(0, IDS, (3, 20), dtype=np.int32)
    expected = values(verifier, tokens_BT)
    np.testing.assert_allclose(
        values(load_verifier(tmp_path, tokenizer_size=IDS), tokens_BT), expected, atol=1e-5
    )
    assert expected.std() > 0.1
    stored = load_file(tmp_path / "model.safetensors")
    assert not [name for name in stored if "lm_head" in name]
    assert [
        len(value) for name, value in stored.items() if "embed_tokens" in name or "wte" in name
    ] == [IDS]


@pytest.mark.parametrize(("logits", "said"), [(False, "none"), (True, "sigmoid")])
def test_the_config_tells_what_makes_values_of_the_output(logits, said, tmp_path):
    save_verifier(made(FAMILIES["llama"], "linear"), tmp_path, logits=logits)
    assert json.loads((tmp_path / "config.json").read_text())["value_activation"] == said


def test_an_architecture_that_no_family_has_is_refused(tmp_path):
    with pytest.raises(
        WeightsError, match="no supported Hugging Face family .* cannot be exported"
    ):
        save_verifier(made(FAMILIES["gpt2 with a window"], "linear"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_family_without_such_a_class_is_refused_with_the_way_out(tmp_path):
    message = (
        r"transformers has no ForTokenClassification for "
        r"gemma3_text.*verifier\.api\.load.*verify\.init=base"
    )
    with pytest.raises(WeightsError, match=message):
        save_verifier(made(FAMILIES["gemma3"], "linear"), tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(WeightsError, match=message):
        load_verifier(TESTDATA / "hf_gemma3", tokenizer_size=ROWS)


def test_sharded_equals_unsharded(tmp_path):
    verifier = made(dataclasses.replace(FAMILIES["llama"], vocab_size=64), "reserved_logit")
    save_verifier(verifier, tmp_path, shard_bytes=5_000)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    tokens_BT = np.random.default_rng(0).integers(0, 29, (1, 12), dtype=np.int32)
    np.testing.assert_allclose(
        values(load_verifier(tmp_path, tokenizer_size=60), tokens_BT),
        values(verifier, tokens_BT),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            2,
            r"score.weight: expected \(1, 16\), found \(2, 16\); give a ForTokenClassification "
            r"checkpoint with one label",
        ),
        (0, "found none"),
    ],
)
def test_other_heads_are_refused_by_name(labels, message, tmp_path):
    folder = pathlib.Path(shutil.copytree(TESTDATA / "values_llama", tmp_path / "made"))
    tensors = {
        name: value
        for name, value in load_file(folder / "model.safetensors").items()
        if not name.startswith("score")
    }
    if labels:
        tensors |= {
            "score.weight": np.zeros((labels, 16), np.float32),
            "score.bias": np.zeros(labels, np.float32),
        }
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_verifier(folder, tokenizer_size=ROWS - 1)


def test_a_family_that_is_not_known_is_named(tmp_path):
    folder = pathlib.Path(shutil.copytree(TESTDATA / "values_llama", tmp_path / "made"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    with pytest.raises(WeightsError, match="model_type 'mamba' is not supported"):
        load_verifier(folder, tokenizer_size=ROWS - 1)
