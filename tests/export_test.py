"""Exports of small models: what is in the folder, the same ids and values when read again, and a
card that says what the run knows.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import sys
import types

import jax
import numpy as np
import pytest
from flax import nnx

from tests.hf.families import hidden
from verifier import api, export
from verifier.config import Config, flatten
from verifier.errors import UserError
from verifier.hf import files as hf_files
from verifier.hf import verifier as hf_verifier
from verifier.hf.weights import load_weights
from verifier.model.arch import Arch
from verifier.model.heads import LinearHead, ReservedLogitHead, Verifier
from verifier.model.transformer import Transformer
from verifier.report import card
from verifier.run import model_folder
from verifier.system import atomic, checksums
from verifier.tables import store
from verifier.tables.manifests import read_manifest
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.problem import Template
from verifier.text.tokenizer import load_tokenizer

TOKENIZER = ByteTokenizer()
ARCH = Arch(
    TOKENIZER.reserved_id + 1,
    layers=2,
    width=32,
    heads=4,
    kv_heads=2,
    head_width=8,
    mlp_width=64,
    context=96,
)
TEMPLATE = Template(prompt='Say "{question}"\n', target="{solution}")
SETTINGS = flatten(Config()) | {
    "data.name": "gsm8k",
    "data.dir": "/home/somebody/data",
    "data.train_problems": 500,
    "finetune.epochs": 3.0,
    "model.weights": "somebody/a-model",
    "verify.value_loss": "bce",
    "model.dtype": "float32",
    "report.resamples": 7,
    "sample.rows": 3,
}


SUM = "0123456789abcdef" * 4  # of the file of the base model


def make_run(
    root: pathlib.Path, head: str = "reserved_logit", settings: dict = SETTINGS, made_by: str = ""
) -> pathlib.Path:
    """A workdir with both models, manifests of its tables and a report; `made_by`: another model
    than its own made the tables.
    """
    backbone = Transformer(ARCH, rngs=nnx.Rngs(0))
    backbone.embed[...] = 20 * backbone.embed[...]
    is_reserved = head == "reserved_logit"
    value_head = (
        ReservedLogitHead(TOKENIZER.reserved_id, initial_bias=0.3)
        if is_reserved
        else LinearHead(32, rngs=nnx.Rngs(1))
    )
    about = {"template": dataclasses.asdict(TEMPLATE)}
    sections = ("seed", "data", "tokenizer", "model", "pretrain", "finetune")
    knobs = {path: settings[path] for path in settings if path.partition(".")[0] in sections}
    made = about | {"settings": knobs, "weights": {"model.safetensors": SUM}}
    ids = {"generator": model_folder.save(root / "generator", backbone, TOKENIZER, made)}
    own = {path: settings[path] for path in ("verify.value_loss", "model.dtype")}
    facts = about | {"settings": own | ids, "generator": ids["generator"], "weights": {}}
    ids["verifier"] = model_folder.save(
        root / "verifier", Verifier(backbone, value_head), TOKENIZER, facts
    )
    atomic.write_json(
        root / "config.json",
        {"name": "mine", "settings": settings, "versions": {"jax": "0.0"}, "git_revision": "abc"},
    )
    key = {"problem_id": "p", "sample_id": 0}
    tables = {
        "problems": {
            "problem_id": "p",
            "question": "1+1?",
            "solution": None,
            "answer": "2",
            "source": "made",
            "split": "test",
        },
        "samples": {
            **key,
            "solution": "#### 2",
            "tokens": [1],
            "forced": [False],
            "logprobs": [0.0],
            "finish": "eos",
        }
        | {"generator": "", "seed": 0, "calculator_errors": 0},
        "scores": {**key, "verifier": "", "score": 0.5, "token_scores": [0.5]},
    }
    for table, row in tables.items():
        writer = store.TableWriter(
            root / "tables" / table / "split=test",
            table,
            {kind: made_by or ids[kind] for kind in ids},
        )
        writer.append([row])
        writer.finish({})
    figure = {"value": 0.25, "ci95": [0.125, 0.5]}
    figures = {
        "n_problems": 1234,
        "samples_per_problem": {"min": 4, "max": 8},
        "majority": figure,
        "best_of_n": {**figure, "value": 0.75},
    }
    figures |= {
        "greedy_accuracy": None,
        "top_k_vote_chosen": {**figure, "k": 5},
        "verifier": {"auroc": 0.9, "brier": None},
    }
    hashed = card.about_workdir(root).config_hash
    atomic.write_json(
        root / "report" / "metrics.json",
        {"splits": {"test": figures}, "config_hash": hashed, "seconds": {}},
    )
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "mine")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the hub that has the base model, as the hub's package gives it when nothing may be
    fetched.
    """
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / SUM).touch()
    (folder / "model.safetensors").symlink_to(folder / SUM)

    def snapshot_download(name, local_files_only):
        if name != "somebody/a-model" or not local_files_only:
            raise FileNotFoundError(name)
        return str(folder)

    monkeypatch.setitem(
        sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download)
    )
    return folder


