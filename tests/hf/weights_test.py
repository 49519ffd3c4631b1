"""Import and export against golden log-probabilities of transformers (testdata/make_goldens.py),
and every error of a bad checkpoint.
"""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from tests.hf.families import hidden
from verifier.hf.weights import WeightsError, load_weights, save_weights

TESTDATA = pathlib.Path(__file__).parents[1] / "testdata"
ROWS = 80  # of every golden's embedding; a tokenizer of ROWS - 1 leaves one for the reserved id
EACH = pytest.mark.parametrize(
    "golden", sorted(TESTDATA.glob("hf_*")), ids=lambda folder: folder.name
)


@nnx.jit
def forward(model, tokens):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    hidden = model.hidden(tokens, positions, None)
    return jax.nn.log_softmax(model.logits(hidden)[..., :ROWS], axis=-1)


def log_probabilities(model, tokens):
    with jax.default_matmul_precision("highest"):
        return np.asarray(forward(model, jnp.asarray(tokens)))


def parameters(model):
    return {
        path: np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))
    }


def same_parameters(one, other):
    left, right = parameters(one), parameters(other)
    return left.keys() == right.keys() and all(
        np.array_equal(left[path], right[path]) for path in left
    )


@pytest.fixture
def change(tmp_path):
    """change(name, edit) -> a copy of a golden folder whose tensors went through edit(dict)."""

    def copy(name, edit=lambda tensors: None, **config):
        folder = shutil.copytree(TESTDATA / name, tmp_path / name, dirs_exist_ok=True)
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(
            {key: np.ascontiguousarray(value) for key, value in tensors.items()},
            folder / "model.safetensors",
        )
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        return folder

    return copy


def refused(folder, tokenizer_size=ROWS - 1):
    with pytest.raises(WeightsError) as error:
        load_weights(folder, tokenizer_size=tokenizer_size)
    return str(error.value)


def test_every_family_has_a_golden():
    families = {
        json.loads((folder / "config.json").read_text())["model_type"]
        for folder in TESTDATA.glob("hf_*")
    }
    assert families == {"llama", "mistral", "qwen2", "qwen3", "gemma3_text", "gpt2"}


@EACH
def test_log_probabilities_agree_with_transformers(golden):
    stored = np.load(golden / "golden.npz")
    found = log_probabilities(load_weights(golden, tokenizer_size=ROWS - 1), stored["tokens"])
    assert np.abs(found - stored["log_probabilities"]).max() < 1e-4


@EACH
def test_import_export_import_is_identical(golden, tmp_path):
    model = load_weights(golden, tokenizer_size=ROWS - 1)
    save_weights(model, tmp_path, end_id=3)
    again = load_weights(tmp_path, tokenizer_size=ROWS - 1)
    assert again.arch == model.arch and same_parameters(again, model)
    assert json.loads((tmp_path / "config.json").read_text())["eos_token_id"] == 3
    before, after = (
        load_file(golden / "model.safetensors"),
        load_file(tmp_path / "model.safetensors"),
    )
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name].astype(np.float32), after[name]) for name in before)


def test_sharded_equals_unsharded(tmp_path):
    model = load_weights(TESTDATA / "hf_llama3", tokenizer_size=ROWS - 1)
    save_weights(model, tmp_path, shard_bytes=20_000)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    assert same_parameters(load_weights(tmp_path, tokenizer_size=ROWS - 1), model)
    (tmp_path / "model-00002-of-00006.safetensors").unlink()
    assert "model-00002-of-00006.safetensors" in refused(tmp_path)


