"""What the calculator writes and which tokens rows wait at, with tokenizers as users bring them."""

from __future__ import annotations

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from tests.decode import fakes
from verifier.decode.annotations import Calculator
from verifier.decode.steps import HOLD, OUTSIDE, WAIT
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.sentencepiece_tokenizer import train_sentencepiece
from verifier.text.tokenizer import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def merging(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A byte-level BPE that merges `=` with the digit after it, as a user's tokenizer.json may."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: place for place, piece in enumerate([*alphabet, "=1", "=12", "Ġ=", "<|end|>"])}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, [("=", "1"), ("=1", "2"), ("Ġ", "=")]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|end|>"])
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    return load_tokenizer(folder)


def forced_text(tokenizer: Tokenizer, text: str) -> tuple[str, int]:
    """The text after the calculator has looked at the last token of `text` and had its say, and its
    errors.
    """
    tokens = tokenizer.encode(text)
    verdict = Calculator(tokenizer).look(tokens)
    kept = tokens[:-1] if verdict.instead else tokens
    return tokenizer.decode([*kept, *verdict.queue]), verdict.errors


def events(tokenizer: Tokenizer, tokens: list[int]) -> list[int]:
    """What the watch tables say of each token."""
    watch, where, found = Calculator(tokenizer).watch, OUTSIDE, []
    for token in tokens:
        found.append(int(watch.event_3V[where, token]))
        where = int(watch.where_3V[where, token])
    return found


@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        ("é <<3*41=", "é <<3*41=123>>", 0),
        # `=1` and, where the tokenizer merges so, `=12` come back as the calculator's
        ("<<3*4=1", "<<3*4=12>>", 0),
        ("<<3*4=12", "<<3*4=12>>", 0),
        ("<<7-9=1", "<<7-9=-2>>", 0),
        ("<<1/0=1", "<<1/0=1", 1),
    ],
)
def test_a_tokenizer_json_that_merges_the_sign(
    merging: Tokenizer, text: str, expected: str, errors: int
) -> None:
    assert events(merging, merging.encode(text))[-1] == (WAIT if text.endswith("=") else HOLD)
    assert forced_text(merging, text) == (expected, errors)


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
def test_other_tokenizers_trigger_on_their_text(kind: str) -> None:
    lines = [
        f"Ann has {a} and {b}: {a}+{b}=<<{a}+{b}={a + b}>>{a + b} apples."
        for a in range(9)
        for b in range(9)
    ]
    tokenizer = {"bytes": ByteTokenizer, "sentencepiece": lambda: train_sentencepiece(lines, 300)}[
        kind
    ]()
    assert forced_text(tokenizer, "Ann has 3+4=<<3+4=") == ("Ann has 3+4=<<3+4=7>>", 0)
    assert forced_text(tokenizer, "Ann has 3+4=") == ("Ann has 3+4=", 0)
    assert forced_text(tokenizer, "<<3+4=7>> is =") == ("<<3+4=7>> is =", 0)


PIECES = st.lists(
    st.sampled_from(["<", "<<", ">", "=", "=1", "=<<", ")=", " =", "1", "2", "+", "(", "a", " "]),
    min_size=1,
    max_size=14,
)


@given(PIECES)
def test_no_token_that_the_calculator_would_answer_is_missed(pieces: list[str]) -> None:
    tokenizer = fakes.Pieces()
    tokens = [tokenizer.pieces.index(piece) for piece in pieces]
    calculator = Calculator(tokenizer)
    for end, event in enumerate(events(tokenizer, tokens), start=1):
        verdict = calculator.look(tokens[:end])
        if verdict.queue or verdict.errors:
            assert event
        if verdict.instead:
            assert event == HOLD


def test_signs_outside_annotations_make_no_row_wait() -> None:
    tokenizer = fakes.Pieces()
    assert not any(events(tokenizer, tokenizer.encode("so 3+4=7 and 2=2")))
    assert sum(map(bool, events(tokenizer, tokenizer.encode("5*3=<<5*3=15==>>15 = 15")))) == 1
    assert not any(map(bool, Calculator(tokenizer, on=False).watch.event_3V.reshape(-1)))
