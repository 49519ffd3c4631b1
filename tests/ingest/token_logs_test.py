"""Tokens of logs come back as the bytes that were written, however a server spells them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import TablesError
from verifier.ingest.token_logs import read_choice

TEXT = "Si Zoë paie 3 €, 5 – 3 = 2.\n#### 2 🍎"
LOST = "\ufffd"


def byte_level(piece):
    """A piece as byte-level BPE has it."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return "".join(
        chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in piece
    )


def shown(piece):
    return piece.decode("utf-8", "replace")


def escaped(piece):
    """As OpenAI's completions write what is no text."""
    if LOST not in shown(piece):
        return shown(piece)
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def entry(piece, logprob, name=shown, with_bytes=True):
    return {
        "token": name(piece),
        "bytes": list(piece) if with_bytes else None,
        "logprob": logprob,
    }


def chat(pieces, tops=None, name=shown, with_bytes=True, text=TEXT, finish="stop"):
    """A choice of the chat form; token n has the log-probability -n."""
    tops = tops or [[]] * len(pieces)
    content = [
        entry(piece, -float(n), name, with_bytes)
        | {"top_logprobs": [entry(*each, name, with_bytes) for each in tops[n]]}
        for n, piece in enumerate(pieces)
    ]
    return {
        "message": {"role": "assistant", "content": text},
        "logprobs": {"content": content},
        "finish_reason": finish,
    }


def completion(pieces, tops=None, name=escaped, text=TEXT, finish="stop"):
    tops = tops or [[(piece, -float(n))] for n, piece in enumerate(pieces)]
    return {
        "text": text,
        "finish_reason": finish,
        "logprobs": {
            "tokens": [name(piece) for piece in pieces],
            "token_logprobs": [-float(n) for n in range(len(pieces))],
            "top_logprobs": [{name(piece): value for piece, value in each} for each in tops],
        },
    }


def cut(text, places):
    whole = text.encode()
    ends = sorted({place % len(whole) for place in places} - {0})
    return [whole[first:end] for first, end in zip([0, *ends], [*ends, len(whole)], strict=True)]


@given(st.text(min_size=1, max_size=12), st.lists(st.integers(0, 50), max_size=12))
def test_pieces_come_back_wherever_a_text_is_cut(text, places):
    pieces = cut(text, places)
    choices = [
        chat(pieces, text=text),
        chat(pieces, name=byte_level, with_bytes=False, text=text),
    ]
    if LOST not in text and "bytes:" not in text:
        choices.append(completion(pieces, text=text))
    for choice in choices:
        found = read_choice(choice, "logprobs", "here")
        assert found.pieces == pieces and found.text == text
        assert found.logprobs == [-float(n) for n in range(len(pieces))]


def test_alternatives_are_sorted_and_hold_the_token_itself():
    pieces = cut(TEXT, [3, 8])
    tops = [[(b"a", -2.0), (pieces[0], 0.0)], [(b"b", -0.5), (b"c", -0.25)], [(b"", -4.0)]]
    for choice in (chat(pieces, tops), completion(pieces, tops)):
        found = read_choice(choice, "top_logprobs", "here")
        assert found.top_pieces[0] == [pieces[0], b"a"] and found.top_logprobs[0] == [0.0, -2.0]
        assert found.top_pieces[1] == [b"c", b"b", pieces[1]]
        assert found.top_logprobs[1] == [-0.25, -0.5, -1.0]


def test_an_end_token_has_no_bytes_wherever_it_stands():
    end, pieces = b"<|im_end|>", cut(TEXT, [7])
    tops = [[(pieces[0], 0.0), (end, -3.0)], [(pieces[1], -1.0)], [(end, -2.0), (b"x", -9.0)]]
    found = read_choice(chat([*pieces, end], tops), "top_logprobs", "here")
    assert found.pieces == [*pieces, b""] and found.finish == "eos"
    assert found.top_pieces[0] == [pieces[0], b""] and found.top_pieces[2] == [b"", b"x"]
    # of a stop string, whose tokens are logged, the first says that it has ended
    stopped = read_choice(chat([*pieces, b"\n", b"Q:"]), "logprobs", "here")
    assert stopped.pieces == [*pieces, b""] and stopped.logprobs == [0.0, -1.0, -2.0]
    empty = read_choice(chat([end], text=""), "logprobs", "here")
    assert empty.pieces == [b""] and empty.text == ""


