"""Tokenizers of others at the door: what does not give texts back, or is no tokenizer at all, is
refused by what it is.
"""

import io
import json
import pathlib
import re

import pytest
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2

from verifier.errors import TokenizerError, UserError
from verifier.system import log
from verifier.text.tokenizer import load_tokenizer

LINES = ["Mia has 3 boxes of pens and 12 hats", "a banana bandana for $5 each"] * 9
END = "<|end|>"
BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": False,
    "use_regex": True,
}


@pytest.fixture(scope="module")
def good():
    """A byte-level tokenizer.json as a tree."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        tokenizers.pre_tokenizers.ByteLevel(False),
        tokenizers.decoders.ByteLevel(),
    )
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=280, initial_alphabet=alphabet, special_tokens=[END], show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return json.loads(tokenizer.to_str())


def written(folder: pathlib.Path, tree, **files) -> pathlib.Path:
    folder.mkdir(exist_ok=True)
    for name, content in {"tokenizer": tree, **files}.items():
        (folder / f"{name}.json").write_text(
            content if isinstance(content, str) else json.dumps(content)
        )
    return folder


def refused(path) -> str:
    with pytest.raises(TokenizerError) as error:
        load_tokenizer(path)
    return str(error.value)


METASPACE = {
    "type": "Metaspace",
    "replacement": "\u2581",
    "prepend_scheme": "always",
    "split": True,
}


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        (
            {"pre_tokenizer": METASPACE, "decoder": METASPACE},
            "'Mia has 3 boxes' comes back as 'Miahas3boxes'",
        ),
        ({"decoder": None}, "'Mia has 3 boxes' comes back as"),
        (
            {"normalizer": {"type": "Lowercase"}},
            "'Mia has 3 boxes' comes back as 'mia has 3 boxes'",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}},
            "' 7 pens,  3   hats ' comes back as",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"String": "\n"}, "content": " "}},
            r"'1\n2\n\n3\n' comes back as '1 2  3 '",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"String": "<<"}, "content": ""}},
            "'2*3=<<2*3=6>>6' comes back as '2*3=2*3=6>>6'",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"String": "####"}, "content": ""}},
            "#### 1,234.50' comes back as",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"String": "~"}, "content": "-"}},
            "}~' comes back as",
        ),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}],
                }
            },
            "comes back as 'cafe, 5",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"String": "\u6f22"}, "content": "?"}},
            "comes back as '?",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"String": "\u00bd"}, "content": ""}},
            "'\u00bd, 2\u00b2, 3\u2026' comes back as",
        ),
        (
            {
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [{"type": "WhitespaceSplit"}, BYTE_LEVEL],
                }
            },
            "comes back as 'Miahas3boxes'",
        ),
    ],
)
def test_a_tokenizer_that_does_not_give_texts_back_is_refused_with_the_text(
    good, changes, lost, tmp_path
):
    load_tokenizer(written(tmp_path, good))
    message = refused(written(tmp_path, good | changes))
    assert "does not give texts back" in message and str(tmp_path) in message
    assert lost in message


def _sentencepiece(folder: pathlib.Path, **settings) -> pathlib.Path:
    model = io.BytesIO()
    usual = {
        "model_type": "bpe",
        "vocab_size": 320,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "hard_vocab_limit": False,
    }
    trainer = sentencepiece.SentencePieceTrainer.train
    trainer(sentence_iterator=iter(LINES), model_writer=model, minloglevel=2, **usual | settings)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return folder


@pytest.mark.parametrize(
    ("settings", "lost"),
    [
        # The trainer's own default.
        ({"normalization_rule_name": "nmt_nfkc"}, r"'1\n2\n\n3\n' comes back as '1 2  3 '"),
        ({"normalization_rule_name": "nfkc_cf"}, "comes back as 'mia has 3 boxes'"),
        ({"byte_fallback": False, "vocab_size": 60}, "comes back as"),
    ],
)
def test_sentencepiece_models_that_rewrite_texts_are_refused(settings, lost, tmp_path):
    assert lost in refused(_sentencepiece(tmp_path, **settings))


def test_a_model_without_an_unknown_piece_is_named(tmp_path):
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((_sentencepiece(tmp_path) / "tokenizer.model").read_bytes())
    model.pieces[0].type = model.pieces[0].NORMAL
    (tmp_path / "tokenizer.model").write_bytes(model.SerializeToString())
    assert "has no unknown piece" in refused(tmp_path)


def test_an_end_token_of_another_tokenizer_is_named(good, tmp_path):
    letter, mark = (good["model"]["vocab"][piece] for piece in 'M"')
    assert (
        load_tokenizer(
            written(
                tmp_path, good, tokenizer_config={"eos_token": END}, config={"eos_token_id": mark}
            )
        ).end_id
        == 0
    )
    (tmp_path / "tokenizer_config.json").unlink()
    assert f"the id that ends a text, {letter}, stands within" in refused(
        written(tmp_path, good, config={"eos_token_id": letter})
    )


def test_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "tokenizer.json").symlink_to(tmp_path / "blob")
    assert "tokenizer.json is a link to" in refused(tmp_path)


def test_a_model_that_writes_characters_in_a_compatible_form_is_taken_and_says_so(
    good, tmp_path, monkeypatch
):
    said: list[str] = []
    monkeypatch.setattr(log, "say", said.append)
    load_tokenizer(_sentencepiece(tmp_path))
    assert not said
    load_tokenizer(_sentencepiece(tmp_path, normalization_rule_name="nfkc"))
    load_tokenizer(written(tmp_path / "json", good | {"normalizer": {"type": "NFKC"}}))
    assert len(said) == 2 and all("rewrites characters: '\u00bd" in line for line in said)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "tokenizer.model",
            "IQ== 0\nIg== 1\nIw== 2\n",
            "tiktoken's format .*take the tokenizer.json",
        ),
        ("tokenizer.model", POINTER, "Git LFS pointer"),
        ("tokenizer.json", POINTER, "Git LFS pointer"),
        ("tokenizer.json", "[" * 99_999, "cannot be read"),
        ("tekken.json", "{}", "Mistral's own format"),
    ],
)
def test_what_is_no_tokenizer_is_named(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    assert re.search(message, refused(tmp_path))


@pytest.mark.parametrize(
    "name", ["tokenizer_config", "config", "generation_config", "special_tokens_map"]
)
def test_files_beside_it_are_named_or_passed_over(name, good, tmp_path):
    for content, said in {
        "[" * 99_999: "not JSON",
        POINTER: "Git LFS pointer",
        "[1]": "expected an object",
        '{"a": ' + "9" * 5_000 + "}": "not JSON",
    }.items():
        assert said in refused(written(tmp_path, good, **{name: content}))
    for odd in (True, -3, 10**30, [1], {"content": 5}, 2.5, "big", [10**30, -1]):
        load_tokenizer(
            written(
                tmp_path,
                good,
                **{name: {"eos_token": odd, "eos_token_id": odd if odd != [1] else 10**9}},
            )
        )


def _template(**special):
    token = {"SpecialToken": {"id": "<z>", "type_id": 0}}
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token, sequence],
            "pair": [],
            "special_tokens": special,
        }
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (_template(), "cannot be read by tokenizers"),  # its Rust code panics over this one
        (
            _template(**{"<z>": {"id": "<z>", "ids": [4 * 10**9], "tokens": ["<z>"]}}),
            "puts the ids .* before a text",
        ),
        (
            {"model": {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 7}},
            "cannot be read by tokenizers",
        ),
        (
            {
                "model": {"type": "BPE", "vocab": {"a": 0, END: 4 * 10**9}, "merges": []},
                "added_tokens": [],
            },
            "numbers its tokens up to 4,000,000,000",
        ),
        (
            {"model": {"type": "BPE", "vocab": {END: 0, "a": 1, "b": 1, "c": 2}, "merges": []}},
            "one id, 1, for 2 pieces \\('a', 'b'\\)",
        ),
    ],
)
def test_files_that_contradict_themselves_are_named(changes, message, good, tmp_path):
    assert re.search(message, refused(written(tmp_path, good | changes)))


def test_dropped_merges_are_for_training_alone(good, tmp_path):
    model = good["model"] | {"dropout": 0.5}
    tokenizer = load_tokenizer(written(tmp_path, good | {"model": model}))
    assert len({tuple(tokenizer.encode(LINES[1])) for _ in range(20)}) == 1


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "x" * 5_000, "a\0b"])
def test_paths_that_cannot_be_are_named(path):
    with pytest.raises(UserError, match="no path that can be looked up|no such file"):
        load_tokenizer(path)