@pytest.mark.parametrize("head", ["reserved_logit", "linear"])
def test_an_exported_verifier_gives_the_values_that_it_gave(head, tmp_path):
    root, out = (
        make_run(tmp_path / "run", head, SETTINGS | {"verify.value_loss": "mse"}),
        tmp_path / "out",
    )
    export.export(root / "verifier", out)
    [scored] = api.load(root / "verifier").score("1+1?", ["that is 2\n#### 2"])
    tokenizer = load_tokenizer(out)
    again = hf_verifier.load_verifier(out, tokenizer_size=tokenizer.vocab_size)
    prompt = [*tokenizer.start_ids, *tokenizer.encode('Say "1+1?"\n')]
    row = [*prompt, *tokenizer.encode("that is 2\n#### 2"), tokenizer.end_id]
    np.testing.assert_allclose(
        again.values(hidden(again.backbone, [row]))[0, len(prompt) :],
        scored.token_values,
        atol=1e-4,
    )
    assert np.std(scored.token_values) > 1e-3


def test_logits_are_exported_raw_and_said_to_be(run, tmp_path):
    export.export(run / "verifier", tmp_path / "out")
    again = hf_verifier.load_verifier(tmp_path / "out", tokenizer_size=TOKENIZER.vocab_size)
    row = [*TOKENIZER.encode('Say "1+1?"\n'), *TOKENIZER.encode("2"), TOKENIZER.end_id]
    value = again.values(hidden(again.backbone, [row]))[0, -1]
    assert jax.nn.sigmoid(value) == pytest.approx(
        api.load(run / "verifier").score("1+1?", ["2"])[0].score, abs=1e-5
    )
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["value_activation"] == "sigmoid"
    )
    text = (tmp_path / "out" / "README.md").read_text()
    assert (
        "their sigmoid is the probability" in text and "logits[0, -1, 0].sigmoid().item()" in text
    )


@pytest.mark.parametrize("change", [{}, {"verify.value_loss": "mse"}, {"model.dtype": "bfloat16"}])
def test_an_exported_verifier_is_loaded_as_the_runs_own(change, tmp_path):
    root, out = make_run(tmp_path / "run", "linear", SETTINGS | change), tmp_path / "out"
    export.export(root / "verifier", out)
    loaded = [api.load(folder) for folder in (root / "verifier", out)]
    assert loaded[0].id == loaded[1].id and loaded[1].template == TEMPLATE
    own, again = (each.score("1+1?", ["that is 2\n#### 2", "3"]) for each in loaded)
    for one, other in zip(own, again, strict=True):
        assert one.tokens == other.tokens and np.std(one.token_values) > 1e-3
        np.testing.assert_allclose(one.token_values, other.token_values, atol=1e-5)


def test_a_folder_that_tells_nothing_of_a_verifier_is_not_loaded(run, tmp_path):
    export.export(run / "generator", tmp_path)
    with pytest.raises(
        UserError, match=f"{tmp_path} is no verifier that `python -m verifier.export` wrote"
    ):
        api.load(tmp_path)


def test_a_generator_is_exported_without_rows_that_no_token_has(run, tmp_path):
    export.export(run / "generator", tmp_path)
    assert (
        json.loads((tmp_path / "config.json").read_text())["vocab_size"]
        == TOKENIZER.vocab_size
        < ARCH.vocab_size
    )
    models = (
        model_folder.load(run / "generator", "finetune", "float32").model,
        load_weights(tmp_path, tokenizer_size=TOKENIZER.vocab_size),
    )
    row = [*TOKENIZER.encode("1+1?"), TOKENIZER.end_id]
    one, other = (each.logits(hidden(each, [row])) for each in models)
    np.testing.assert_allclose(
        one[..., : TOKENIZER.vocab_size], other[..., : TOKENIZER.vocab_size], atol=1e-5
    )


def test_the_folder_is_what_transformers_looks_for(run, tmp_path):
    for kind, name in (
        ("generator", "LlamaForCausalLM"),
        ("verifier", "LlamaForTokenClassification"),
    ):
        export.export(run / kind, tmp_path / kind)
        names = {path.name for path in (tmp_path / kind).iterdir()}
        assert names >= {
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "README.md",
        }
        assert json.loads((tmp_path / kind / "config.json").read_text())["architectures"] == [name]


