"""Sentence encoders against vectors of transformers (testdata/make_sentence_goldens.py): how texts
are cut, padded and pooled, older names of tensors, and every error of a bad folder.
"""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from verifier import errors
from verifier.hf import sentence_encoder
from verifier.hf.names import full_name, is_ignored
from verifier.hf.sentence_config import read_sentence_config
from verifier.hf.sentence_encoder import SentenceEncoder
from verifier.hf.weights import load_weights
from verifier.model.encoder import Encoder

STORED = pathlib.Path(__file__).parents[1] / "testdata" / "sentence_bert"
GOLDEN = np.load(STORED / "golden.npz")
TEXTS = GOLDEN["texts"].tolist()
POOLING = "1_Pooling/config.json"
EXTRAS = ("modules.json", POOLING, "sentence_bert_config.json")  # of sentence-transformers
CLOSE = 1e-5


@pytest.fixture(scope="module")
def encoder():
    return SentenceEncoder.load(STORED)


@pytest.fixture
def folder(tmp_path):
    return pathlib.Path(shutil.copytree(STORED, tmp_path / "model"))


def edit(path, **fields):
    """Other fields in a JSON object; None: taken out."""
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: each for name, each in content.items() if each is not None}))


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors")


def refused(folder, kind=errors.WeightsError):
    with pytest.raises(kind) as error:
        SentenceEncoder.load(folder)
    return str(error.value)


def away(found, pooling="mean"):
    """How far vectors are from the golden ones."""
    return np.abs(found - GOLDEN[pooling]).max()


def test_ids_and_vectors_agree_with_transformers(encoder):
    ids = encoder._tokenizer.encode(TEXTS)
    assert ids == [
        row[:length].tolist()
        for row, length in zip(GOLDEN["tokens"], GOLDEN["lengths"], strict=True)
    ]
    # some are cut, and the empty text is what stands around it
    assert max(map(len, ids)) == 24 and len(ids[TEXTS.index("")]) == 2
    found = encoder.encode(TEXTS)
    assert found.dtype == np.float32 and away(found) < CLOSE
    assert encoder.encode([]).shape == (0, encoder.width)


@pytest.mark.parametrize(
    "said",
    [
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        {"pooling_mode": "cls"},
        {"pooling_mode": ["cls"]},
    ],
)
def test_pooling_is_what_the_folder_says(folder, said):
    edit(folder / POOLING, **said)
    found = SentenceEncoder.load(folder).encode(TEXTS)
    assert away(found, "cls") < CLOSE < away(found)


def test_a_text_has_one_vector_beside_whatever_it_stands(encoder, monkeypatch):
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert np.abs(alone - together).max() < CLOSE
    backwards = encoder.encode(TEXTS[::-1])[::-1]
    assert np.abs(backwards - together).max() < CLOSE
    monkeypatch.setattr(sentence_encoder, "_ROWS", (1, 4, 16))
    many = encoder.encode(TEXTS * 3)  # more than a batch holds
    assert np.abs(many - np.tile(together, (3, 1))).max() < CLOSE
    assert np.abs(np.linalg.norm(many, axis=1) - 1).max() < CLOSE


def test_few_sizes_are_compiled(encoder, monkeypatch):
    sizes = set()

    def read(graph, state, tokens_BT, length_B):
        sizes.add(tokens_BT.shape)
        return np.zeros((len(length_B), encoder.width), np.float32)

    monkeypatch.setattr(sentence_encoder, "_encode", read)
    monkeypatch.setattr(encoder, "_context", 500)
    monkeypatch.setattr(encoder._tokenizer, "encode", lambda texts: [[1] * int(n) for n in texts])
    for texts in range(1, 140, 3):
        encoder.encode([str(2 + 7 * (texts + text) % 499) for text in range(texts)])
    assert {rows for rows, _ in sizes} == {1, 4, 16, 64}
    assert {tokens for _, tokens in sizes} == {32, 64, 128, 256, 500}


