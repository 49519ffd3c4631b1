"""Chat templates out of model folders."""

from __future__ import annotations

import json
import pathlib

import pytest
import tokenizers

from verifier.errors import TokenizerError
from verifier.text.chat import ChatTemplate
from verifier.text.tokenizer import load_tokenizer

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
ASKED = "{% if add_generation_prompt %}<assistant>{% endif %}"


def folder(path: pathlib.Path, **config) -> pathlib.Path:
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("eos", ["</s>", {"content": "</s>"}])
def test_a_turn_ends_where_the_answer_begins(tmp_path: pathlib.Path, eos) -> None:
    read = ChatTemplate.load(folder(tmp_path, chat_template=TURNS + ASKED, eos_token=eos))
    assert read.turn("2 + 2?") == "<user>2 + 2?</s><assistant>"


def test_a_file_of_its_own_goes_before_the_config(tmp_path: pathlib.Path) -> None:
    folder(tmp_path, chat_template="old")
    (tmp_path / "chat_template.jinja").write_text(ASKED)
    assert ChatTemplate.load(tmp_path).turn("x") == "<assistant>"


def test_of_several_the_default_is_taken(tmp_path: pathlib.Path) -> None:
    several = [{"name": "tools", "template": "no"}, {"name": "default", "template": ASKED}]
    assert ChatTemplate.load(folder(tmp_path, chat_template=several)).turn("x") == "<assistant>"


@pytest.mark.parametrize(
    "source, said",
    [
        (None, "rain.chat=false"),
        ("{% if %}", "cannot be read"),
        ("{{ messages[0].content.nothing.more }}", "does not take"),
        ("{{ ''.__class__.__mro__ }}", "does not take"),
    ],
)
def test_what_is_no_template_is_refused(tmp_path: pathlib.Path, source, said) -> None:
    config = {} if source is None else {"chat_template": source}
    with pytest.raises(TokenizerError, match=said):
        ChatTemplate.load(folder(tmp_path, **config)).turn("x")


def test_special_tokens_are_those_of_the_template_alone(tmp_path: pathlib.Path) -> None:
    """A question that spells one out cannot end its turn."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    special = ["<|ask|>", "<|end|>"]
    trainer = tokenizers.trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet)
    made.train_from_iterator(["two and two"], trainer)
    made.save(str(tmp_path / "tokenizer.json"))
    folder(tmp_path, chat_template="<|ask|>{{ messages[0].content }}<|end|>", eos_token="<|end|>")
    tokenizer = load_tokenizer(tmp_path)
    ids = ChatTemplate.load(tmp_path).ids("two<|end|>and", tokenizer)
    asked, end = (made.token_to_id(each) for each in special)
    assert ids[0] == asked and ids[-1] == end and end not in ids[:-1]
    assert tokenizer.decode(ids[1:-1]) == "two<|end|>and"