def test_alternatives_whose_bytes_are_lost_are_left_out():
    tops = [[(TEXT.encode(), 0.0), (LOST.encode(), -1.0), (b"", -2.0), (b"x", -3.0)]]
    found = read_choice(chat([TEXT.encode(), b""], [*tops, []]), "top_logprobs", "here")
    assert found.top_pieces == [[TEXT.encode(), b"x"], [b""]]


def test_a_space_that_a_server_takes_away_is_no_part_of_the_first_token():
    pieces = [b" The", b" answer", b"\n"]
    tops = [[(b" The", 0.0), (b" It", -2.0), (b"It", -3.0)], [(b" end", -1.0)], [(b".", -1.0)]]

    def spelled(piece):
        return "<0x0A>" if piece == b"\n" else piece.decode().replace(" ", "\u2581")

    for name in (shown, spelled):
        choice = chat(pieces, tops, name=name, with_bytes=False, text="The answer\n")
        found = read_choice(choice, "top_logprobs", "here")
        assert found.pieces == [b"The", b" answer", b"\n"]
        assert found.top_pieces[0] == [b"The", b"It", b"It"]
        assert found.top_pieces[1] == [b" end", b" answer"]
    # a token of its own, as Llama 2 writes it
    found = read_choice(chat([b" ", *pieces], text=" The answer\n"), "logprobs", "here")
    assert found.pieces == pieces and found.logprobs == [-1.0, -2.0, -3.0]


def test_lost_bytes_are_those_of_the_text_where_no_other_are_possible():
    """vLLM tells of a part of a character the bytes of U+FFFD."""

    def lossy(pieces):
        return [shown(piece).encode() for piece in pieces]

    bytewise = [TEXT[:4].encode(), *(bytes((byte,)) for byte in "oë paie 3 €".encode())]
    pieces = [*bytewise, TEXT[15:].encode()]
    assert LOST.encode() in lossy(pieces)
    assert read_choice(chat(lossy(pieces)), "logprobs", "here").pieces == pieces
    own = [b"a", LOST.encode(), b"b"]  # the text itself has that letter
    found = read_choice(chat([*own, b"<end>"], text=f"a{LOST}b"), "logprobs", "here")
    assert found.pieces == [*own, b""]
    # as another release does it: nothing, and the whole character with its last byte
    euro, e = "€".encode(), "ë".encode()
    told = [TEXT[:4].encode(), b"o", b"", e, b" paie 3 ", b"", b"", euro, TEXT[15:].encode()]
    whole = [*told[:2], e[:1], e[1:], told[4], *(euro[n : n + 1] for n in range(3)), told[-1]]
    assert read_choice(chat(told), "logprobs", "here").pieces == whole
    # four bytes of two tokens, cut somewhere: the row is kept, and its tokens do not spell its text
    apart = cut(TEXT, [len(TEXT.encode()) - 1])
    found = read_choice(chat(lossy(apart)), "logprobs", "here")
    assert found.text == TEXT and b"".join(found.pieces) != TEXT.encode()
    assert len(found.pieces) == len(found.logprobs) == 2


PIECES = cut(TEXT, [3, 8])
NO_TOPS = completion(PIECES)
NO_TOPS["logprobs"]["top_logprobs"] = None
SHORT = completion(PIECES)
SHORT["logprobs"]["top_logprobs"].pop()
ECHO = completion(PIECES)
ECHO["logprobs"]["token_logprobs"][0] = None
IDS = chat([b"token_id:17"], text="17")
ODD = chat(PIECES, [[(b"a", -1.0)]] * 3)
ODD["logprobs"]["content"][1]["bytes"] = [300]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (chat(PIECES) | {"logprobs": None}, "f, row 3: no log-probabilities in it; ask"),
        (NO_TOPS, "f, row 3: no top_logprobs in it"),
        (SHORT, r"f, row 3: `top_logprobs` has 2 entries for 3 tokens"),
        (ECHO, "f, row 3, token 1: the log-probability is None"),
        (IDS, "token 'token_id:17' is an id"),
        (ODD, r"f, row 3, token 2: the bytes of token .* are \[300\]"),
        (chat(PIECES, text=TEXT[2:]), r"token 1 and on are b'Si Zo.*goes on with b' Zo"),
        (chat(PIECES[:-1], text=TEXT), r"token 3 and on are b'', the text goes on with b'paie"),
        (chat([*PIECES, b"x"], finish="length"), r"token 4 and on are b'x', the text .* b''"),
        ({"message": {"content": 3}}, "no text in it"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(choice, message):
    # the words themselves are looked at where they have alternatives or not
    with pytest.raises(TablesError, match=message):
        read_choice(choice, "logprobs" if "and on are" in message else "top_logprobs", "f, row 3")
