"""A tokenizer made as T5's are reads and writes worked solutions, with tokens that it lacks."""

import json

import pytest
import tokenizers

from tests.text import t5_tokenizer
from verifier.text.calculator import annotations
from verifier.text.missing_characters import NEEDED
from verifier.text.tokenizer import load_tokenizer, same_ids

LINES = [
    "Natalia sold 48 apples in April, and then half as many apples in May for $3 each.",
    "She sold 48/2 = <<48/2=24>>24 apples in May.",
    "#### 216",
]
TEXT = "\n".join(LINES)


@pytest.fixture(scope="module", params=["as_json", "as_model"])
def folder(request, tmp_path_factory):
    return getattr(t5_tokenizer, request.param)(tmp_path_factory.mktemp(request.param), LINES * 9)


def test_solutions_come_back_from_a_tokenizer_that_lacks_their_marks(folder, capfd):
    tokenizer = load_tokenizer(folder)
    assert "has no piece for '\\n' '<'" in capfd.readouterr().err
    for text in (TEXT, " {7} pens,  3 ~ hats ^\n", "".join(NEEDED)):
        ids, spans = tokenizer.encode_with_spans(text)
        assert tokenizer.decode(ids) == text and ids == tokenizer.encode(text)
        assert "".join(tokenizer.token_text(token) for token in ids) == text
        assert b"".join(map(tokenizer.piece_bytes, ids)) == text.encode()
        covered = "".join(text[start:end] for start, end in spans)
        assert covered == text
    (annotation,) = annotations(tokenizer.decode(tokenizer.encode(TEXT)))
    assert annotation.expression == "48/2" and tokenizer.start_ids == ()
    assert tokenizer.end_id == 1


def test_what_is_added_stands_behind_all_other_ids_and_those_stay(folder):
    tokenizer = load_tokenizer(folder)
    pieces = tokenizer.build().get_vocab(with_added_tokens=True)
    assert (pieces["<pad>"], pieces["</s>"], pieces["<unk>"]) == (0, 1, 2)
    gaps = [pieces[f"<extra_id_{number}>"] for number in reversed(range(t5_tokenizer.GAPS))]
    added = [pieces[letter] for letter in tokenizer.added]
    assert tokenizer.added[:2] == ["\n", "<"]
    last = tokenizer.vocab_size - len(added)
    assert added == list(range(last, tokenizer.vocab_size))
    assert gaps == list(range(last - t5_tokenizer.GAPS, last))


def test_a_saved_one_is_the_same_and_lacks_nothing(folder, tmp_path, capfd):
    tokenizer = load_tokenizer(folder)
    tokenizer.save(tmp_path)
    capfd.readouterr()
    again = load_tokenizer(tmp_path)
    assert same_ids(tokenizer, again) and again.added == []
    assert "has no piece" not in capfd.readouterr().err
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.token_to_id("\n") == tokenizer.encode("\n")[0]


def test_what_no_piece_spells_is_left_out(folder):
    tokenizer = load_tokenizer(folder)
    assert tokenizer.decode(tokenizer.encode("3 \u6f22 apples")) == "3  apples"


def test_both_forms_give_the_same_ids(tmp_path):
    one, other = (
        load_tokenizer(make(tmp_path / make.__name__, LINES * 9))
        for make in (t5_tokenizer.as_json, t5_tokenizer.as_model)
    )
    assert one.encode(TEXT) == other.encode(TEXT) and one.vocab_size == other.vocab_size
    assert json.loads(one.build().to_str())["model"]["type"] == "Unigram"