@pytest.mark.parametrize("stored", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(change, stored):
    folder = change(
        "hf_llama",
        lambda tensors: tensors.update(
            {name: value.astype(stored) for name, value in tensors.items()}
        ),
    )
    model = load_weights(folder, tokenizer_size=ROWS - 1, dtype=jnp.bfloat16)
    whole = load_file(TESTDATA / "hf_llama" / "model.safetensors")["model.embed_tokens.weight"]
    assert model.embed[...].dtype == jnp.float32
    assert np.array_equal(model.embed[...], whole.astype(stored).astype(np.float32))
    assert jax.eval_shape(model.hidden, *(jnp.ones((1, 2), jnp.int32),) * 3).dtype == jnp.bfloat16


def test_gpt2_without_prefix_and_with_masks(change):
    def older(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)
        tensors["h.0.attn.bias"] = np.ones((1, 1, 32, 32), np.uint8)
        tensors["h.1.attn.masked_bias"] = np.float32(-1e4)

    model = load_weights(TESTDATA / "hf_gpt2", tokenizer_size=ROWS - 1)
    assert same_parameters(load_weights(change("hf_gpt2", older), tokenizer_size=ROWS - 1), model)


def test_the_reserved_row_grows_the_embedding_and_the_untied_output():
    for name in ("hf_qwen2", "hf_qwen3", "hf_mistral", "hf_gpt2"):
        model = load_weights(TESTDATA / name, tokenizer_size=ROWS)
        as_stored = load_weights(TESTDATA / name, tokenizer_size=ROWS - 1)
        assert (
            model.arch.vocab_size == 128
            and model.output_rows().shape[0] == model.embed.shape[0] == 128
        )
        assert np.array_equal(model.embed[:ROWS], as_stored.embed[...])
        assert np.array_equal(model.output_rows()[:ROWS], as_stored.output_rows())
        np.testing.assert_allclose(
            model.output_rows()[ROWS:], np.tile(as_stored.output_rows().mean(0), (48, 1)), atol=1e-6
        )


def test_a_grown_model_is_exported_as_grown(tmp_path):
    model = load_weights(TESTDATA / "hf_mistral", tokenizer_size=ROWS)
    save_weights(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["vocab_size"] == 128
    assert same_parameters(load_weights(tmp_path, tokenizer_size=ROWS), model)


@pytest.mark.parametrize("name", ["hf_llama", "hf_mistral"])  # tied and not
def test_rows_beyond_the_tokenizer_are_left_out_where_it_is_known(name, tmp_path):
    stored, size = np.load(TESTDATA / name / "golden.npz"), ROWS - 7
    model = load_weights(TESTDATA / name, tokenizer_size=ROWS - 1)
    save_weights(model, tmp_path, tokenizer_size=size)
    config, tensors = (
        json.loads((tmp_path / "config.json").read_text()),
        load_file(tmp_path / "model.safetensors"),
    )
    rows = [
        len(value) for key, value in tensors.items() if "embed_tokens" in key or "lm_head" in key
    ]
    assert config["vocab_size"] == size and rows == [size] * (1 if model.arch.tied else 2)
    again, tokens_BT = load_weights(tmp_path, tokenizer_size=size), stored["tokens"] % size
    found, expected = (each.logits(hidden(each, tokens_BT))[..., :size] for each in (again, model))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_gemma3_needs_no_row_for_the_image_token_at_the_end_of_its_tokenizer():
    model = load_weights(TESTDATA / "hf_gemma3", tokenizer_size=ROWS + 1)
    assert model.arch.vocab_size == 128  # the image token and the reserved id have one
    assert np.array_equal(
        model.embed[:ROWS], load_weights(TESTDATA / "hf_gemma3", tokenizer_size=ROWS - 1).embed[...]
    )
    assert "tokenizer larger than the embedding" in refused(
        TESTDATA / "hf_gemma3", tokenizer_size=ROWS + 2
    )


def test_norms_of_gemma3_multiply_by_one_more_than_what_is_stored(tmp_path):
    model = load_weights(TESTDATA / "hf_gemma3", tokenizer_size=ROWS - 1)
    stored = load_file(TESTDATA / "hf_gemma3" / "model.safetensors")
    for name, norm in (
        ("layers.1.post_feedforward_layernorm", model.blocks[1].mlp_post_norm),
        ("norm", model.final_norm),
    ):
        np.testing.assert_array_equal(
            norm.scale[...], 1 + stored[f"model.{name}.weight"].astype(np.float32)
        )


def test_a_row_to_spare_is_not_grown_and_a_larger_tokenizer_is_refused():
    assert load_weights(TESTDATA / "hf_llama", tokenizer_size=ROWS - 1).arch.vocab_size == ROWS
    message = refused(TESTDATA / "hf_llama", tokenizer_size=ROWS + 1)
    assert "tokenizer larger than the embedding: 81 ids, 80 rows" in message


def test_all_wrong_tensors_are_reported_together(change):
    def spoil(tensors):
        del tensors["model.layers.0.self_attn.q_proj.weight"], tensors["model.norm.weight"]
        tensors["model.layers.1.self_attn.q_proj.bias"] = np.zeros(32, np.float32)
        tensors["model.layers.1.mlp.up_proj.weight"] = tensors[
            "model.layers.1.mlp.up_proj.weight"
        ].T
        tensors["model.layers.0.mlp.up_proj.weight"] = tensors[
            "model.layers.0.mlp.up_proj.weight"
        ].astype(np.int8)

    message = refused(change("hf_llama", spoil))
    assert "2 missing: model.layers.0.self_attn.q_proj.weight; model.norm.weight" in message
    assert "1 unexpected: model.layers.1.self_attn.q_proj.bias (32,)" in message
    assert (
        "1 misshapen: model.layers.1.mlp.up_proj.weight: expected (40, 32), found (32, 40)"
        in message
    )
    assert "model.layers.0.mlp.up_proj.weight: I8" in message


def test_long_lists_are_cut_with_their_count(change):
    message = refused(change("hf_llama", num_hidden_layers=5))
    assert "27 missing: " in message and message.endswith("and 7 more")


def test_a_config_of_other_weights_is_refused(change):
    message = refused(change("hf_llama3", vocab_size=90), tokenizer_size=85)
    assert (
        "model.embed_tokens.weight: expected (90, 32), found (80, 32)" in message
        and "lm_head.weight: expected (90, 32)" in message
    )


def test_a_tied_output_may_be_stored_again_but_not_differ(change):
    def repeat(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()

    def differ(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1

    model = load_weights(change("hf_llama", repeat), tokenizer_size=ROWS - 1)
    assert same_parameters(model, load_weights(TESTDATA / "hf_llama", tokenizer_size=ROWS - 1))
    message = refused(change("hf_llama", differ))
    assert (
        "lm_head.weight differs from model.embed_tokens.weight" in message
        and "tie_word_embeddings" in message
    )


def test_an_untied_output_must_be_there(change):
    assert "1 missing: lm_head.weight" in refused(
        change("hf_llama3", lambda tensors: tensors.pop("lm_head.weight"))
    )


def test_missing_folder_config_and_family_are_named(tmp_path, change):
    assert f"there is no folder {tmp_path / 'none'}" in refused(tmp_path / "none")
    assert f"{tmp_path} holds no config.json" in refused(tmp_path)
    folder = change("hf_llama", model_type="mamba")
    assert f"{folder / 'config.json'}: model_type 'mamba' is not supported" in refused(folder)


def test_a_truncated_checkpoint_is_named(change):
    path = change("hf_llama") / "model.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])
    message = refused(path.parent)
    assert f"{path} is truncated or damaged: {size - 100} bytes, {size} expected" in message
