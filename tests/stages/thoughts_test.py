"""What is told of the thoughts of a window."""

import types

import numpy as np

from verifier.stages.thoughts import Teller
from verifier.text.bytes_tokenizer import ByteTokenizer


class _Window:
    """One text in one window."""

    def __getitem__(self, index):
        return np.frombuffer(b"abcd", np.uint8).astype(np.int32)

    def kinds(self, index):
        return np.zeros(4, int)

    def pieces(self, index):
        return [types.SimpleNamespace(start=0, end=4, document="d", first=0)]


def gained(thought):
    """Gains of one thought a position, of which all are alike."""
    return types.SimpleNamespace(
        gain_BTPM=np.full((4, 1, 1), 0.5),
        weight_BTPM=np.full((4, 1, 1), 0.25),
        base_BT=np.full(4, -1.0),
        entropy_BTP=None,
        tokens_BTPI=np.tile(np.array(thought, np.int32), (4, 1, 1)),
    )


def test_a_thought_is_told_in_words_and_one_of_constant_tokens_has_none():
    tokenizer = ByteTokenizer()
    tell = Teller(tokenizer, ["all"])
    rows = tell.rows(_Window(), 0, gained(list(b"hm")))
    assert [row["thought"] for row in rows] == [None, "hm", "hm", "hm"]
    assert rows[1]["logprob_talk"] == -0.5
    pause = [tokenizer.vocab_size] * 2
    rows = tell.rows(_Window(), 0, gained(pause))
    assert [row["thought"] for row in rows[1:]] == [""] * 3
    assert rows[1]["thought_tokens"] == pause