def test_a_models_own_folder_is_not_written_to(run):
    before = (run / "generator" / "manifest.json").read_bytes()
    with pytest.raises(UserError, match="an export would spoil: give --to another folder"):
        export.export(run / "verifier", run / "generator")
    assert (run / "generator" / "manifest.json").read_bytes() == before and not (
        run / "generator" / "config.json"
    ).exists()


def test_a_remote_folder_is_refused_with_the_way_out(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError,
        match=(
            "--to=gs://bucket/x: a model is exported to a folder of this machine: .* copy it there"
        ),
    ):
        export.export(run / "generator", "gs://bucket/x")
    assert not list(tmp_path.iterdir())


def test_only_an_earlier_export_is_replaced(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    for to in (".", run):
        before = {path: path.read_bytes() for path in pathlib.Path(to).iterdir() if path.is_file()}
        with pytest.raises(
            UserError,
            match="is not empty and holds no earlier export, .* give --to a new or an empty folder",
        ):
            export.export(run / "generator", to)
        assert {
            path: path.read_bytes() for path in pathlib.Path(to).iterdir() if path.is_file()
        } == before
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for kind, to in (("generator", tmp_path / "out"), ("verifier", "~/out")):
        export.export(run / kind, to)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [
        "LlamaForTokenClassification"
    ]


def test_a_whole_run_is_refused_with_its_models_by_name(run, tmp_path):
    with pytest.raises(
        UserError,
        match=f"{run} is a whole run: give one of its models, {run}/generator or {run}/verifier",
    ):
        export.export(run, tmp_path / "out")


def front_matter(text):
    head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert head is not None
    return dict(
        line.split(": ", 1) for line in head[1].splitlines() if not line.startswith("#")
    ), head[1]


def test_the_card_says_what_the_run_knows(run, hub):
    generator, verifier = (card.render_card(run / kind) for kind in ("generator", "verifier"))
    for text, tag in ((generator, "text-generation"), (verifier, "token-classification")):
        fields, raw = front_matter(text)
        assert fields["library_name"] == "transformers" and fields["pipeline_tag"] == tag
        assert fields["base_model"] == "somebody/a-model" and fields["datasets"] == "[openai/gsm8k]"
        assert "license" not in fields and "# license: yours to choose" in raw
        assert (
            "% of 1,234 problems (split `test`), 4 to 8 samples each" in text
            and "| majority | 25.0 [12.5, 50.0] |" in text
        )
        assert (
            "| `finetune.epochs` | `3.0` |" in text
            and "/home/somebody" not in text
            and "report.resamples" not in text
        )
        assert "greedy" not in text and "1 to test on" in text and "revision abc" in text
        assert "{" not in re.sub(r"```.*?```", "", text, flags=re.DOTALL) and "\n\n\n" not in text
    assert (
        "| best-of-n | 75.0 [12.5, 50.0] |" in verifier
        and "| top-k vote (k=5) |" in verifier
        and "AUROC 0.900" in verifier
    )
    assert (
        "best-of-n" not in generator and "sample.rows" not in generator and "AUROC" not in generator
    )


@pytest.mark.parametrize("kind", ["generator", "verifier"])
def test_the_cards_example_is_a_program_with_the_models_own_prompt(run, kind):
    block = re.search(r"```python\n(.*?)```", card.render_card(run / kind), re.DOTALL)
    assert block is not None
    compile(block[1], "card", "exec")
    assert (
        r'"Say \"Mia has 3 boxes of 4 pens. How many pens is that?\"\n"' in block[1]
        and len(block[1].splitlines()) <= 7
    )


def test_figures_of_another_model_or_of_other_settings_are_not_claimed(tmp_path):
    other = make_run(tmp_path / "other", made_by="somebody else")
    for kind in ("generator", "verifier"):
        assert "Nothing: the run has no report" in card.render_card(other / kind)
    changed = make_run(tmp_path / "changed")
    content = json.loads((changed / "config.json").read_text())
    atomic.write_json(
        changed / "config.json", content | {"settings": content["settings"] | {"seed": 1}}
    )
    assert "Nothing: the run has no report" in card.render_card(changed / "verifier")


def test_a_model_without_its_run_still_has_a_card(run, tmp_path):
    alone = tmp_path / "alone" / "model"
    alone.mkdir(parents=True)
    (alone / "manifest.json").write_bytes((run / "generator" / "manifest.json").read_bytes())
    text = card.render_card(alone)
    assert (
        "Nothing: the run has no report" in text
        and "Problems of `gsm8k`." in text
        and "2 layers, width 32" in text
    )


def test_a_model_of_a_sweep_is_described_by_its_own_run(run, tmp_path):
    variant = tmp_path / "variant"
    variant.mkdir()
    (variant / "generator").symlink_to(run / "generator")
    atomic.write_json(
        variant / "config.json",
        {"name": "a variant", "settings": SETTINGS | {"verify.epochs": 7.0}},
    )
    assert "# a variant: generator" in card.render_card(variant / "generator")


@pytest.mark.parametrize("in_its_run", [True, False])
def test_a_model_from_before_templates_were_noted_is_described_by_its_settings_or_not_at_all(
    tmp_path, in_its_run
):
    root = make_run(
        tmp_path / "run", settings=SETTINGS | {"data.prompt_template": "Ask {question}"}
    )
    manifest = read_manifest(root / "generator")
    del manifest["template"]
    for knob in ("data.prompt_template", "data.target_template"):
        del manifest["settings"][knob]
    checksums.write_sealed(root / "generator" / "manifest.json", manifest)
    if in_its_run:
        assert '"Ask Mia has' in card.render_card(root / "generator")
        return
    (root / "config.json").unlink()
    with pytest.raises(UserError, match="does not tell how problems were put to the model"):
        card.render_card(root / "generator")


@pytest.mark.parametrize("weights", ["/home/somebody/weights", "somebody/else", "somebody/a-model"])
def test_a_base_model_that_the_hub_is_not_known_to_have_is_not_named(tmp_path, hub, weights):
    (hub / "model.safetensors").unlink()
    # Another file than the one that was trained with.
    (hub / "model.safetensors").symlink_to(hub / SUM[::-1])
    text = card.render_card(
        make_run(tmp_path / "run", settings=SETTINGS | {"model.weights": weights}) / "generator"
    )
    assert "base_model" not in text and "somebody" not in text


@pytest.mark.parametrize("killed", ["while it is written", "while files go to their places"])
def test_a_killed_export_is_begun_anew_by_the_same_command(run, tmp_path, monkeypatch, killed):
    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    out = tmp_path / "out"
    out.mkdir()
    with monkeypatch.context() as patch:
        # Nothing is tidied up after a kill.
        patch.setattr(export.shutil, "rmtree", lambda *_, **__: None)
        if killed == "while it is written":
            patch.setattr(card, "write_card", die)
        else:
            patch.setattr(hf_files, "remove_weights", die)
        with pytest.raises(Killed):
            export.export(run / "generator", out)
    assert any(out.iterdir()) and not (out / "config.json").exists()  # nobody takes it for a model
    export.export(run / "generator", out)
    export.export(run / "generator", tmp_path / "other")
    names = {path.name for path in out.iterdir()}
    assert names == {path.name for path in (tmp_path / "other").iterdir()}
    assert checksums.read_sums(out) == checksums.read_sums(tmp_path / "other")
    checksums.check(out, checksums.read_sums(out), "")


def test_a_later_export_leaves_what_the_user_put_beside_an_earlier_one(run, tmp_path):
    export.export(run / "generator", tmp_path)
    (tmp_path / "LICENSE").write_text("mine")
    (tmp_path / "model-00001-of-00002.safetensors").write_text("of an export in two files")
    export.export(run / "verifier", tmp_path)
    assert (tmp_path / "LICENSE").read_text() == "mine" and not (
        tmp_path / "model-00001-of-00002.safetensors"
    ).exists()
    assert not (tmp_path / "export.aside").exists()


def test_scored_samples_replace_only_what_was_exported_so(tmp_path):
    row = dict.fromkeys(
        (
            "question",
            "solution",
            "answer",
            "extracted",
            "correct",
            "score",
            "problem_id",
            "sample_id",
            "split",
        )
    )
    for name, content in (("earlier.jsonl", json.dumps(row) + "\n{}\n"), ("empty.jsonl", "")):
        (tmp_path / name).write_text(content)
        assert export._file_to_write(str(tmp_path / name)) == tmp_path / name
    assert (
        export._file_to_write(str(tmp_path / "new" / "file.jsonl"))
        == tmp_path / "new" / "file.jsonl"
    )
    for name, content in (
        ("config.json", '{"settings": {}}'),
        ("mine.jsonl", '{"question": 1}\n'),
        ("notes", "text"),
        ("bytes", "\udcff"),
    ):
        (tmp_path / name).write_text(content, errors="surrogateescape")
        with pytest.raises(
            UserError,
            match=f"{name} is there and holds no earlier export .* give --to another file",
        ):
            export._file_to_write(str(tmp_path / name))
    with pytest.raises(UserError, match="give --to another file"):
        export._file_to_write(str(tmp_path))
