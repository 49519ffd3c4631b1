"""Exported tokenizers: the same ids by tokenizer.json alone, for every kind of tokenizer, whatever
the text.
"""

from __future__ import annotations

import io
import json

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.sentencepiece_tokenizer import SentencePieceTokenizer, train_sentencepiece
from verifier.text.tokenizer import load_tokenizer
from verifier.text.transformers_tokenizer import save_for_transformers

TEXTS = [
    "Mia has 3 boxes of 4 pens. How many pens is that?\nThat is 3*4 = <<3*4=12>>12 pens.\n#### 12",
    "Tom pays $1,250.50 for 7 hats\nand  two   caps; he wants 15% off.\n#### 1,062.93",
    "a banana bandana can ban an abandoned band",
] * 5


def imported(model_type: str, own: tuple[str, ...] = ()) -> SentencePieceTokenizer:
    """An imported model: with a begin token and letters folded by NFKC."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in TEXTS for line in text.split("\n")),
        model_writer=model,
        model_type=model_type,
        user_defined_symbols=list(own),
        vocab_size=330,
        hard_vocab_limit=False,
        byte_fallback=True,
        # nmt_nfkc, the default, turns newlines into spaces: such a model is refused
        normalization_rule_name="nfkc",
        bos_id=1,
        eos_id=2,
        minloglevel=2,
    )
    return SentencePieceTokenizer(model.getvalue())


KINDS = {
    "bytes": ByteTokenizer,
    "sentencepiece": lambda: train_sentencepiece(TEXTS, 420),
    "unigram": lambda: imported("unigram"),
}
# Runs of spaces, as Gemma has them.
KINDS["merges"] = lambda: imported("bpe", ("\u2581\u2581", "\u2581\u2581\u2581", "####"))


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    """A tokenizer, and what its export is read as."""
    folder = tmp_path_factory.mktemp(request.param)
    made = KINDS[request.param]()
    save_for_transformers(made, folder)
    again = load_tokenizer(folder)
    assert type(again).__name__ == "HuggingFaceTokenizer"
    return made, again


PIECES = st.sampled_from(
    [
        " ",
        "  ",
        "\n",
        "<<",
        ">>",
        "<",
        "=",
        "####",
        "#",
        "3",
        "12",
        "pens",
        "banana",
        "an",
        "\u00e9",
        "\u6f22",
        "\U0001f600",
        "\t",
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(PIECES, max_size=20).map("".join)
    | st.text(st.characters(codec="utf-8", exclude_characters="\u2581\x00"), max_size=20)
)
def test_any_text_has_the_same_ids(pair, text):
    made, again = pair
    imported = type(made) is SentencePieceTokenizer and bool(made.start_ids)
    if imported and made.decode(made.encode(text)) != text:
        return  # an imported model that rewrites the text is compared on those that it leaves alone
    if imported and sorted(again.encode(text)) == sorted(made.encode(text)):
        # The same pieces in another order are as likely to a unigram model.
        assert again.decode(again.encode(text)) == text
    else:
        assert again.encode(text) == made.encode(text)
    assert again.decode(made.encode(text)) == made.decode(made.encode(text))


def test_real_texts_have_the_same_ids_and_merges_matter(pair):
    made, again = pair
    for text in TEXTS:
        assert again.encode(text) == made.encode(text)
        assert isinstance(made, ByteTokenizer) or len(made.encode(text)) < 0.8 * len(text)


def test_start_end_and_size_are_kept(pair, tmp_path):
    made, again = pair
    assert (again.start_ids, again.end_id, again.vocab_size) == (
        made.start_ids,
        made.end_id,
        made.vocab_size,
    )
    save_for_transformers(again, tmp_path)  # of an export again
    third = load_tokenizer(tmp_path)
    assert third.start_ids == made.start_ids and third.encode(TEXTS[0]) == made.encode(TEXTS[0])
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast" and config[
        "model_input_names"
    ] == ["input_ids", "attention_mask"]