def test_padding_is_never_seen_and_the_last_token_always_is(encoder):
    def read(length, behind):
        tokens_1T = np.full((1, 30), behind, np.int32)
        tokens_1T[0, :6] = [2, 109, 110, 66, 111, 3]
        parts = encoder._graph, encoder._state
        return np.asarray(sentence_encoder._encode(*parts, tokens_1T, np.array([length], np.int32)))

    assert np.array_equal(read(6, behind=7), read(6, behind=50))
    assert np.abs(read(7, behind=7) - read(7, behind=50)).max() > 100 * CLOSE
    # a row that only fills up a batch
    assert np.isfinite(read(0, behind=7)).all()


def test_an_encoder_refuses_what_it_cannot_do():
    config = read_sentence_config(STORED)
    with pytest.raises(ValueError, match="pooling 'max' is not known; it must be one of mean, cls"):
        Encoder(config.arch, 2, "max", rngs=nnx.Rngs(0))
    model = nnx.eval_shape(lambda: Encoder(config.arch, 2, "mean", rngs=nnx.Rngs(0)))
    with pytest.raises(
        ValueError, match="rows of 31 tokens do not fit the encoder's context of 30"
    ):
        jax.eval_shape(model.hidden, jnp.zeros((1, 31), jnp.int32), jnp.ones(1, jnp.int32))


def older(tensors):
    """As checkpoints of pre-training have them."""
    named = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): each
        for name, each in tensors.items()
    }
    return named | {
        "bert.embeddings.position_ids": np.arange(30)[None],
        "cls.predictions.bias": np.ones(120, np.float32),
    }


def without_heads(tensors):
    return {name: each for name, each in tensors.items() if not name.startswith("pooler")}


@pytest.mark.parametrize("change", [older, without_heads])
def test_tensors_may_have_a_prefix_older_names_or_heads_beside_them(folder, change, encoder):
    edit_tensors(folder, change)
    assert np.array_equal(SentenceEncoder.load(folder).encode(TEXTS), encoder.encode(TEXTS))


def test_names_of_every_kind_of_layer():
    assert full_name("bert", "encoder.layer.1.output.dense.bias").startswith("bert.encoder.")
    assert is_ignored("bert", "bert.pooler.dense.weight")
    assert not is_ignored("bert", "encoder.layer.0.attention.self.key.bias")


def test_a_folder_of_bert_alone_means_over_all_its_positions(folder):
    for name in EXTRAS:
        (folder / name).unlink()
    config = read_sentence_config(folder)
    assert (config.pooling, config.most_tokens) == ("mean", 30)
    found = SentenceEncoder.load(folder).encode(TEXTS)
    short = GOLDEN["lengths"] < 24
    assert np.abs(found - GOLDEN["mean"])[short].max() < CLOSE
    assert np.abs(found - GOLDEN["mean"])[~short].max() > 100 * CLOSE


@pytest.mark.parametrize(
    ("own", "of_tokenizer", "expected"),
    [(24, 10, 24), (100, 10, 30), (None, 10, 10), (None, 10**30, 30), (None, 1e30, 30)],
)
def test_texts_are_cut_where_sentence_transformers_cuts_them(folder, own, of_tokenizer, expected):
    edit(folder / "sentence_bert_config.json", max_seq_length=own)
    edit(folder / "tokenizer_config.json", model_max_length=of_tokenizer)
    assert read_sentence_config(folder).most_tokens == expected


