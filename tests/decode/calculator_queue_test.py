"""The queue of forced tokens: which text triggers, with tokenizers as users bring them."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers

from tests.decode import fakes
from verifier.decode.calculator_queue import CalculatorQueue, equals_table
from verifier.text.tokenizer import ByteTokenizer, Tokenizer, load_tokenizer, train_sentencepiece


@pytest.fixture(scope="module")
def merging(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A byte-level BPE that merges `=` with the digit after it, as a user's tokenizer.json may."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: place for place, piece in enumerate([*alphabet, "=1", "=12", "Ġ=", "<|end|>"])}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, [("=", "1"), ("=1", "2"), ("Ġ", "=")]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|end|>"])
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    return load_tokenizer(folder)


def forced_text(tokenizer: Tokenizer, text: str) -> tuple[str, int]:
    """The text after the calculator has looked at the last token of `text` and had its say, and its errors."""
    tokens = tokenizer.encode(text)
    table = equals_table(tokenizer)
    queue = CalculatorQueue(tokenizer, table, 2)
    (row,) = queue.suspects(np.array([tokens[0], tokens[-1]]), np.array([False, True]))
    replaced = queue.look(int(row), tokens)
    tokens = tokens if replaced is None else [*tokens[:-1], replaced]
    while (forced_B := queue.take()) is not None:
        assert forced_B[0] == -1 and forced_B.dtype == np.int32
        tokens.append(int(forced_B[1]))
    assert queue.errors_B[0] == 0
    return tokenizer.decode(tokens), int(queue.errors_B[1])


@pytest.mark.parametrize(
    ("text", "expected", "errors"),
    [
        ("é <<3*41=", "é <<3*41=123>>", 0),
        ("<<3*4=1", "<<3*4=12>>", 0),  # `=1` and, where the tokenizer merges so, `=12` come back as the calculator's
        ("<<3*4=12", "<<3*4=12>>", 0),
        ("<<7-9=1", "<<7-9=-2>>", 0),
        ("<<1/0=1", "<<1/0=1", 1),
    ],
)
def test_a_tokenizer_json_that_merges_the_sign(merging: Tokenizer, text: str, expected: str, errors: int) -> None:
    assert merging.encode(text)[-1] in np.flatnonzero(equals_table(merging))
    assert forced_text(merging, text) == (expected, errors)


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
def test_other_tokenizers_trigger_on_their_text(kind: str) -> None:
    lines = [f"Ann has {a} and {b}: {a}+{b}=<<{a}+{b}={a + b}>>{a + b} apples." for a in range(9) for b in range(9)]
    tokenizer = {"bytes": ByteTokenizer, "sentencepiece": lambda: train_sentencepiece(lines, 300)}[kind]()
    assert forced_text(tokenizer, "Ann has 3+4=<<3+4=") == ("Ann has 3+4=<<3+4=7>>", 0)
    assert forced_text(tokenizer, "Ann has 3+4=") == ("Ann has 3+4=", 0)
    assert forced_text(tokenizer, "<<3+4=7>> is =") == ("<<3+4=7>> is =", 0)


def test_only_running_rows_with_a_drawn_sign_are_looked_at() -> None:
    tokenizer = fakes.Pieces()
    queue = CalculatorQueue(tokenizer, equals_table(tokenizer), 4)
    tokens = np.array([tokenizer.encode(piece)[0] for piece in ("=", "=1", "1", " =")])
    assert queue.suspects(tokens, np.array([True, True, True, False])).tolist() == [0, 1]
    assert queue.take() is None


def test_rows_have_queues_of_their_own() -> None:
    tokenizer = fakes.Pieces()
    queue = CalculatorQueue(tokenizer, equals_table(tokenizer), 3)
    queue.look(0, tokenizer.encode("<<3+4="))
    queue.look(2, tokenizer.encode("<<30+40="))
    taken = [queue.take() for _ in range(5)]
    assert taken.pop() is None
    columns = np.stack([column for column in taken if column is not None], axis=1)
    assert [tokenizer.decode([token for token in row if token >= 0]) for row in columns.tolist()] == ["7>>", "", "70>>"]
