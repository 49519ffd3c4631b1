"""Import and export of models with an encoder, against golden log-probabilities of transformers
(testdata/make_goldens.py).
"""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from verifier.errors import WeightsError
from verifier.hf.config import arch_from_hf
from verifier.hf.config_export import hf_from_arch
from verifier.hf.weights import load_weights, save_weights
from verifier.model.transformer import Transformer

TESTDATA = pathlib.Path(__file__).parents[1] / "testdata"
ROWS = 80  # of every golden's embedding; a tokenizer of ROWS - 1 leaves one for the reserved id
GOLDENS = sorted(TESTDATA.glob("seq2seq_*"))
EACH = pytest.mark.parametrize("golden", GOLDENS, ids=lambda folder: folder.name)
T5 = json.loads((TESTDATA / "seq2seq_t5" / "config.json").read_text())


@nnx.jit
def packed(model, tokens, positions, ends, prompts):
    return model.hidden(tokens, positions, ends, prompts=prompts)


def log_probabilities(model: Transformer, stored) -> np.ndarray:
    """Of texts that lie in one row with their prompts."""
    tokens, prompts, lengths = (stored[name] for name in ("tokens", "prompts", "lengths"))
    texts, length = tokens.shape
    ends = np.repeat(np.arange(1, texts + 1) * length, length).astype(np.int32)
    lie = [prompt[:count] for prompt, count in zip(prompts, lengths, strict=True)]
    beside = np.concatenate(lie), np.repeat(np.arange(1, texts + 1) * length, lengths)
    spare = (0, 3)  # padding
    row = np.pad(tokens.reshape(-1), spare)[None]
    positions = np.pad(np.tile(np.arange(length), texts), spare)[None]
    of_row = np.pad(ends, spare)[None]
    given = tuple(np.pad(part, spare)[None].astype(np.int32) for part in beside)
    with jax.default_matmul_precision("highest"):
        hidden = packed(model, row, positions, of_row, given)
        logits = model.logits(hidden[0, : texts * length])
    return np.asarray(jax.nn.log_softmax(logits[:, :ROWS])).reshape(texts, length, -1)


@pytest.fixture
def change(tmp_path):
    """change(edit, **config): a copy of the T5 1.0 whose tensors went through edit(dict)."""

    def copy(edit=lambda tensors: None, **config):
        folder = shutil.copytree(TESTDATA / "seq2seq_t5", tmp_path / "copy", dirs_exist_ok=True)
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(T5 | config))
        return folder

    return copy


@EACH
def test_log_probabilities_agree_with_transformers(golden):
    stored = np.load(golden / "golden.npz")
    found = log_probabilities(load_weights(golden, tokenizer_size=ROWS - 1), stored)
    assert np.abs(found - stored["log_probabilities"]).max() < 1e-4


@EACH
def test_import_export_import_is_identical(golden, tmp_path):
    model = load_weights(golden, tokenizer_size=ROWS - 1)
    save_weights(model, tmp_path, end_id=1)
    again = load_weights(tmp_path, tokenizer_size=ROWS - 1)
    assert again.arch == model.arch
    before, after = (load_file(each / "model.safetensors") for each in (golden, tmp_path))
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name].astype(np.float32), after[name]) for name in before)
    written = json.loads((tmp_path / "config.json").read_text())
    known = json.loads((golden / "config.json").read_text())
    assert {key: written[key] for key in ("pad_token_id", "eos_token_id", "model_type")} == {
        key: known[key] for key in ("pad_token_id", "eos_token_id", "model_type")
    }


def test_transformers_4_and_5_say_alike_that_the_output_is_neither_tied_nor_scaled():
    older = {key: value for key, value in T5.items() if key != "scale_decoder_outputs"}
    arch = arch_from_hf(older | {"tie_word_embeddings": False})
    assert arch == arch_from_hf(T5 | {"scale_decoder_outputs": False})
    assert not arch.tied and not arch.scaled_output
    assert arch_from_hf(older).tied and arch_from_hf(older).scaled_output


@pytest.mark.parametrize("activation", ["relu", "gated-gelu", "gated-silu"])
def test_the_activation_comes_back_from_an_export(activation):
    arch = arch_from_hf(T5 | {"feed_forward_proj": activation})
    assert hf_from_arch(arch)["feed_forward_proj"] == activation
    assert arch_from_hf(hf_from_arch(arch)) == arch


def test_the_embedding_may_be_stored_again_but_not_differ(change):
    def repeat(tensors):
        for name in ("encoder.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = tensors["shared.weight"].copy()
        unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
        tensors[unread] = np.zeros((8, 4), np.float32)  # as t5-small has it

    def differ(tensors):
        tensors["decoder.embed_tokens.weight"] = tensors["shared.weight"] + 1

    assert load_weights(change(repeat), tokenizer_size=ROWS - 1).arch.tied
    with pytest.raises(WeightsError, match=r"decoder.embed_tokens.weight differs from shared.weig"):
        load_weights(change(differ), tokenizer_size=ROWS - 1)


def test_weights_of_torch_are_converted_by_the_class_that_they_are_for(change):
    folder = change()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"t.AutoModelForSeq2SeqLM.from_pretrained"):
        load_weights(folder, tokenizer_size=ROWS - 1)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "umt5"}, "'umt5' has relative positions in every layer"),
        ({"model_type": "mt5"}, "'mt5' .* take a T5"),
        ({"model_type": "longt5"}, "'longt5' attends to blocks"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder=False"),
        ({"feed_forward_proj": "swish-gelu"}, "feed_forward_proj='swish-gelu'"),
        ({"d_kv": 0}, "d_kv=0 is not a whole number"),
        ({"relative_attention_num_buckets": 6}, "relative_buckets is 6; it must be a multiple"),
        ({"model_type": "llama"}, "llama with is_encoder_decoder=True is not supported"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(config, words):
    with pytest.raises(WeightsError, match=words):
        arch_from_hf(T5 | config)