def test_small_letters_and_a_folder_of_the_transformer(folder, encoder):
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules[:2]))
    inside = folder / "0_Transformer"
    inside.mkdir()
    for path in [*folder.glob("*.safetensors"), *folder.glob("*config.json")]:
        path.rename(inside / path.name)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (inside / "tokenizer.json").write_text(json.dumps(tokenizer))
    loud, quiet = ["TOM HAS"], ["tom has"]
    assert np.abs(SentenceEncoder.load(folder).encode(loud) - encoder.encode(quiet)).max() > CLOSE
    edit(inside / "sentence_bert_config.json", do_lower_case=True)
    assert np.abs(SentenceEncoder.load(folder).encode(loud) - encoder.encode(quiet)).max() < CLOSE


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("config.json", {"model_type": "mpnet"}, "model_type 'mpnet' is not supported"),
        ("config.json", {"model_type": None}, "model_type None is not supported"),
        ("config.json", {"hidden_act": "mish"}, "activation 'mish' is not supported; supported"),
        (
            "config.json",
            {"position_embedding_type": "relative_key"},
            "position_embedding_type='relative_key' is not supported, only 'absolute' is",
        ),
        ("config.json", {"is_decoder": True}, "is_decoder=True is not supported, only False is"),
        ("config.json", {"hidden_size": None}, "lacks 'hidden_size'"),
        ("config.json", {"hidden_size": 30}, "30 is not a multiple of num_attention_heads 4"),
        ("config.json", {"type_vocab_size": 0}, "type_vocab_size=0 is not a whole number from 1"),
        ("config.json", {"layer_norm_eps": "a"}, "layer_norm_eps='a' is not a finite number"),
        ("config.json", {"vocab_size": 100}, "120 ids, 100 rows"),
        (POOLING, {"pooling_mode": "max"}, "pooling by max is not supported, only by mean or"),
        (
            POOLING,
            {"pooling_mode_max_tokens": True},
            "pooling by pooling_mode_mean_tokens and pooling_mode_max_tokens is not supported",
        ),
        ("sentence_bert_config.json", {"max_seq_length": 2}, "max_seq_length=2 is not a number"),
        ("sentence_bert_config.json", {"max_seq_length": "9"}, "max_seq_length='9' is not a"),
    ],
)
def test_settings_are_judged_before_a_tensor_is_looked_for(folder, file, fields, message):
    (folder / "model.safetensors").unlink()
    edit(folder / file, **fields)
    assert message in refused(folder)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (["Transformer", "Pooling", "Dense"], "the modules Transformer, Pooling, Dense, expected"),
        (["WordEmbeddings", "Pooling"], "lists the modules WordEmbeddings, Pooling, expected"),
        ([], "lists the modules none, expected Transformer, Pooling, Normalize"),
    ],
)
def test_modules_that_change_the_vector_are_named(folder, modules, message):
    listed = [{"type": f"sentence_transformers.models.{kind}", "path": kind} for kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed))
    assert message in refused(folder)


def test_modules_lead_nowhere_but_inside(folder):
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = "../elsewhere"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "looks for a module in '../elsewhere'" in refused(folder)
    modules[1]["path"] = "2_Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "2_Pooling/config.json, which is not there; download it too" in refused(folder)


def test_missing_files_are_named(folder, tmp_path):
    assert f"there is no folder {tmp_path / 'none'}" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "holds no config.json" in refused(tmp_path / "empty")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "safetensors are needed" in refused(folder)
    (folder / "tokenizer.json").rename(folder / "vocab.txt")
    message = refused(folder, errors.TokenizerError)
    assert "there is no tokenizer.json" in message and "vocab.txt is not read" in message


def test_a_tokenizer_that_puts_nothing_around_a_text_is_refused(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    assert "puts nothing around a text" in refused(folder, errors.TokenizerError)
    (folder / "tokenizer.json").write_text("{}")
    assert "cannot be read by tokenizers" in refused(folder, errors.TokenizerError)


def test_all_wrong_tensors_are_named_at_once(folder):
    def wrong(tensors):
        del tensors["encoder.layer.1.output.dense.bias"]
        tensors["embeddings.LayerNorm.weight"] = np.ones(31, np.float32)
        return tensors | {"encoder.layer.2.output.dense.bias": np.ones(32, np.float32)}

    edit_tensors(folder, wrong)
    message = refused(folder)
    assert "1 missing: bert.encoder.layer.1.output.dense.bias" in message
    assert "1 unexpected: bert.encoder.layer.2.output.dense.bias (32,)" in message
    assert "bert.embeddings.LayerNorm.weight: expected (32,), found (31,)" in message


def test_a_bert_is_no_decoder():
    with pytest.raises(errors.WeightsError, match="model_type 'bert' is not supported"):
        load_weights(STORED, tokenizer_size=120)
