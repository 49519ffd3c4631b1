"""A T5 folder as the base model of a run: what is trained, and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
import tokenizers
from flax import nnx

from tests.shrunk import config, context, rows, run
from tests.text import t5_tokenizer
from verifier import config as config_lib
from verifier import errors, export
from verifier.hf import weights as hf_weights
from verifier.model.arch import Arch, scratch_arch
from verifier.model.transformer import Transformer
from verifier.plan import subject
from verifier.run import model_folder
from verifier.stages import search
from verifier.text.sentencepiece_tokenizer import train_sentencepiece
from verifier.text.tokenizer import load_tokenizer

LINES = ["She has 3 boxes of 4 pens.", "3 * 4 = <<3*4=12>>12", "#### 12", "How many in all?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A T5 of random weights, as the hub has them."""
    there = t5_tokenizer.as_json(tmp_path_factory.mktemp("t5"), LINES * 9)
    tokenizer = load_tokenizer(there)
    arch = Arch(
        vocab_size=tokenizer.vocab_size + 10,
        layers=1,
        width=16,
        heads=2,
        kv_heads=2,
        head_width=6,
        mlp_width=24,
        context=512,
        norm_eps=1e-6,
        positions="relative",
        activation="gelu_tanh",
        gated=True,
        tied=False,
        query_pre_attn_scalar=1.0,
        encoder_layers=1,
    )
    hf_weights.save_weights(Transformer(arch, rngs=nnx.Rngs(0)), there, end_id=tokenizer.end_id)
    return there


def settings(folder, *more):
    return config(
        f"model.weights={folder}",
        "tokenizer.kind=auto",
        "finetune.learning_rate=3e-3",
        "finetune.epochs=4",
        *more,
    )


@pytest.fixture(scope="module")
def tuned(folder, tmp_path_factory):
    own, root = settings(folder), tmp_path_factory.mktemp("run")
    run(own, root, ["finetune"])
    return own, root


def test_finetuning_lowers_the_loss_on_held_out_solutions(tuned):
    _, root = tuned
    manifest = json.loads((root / "generator" / "manifest.json").read_text())
    assert manifest["arch"]["encoder_layers"] == 1
    written = (root / "logs" / "finetune.jsonl").read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, written) if "loss" in line]
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["finetune.loss_on_question=true"], "finetune.loss_on_question=true, but the encoder"),
        (["pretrain.epochs=1"], "pretrain.loss_on_question=true, but the encoder"),
    ],
)
def test_what_an_encoder_reads_is_not_to_be_predicted(folder, more, words, tmp_path):
    with pytest.raises(errors.ConfigError, match=words):
        run(settings(folder, *more), tmp_path, ["finetune"])


def test_a_verifier_is_refused_before_anything_is_trained(folder, tmp_path):
    with pytest.raises(errors.ConfigError, match="has an encoder, which no verifier is built on"):
        run(settings(folder), tmp_path, ["finetune", "verify"])
    assert not (tmp_path / "generator").exists()


def test_solutions_are_drawn_judged_and_exported(tuned, tmp_path):
    own, root = tuned
    run(own, root, ["sample", "label"])
    tables = root / "tables"
    samples = rows(tables / "samples" / "split=test")
    assert len(samples) == len(rows(tables / "labels" / "split=test")) == 10 * 4
    assert all(0 < len(row["tokens"]) <= 24 for row in samples)
    tokenizer = load_tokenizer(root / "generator")
    (mark,) = tokenizer.encode("<")  # T5 has no piece for it
    assert any(mark in row["tokens"] for row in samples)
    export.export(root / "generator", tmp_path / "out")
    model = model_folder.load(root / "generator", "finetune", "float32").model
    again = hf_weights.load_weights(tmp_path / "out", tokenizer_size=tokenizer.vocab_size)
    assert dataclasses.replace(again.arch, vocab_size=model.arch.vocab_size) == model.arch
    text = (tmp_path / "out" / "README.md").read_text()
    assert "AutoModelForSeq2SeqLM" in text and "text2text-generation" in text
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    line = "3 * 4 = <<3*4=12>>12\n"
    assert theirs.encode(line).ids == [*tokenizer.encode(line), tokenizer.end_id]


def test_a_verifier_that_starts_from_a_decoder_reads_them_as_text(tuned, tmp_path):
    own, root = tuned
    tokenizer = train_sentencepiece(LINES * 9, 300)
    tokenizer.save(tmp_path)
    arch = scratch_arch(own.model, tokenizer.vocab_size + 1)
    hf_weights.save_weights(Transformer(arch, rngs=nnx.Rngs(0)), tmp_path, end_id=tokenizer.end_id)
    own = config_lib.override(own, ["verify.init=base", f"verify.weights={tmp_path}"])
    run(own, root, ["sample", "label", "verify", "score"])
    scores = rows(root / "tables" / "scores" / "split=test")
    assert len(scores) == 10 * 4 and all(np.isfinite(row["score"]) for row in scores)
    assert json.loads((root / "verifier" / "manifest.json").read_text())["reads_text"]


def test_no_plan_is_made(folder):
    with pytest.raises(errors.ConfigError, match="has an encoder"):
        subject.read(settings(folder), [])


def test_what_grows_solutions_in_parts_is_refused(tuned):
    own, root = tuned
    stage = context(own, root, "sample")
    with pytest.raises(errors.ConfigError, match="the generator has an encoder"):
        search.loaded(stage, "generator")
