"""What holds for every tokenizer, and what each kind does in its own way."""

import io
import json

import hypothesis
import pytest
import sentencepiece
import tokenizers
from hypothesis import strategies as st

from verifier.errors import TokenizerError
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.calculator import annotations
from verifier.text.decoder_bytes import piece_bytes_of
from verifier.text.sentencepiece_tokenizer import train_sentencepiece
from verifier.text.tokenizer import load_tokenizer, same_ids
from verifier.text.transformers_tokenizer import save_for_transformers

LINES = [
    "Natalia sold 48 apples in April, and then half as many apples in May for $3 each.",
    "She sold 48/2 = <<48/2=24>>24 apples in May.",
    "Altogether she sold 48+24 = <<48+24=72>>72 apples, for 72*3=$<<72*3=216>>216.",
    "It costs 5=$5 or 7=$7; a=$b.",
    "#### 216",
]
TEXT = "\n".join(LINES)


def _huggingface(
    folder, special=("<|end|>", "<|other|>"), post_processor=None, trim=True, **config
):
    """A byte-level BPE in which `=` merges with `$`."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=True, trim_offsets=trim
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=340,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(special),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES * 4 + ["=$"] * 99, trainer)
    if special:
        tokenizer.add_tokens(["<tool>"])
    tokenizer.post_processor = post_processor or tokenizers.processors.ByteLevel(trim_offsets=True)
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def _metaspace(folder, old):
    """A tokenizer.json in the manner of Llama 2: it puts a space before every text and takes it
    away again.
    """
    letters = sorted({*TEXT.replace(" ", "▁")} | {"▁"})
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["<unk>", "<s>", "</s>", *bytes_, *letters, "▁a", "▁s"]
    model = tokenizers.models.BPE(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=[("▁", "a"), ("▁", "s")],
        unk_token="<unk>",
        byte_fallback=True,
    )
    tokenizer = tokenizers.Tokenizer(model)
    if old:
        normalizers = tokenizers.normalizers
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(
            prepend_scheme="first", split=False
        )
    decoders = tokenizers.decoders
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": 2}))
    return folder


def _gemma(folder):
    """A tokenizer.json in the manner of Gemma 3: other special tokens, no dummy prefix, runs of
    white space as added tokens.
    """
    letters = sorted({*TEXT.replace(" ", "▁")} | {"▁"})
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *bytes_, *letters, "▁a", "▁▁"]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    merges = [("▁", "a"), ("▁", "▁")]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(" ", "merged_with_previous")
    decoders = tokenizers.decoders
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 2)]
    )
    tokenizer.add_special_tokens(["<pad>", "<eos>", "<bos>", "<unk>"])
    tokenizer.add_tokens(
        [
            tokenizers.AddedToken(text, normalized=False)
            for text in ("\n", "\n\n", "▁▁", "<end_of_turn>")
        ]
    )
    tokenizer.add_special_tokens(["<image_soft_token>"])
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<eos>", "bos_token": "<bos>", "add_bos_token": True})
    )
    return folder


def _imported_sentencepiece(folder):
    """A SentencePiece model in the manner of Llama 2: dummy prefix, begin token, byte fallback."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 4),
        model_writer=model,
        model_type="bpe",
        vocab_size=360,
        byte_fallback=True,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    folder.mkdir(exist_ok=True)
    (folder / "imported.model").write_bytes(model.getvalue())
    return folder


KINDS = {
    "bytes": lambda folder: ByteTokenizer(),
    "trained": lambda folder: train_sentencepiece([TEXT] * 3, 400),
    "byte level": lambda folder: load_tokenizer(_huggingface(folder / "h", eos_token="<|end|>")),
    "prepend": lambda folder: load_tokenizer(_metaspace(folder / "p", old=True)),
    "metaspace": lambda folder: load_tokenizer(_metaspace(folder / "m", old=False)),
    "gemma": lambda folder: load_tokenizer(_gemma(folder / "g")),
    "imported": lambda folder: load_tokenizer(_imported_sentencepiece(folder / "f")),
}


@pytest.fixture(scope="module", params=list(KINDS))
def tokenizer(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp("tokenizer"))


# U+2581 is how tokenizers of the Llama kind write a space; U+FFFD is what decoding writes for half
# a character
ANY_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\u2581\ufffd"), max_size=40
)
MATHS = st.text(alphabet="0123456789 =<>#$.*/ab\n", max_size=40)


@hypothesis.given(
    text=ANY_TEXT | MATHS | st.sampled_from(["<|end|>", "<|other|> </s><s>", "a <tool> b", *LINES])
)
@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None
)
def test_round_trip_and_spans(tokenizer, text):
    ids, spans = tokenizer.encode_with_spans(text)
    assert ids == tokenizer.encode(text)
    assert tokenizer.decode([*tokenizer.start_ids, *ids, tokenizer.end_id]) == text
    assert all(0 <= token < tokenizer.vocab_size and token != tokenizer.end_id for token in ids)
    assert sorted({index for start, end in spans for index in range(start, end)}) == list(
        range(len(text))
    )
    assert spans == sorted(spans)
    for token, (start, end) in zip(ids, spans, strict=True):
        assert tokenizer.token_text(token) in (
            text[start:end],
            "\ufffd" * len(tokenizer.token_text(token)),
        )


@hypothesis.given(cut=st.integers(0, len(TEXT)))
@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None
)
def test_continuations_get_no_space(tokenizer, cut):
    assert tokenizer.decode(tokenizer.encode(TEXT[:cut]) + tokenizer.encode(TEXT[cut:])) == TEXT


@hypothesis.given(text=ANY_TEXT | MATHS | st.sampled_from(["a <tool> b", "5 \U0001f600", *LINES]))
@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None
)
def test_the_bytes_of_the_pieces_are_those_of_the_text(tokenizer, text):
    ids = [*tokenizer.start_ids, *tokenizer.encode(text), tokenizer.end_id]
    assert b"".join(tokenizer.piece_bytes(token) for token in ids) == text.encode()
    vocabulary = tokenizer.build().get_vocab(with_added_tokens=True)
    assert all(vocabulary[tokenizer.piece(token)] == token for token in ids)


def test_pieces_whose_bytes_nobody_knows(tmp_path):
    trained = KINDS["trained"](None)
    assert trained.piece(0) == "<unk>" and trained.piece_bytes(0) is None
    gemma = KINDS["gemma"](tmp_path)
    assert gemma.piece(3) == "<unk>" and gemma.piece_bytes(3) is None
    ids = range(gemma.vocab_size)
    assert gemma.piece_bytes(next(n for n in ids if gemma.piece(n) == "\u2581a")) == b" a"


@pytest.mark.parametrize(
    ("decoder", "pieces"),
    [
        (tokenizers.decoders.WordPiece(prefix="##"), [b" egg", b"s"]),
        (tokenizers.decoders.Metaspace(prepend_scheme="never"), [b"egg", b"##s"]),
        (tokenizers.decoders.BPEDecoder(), [None, None]),
        (None, [None, None]),
    ],
)
def test_the_decoder_says_what_a_piece_is(decoder, pieces):
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(vocab={"egg": 0, "##s": 1, "?": 2}, unk_token="?")
    )
    if decoder:
        made.decoder = decoder
    made.add_special_tokens(["[SEP]"])
    separator = made.token_to_id("[SEP]")
    found = piece_bytes_of(made, 6)
    assert found[:2] == pieces and found[2] is None
    assert found[separator] == found[5] == b""  # special, and an id without a piece


def test_ids_and_reserved_id(tokenizer):
    assert tokenizer.reserved_id == tokenizer.vocab_size
    assert 0 <= tokenizer.end_id < tokenizer.vocab_size
    assert tokenizer.decode([tokenizer.end_id]) == tokenizer.token_text(tokenizer.end_id) == ""
    assert all(
        isinstance(tokenizer.token_text(token), str) for token in range(tokenizer.vocab_size)
    )


def test_saved_and_loaded_again(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new" / "folder")
    again = load_tokenizer(tmp_path / "new" / "folder")
    for name in ("vocab_size", "end_id", "reserved_id", "start_ids"):
        assert getattr(again, name) == getattr(tokenizer, name)
    assert again.encode(TEXT) == tokenizer.encode(TEXT)


def test_equals_may_be_merged(tmp_path):
    """Trap: `=` hides in `=$`, so triggers must be found by text."""
    tokenizer = KINDS["byte level"](tmp_path)
    assert "=$" in [tokenizer.token_text(token) for token in tokenizer.encode("72*3=$5")]


def test_spans_find_what_the_calculator_writes():
    tokenizer = KINDS["trained"](None)
    ids, spans = tokenizer.encode_with_spans(LINES[1])
    (annotation,) = annotations(LINES[1])
    inside = [
        token
        for token, (start, end) in zip(ids, spans, strict=True)
        if annotation.start <= start and end <= annotation.end
    ]
    assert tokenizer.decode(inside) == "24>>"


def test_half_a_character_is_marked():
    tokenizer = ByteTokenizer()
    ids, spans = tokenizer.encode_with_spans("aé")
    assert spans == [(0, 1), (1, 2), (1, 2)]
    assert tokenizer.decode(ids[:2]) == "a\ufffd"


def test_trained_pieces():
    tokenizer = KINDS["trained"](None)
    pieces = [
        tokenizer.token_text(token)
        for token in tokenizer.encode(" sold 48 apples\n\n<<48+24==>>#### 72")
    ]
    assert pieces == [
        " sold",
        " ",
        "4",
        "8",
        " apples",
        "\n",
        "\n",
        "<<",
        "4",
        "8",
        "+",
        "2",
        "4",
        "=",
        "=",
        ">>",
        "####",
        " ",
        "7",
        "2",
    ]
    assert tokenizer.start_ids == ()


def test_marks_never_merge():
    tokenizer = train_sentencepiece(["a==b>>####<<c=>>"] * 50, 400)
    pieces = [tokenizer.token_text(token) for token in tokenizer.encode("a==b>>####<<c=>>")]
    assert pieces == ["a", "=", "=", "b", ">>", "####", "<<", "c", "=", ">>"]


def test_training_is_deterministic_and_bounded(tmp_path):
    train_sentencepiece([TEXT, LINES[0]], 400).save(tmp_path / "a")
    train_sentencepiece(iter([TEXT, LINES[0]]), 400).save(tmp_path / "b")
    assert (tmp_path / "a/tokenizer.model").read_bytes() == (
        tmp_path / "b/tokenizer.model"
    ).read_bytes()
    assert train_sentencepiece([TEXT], 300).vocab_size <= 300
    assert train_sentencepiece(["one egg"], 5000).vocab_size < 400


def test_a_small_vocabulary_spells_rare_letters():
    text = "".join(chr(0x4E00 + index) for index in range(200)) + " eggs ▁ eggs\t"
    tokenizer = train_sentencepiece([text], 300)
    assert tokenizer.vocab_size <= 300
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_with_spans(text)[1][-1] == (len(text) - 1, len(text))


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [([], 400, "no text"), (["\n"], 400, "no text"), ([TEXT], 200, "too small.*519")],
)
def test_training_that_cannot_be(texts, size, message):
    with pytest.raises(TokenizerError, match=message):
        train_sentencepiece(texts, size)


def test_added_tokens_count(tmp_path):
    tokenizer = KINDS["byte level"](tmp_path)
    assert "<tool>" in [tokenizer.token_text(token) for token in tokenizer.encode("<tool>")]
    assert max(tokenizer.encode("<tool>")) == tokenizer.vocab_size - 1


def test_an_end_token_spelt_out_in_a_text_is_only_letters(tmp_path):
    # An added token that its file does not call special.
    tokenizer = load_tokenizer(_huggingface(tmp_path / "t", eos_token="<tool>"))
    assert tokenizer.end_id not in tokenizer.encode("<tool>")
    assert tokenizer.decode(tokenizer.encode("<tool>")) == "<tool>"


def _ends(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    loaded = load_tokenizer(folder)
    return loaded._tokenizer.id_to_token(loaded.end_id), loaded.end_found


def test_where_the_end_token_is_found(tmp_path):
    folder = _huggingface(tmp_path / "t", special=("<|end|>", "<|turn|>", "<|stop|>"))
    assert _ends(folder)[0] == "<|end|>"
    assert "usual name" in _ends(folder)[1]
    assert _ends(folder, config={"eos_token_id": 2}) == ("<|stop|>", "eos_token_id of config.json")
    assert _ends(folder, generation_config={"eos_token_id": [0, 1]}) == (
        "<|end|>",
        "eos_token_id of generation_config.json",
    )
    assert _ends(folder, tokenizer_config={"eos_token": {"content": "<|stop|>"}}) == (
        "<|stop|>",
        "eos_token of tokenizer_config.json",
    )
    (folder / "chat_template.jinja").write_text("{{ message }}<|turn|>")
    assert _ends(folder)[0] == "<|turn|>"
    assert "chat template" in _ends(folder)[1]


def test_no_end_token_is_an_error(tmp_path):
    with pytest.raises(TokenizerError, match="no end token.*tokenizer_config.json"):
        load_tokenizer(_huggingface(tmp_path / "t", special=()))


def test_start_tokens(tmp_path):
    template = tokenizers.processors.TemplateProcessing(
        single="<|other|> $A <|end|>", special_tokens=[("<|other|>", 1), ("<|end|>", 0)]
    )
    assert load_tokenizer(_huggingface(tmp_path / "a", post_processor=template)).start_ids == (1,)
    assert load_tokenizer(
        _huggingface(tmp_path / "b", add_bos_token=True, bos_token="<|other|>")
    ).start_ids == (1,)
    assert (
        load_tokenizer(
            _huggingface(tmp_path / "c", add_bos_token=False, bos_token="<|other|>")
        ).start_ids
        == ()
    )
    gemma = load_tokenizer(_gemma(tmp_path / "g"))
    assert (gemma.start_ids, gemma.end_id) == ((2,), 1)
    assert (
        gemma.encode("<bos>")[0] != 2
        and gemma.decode(gemma.encode("<bos>\n\n<end_of_turn>")) == "<bos>\n\n<end_of_turn>"
    )
    folder = _imported_sentencepiece(tmp_path / "d")
    assert load_tokenizer(folder / "imported.model").start_ids == (1,)
    (folder / "tokenizer_config.json").write_text('{"add_bos_token": false}')
    assert load_tokenizer(folder).start_ids == ()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, None, "no such file or folder"),
        ("other.txt", b"", "no tokenizer in .*tokenizer.json.*tokenizer.model"),
        ("merges.txt", b"", "merges.txt is not read"),
        ("tokenizer.json", b"{", "cannot be read"),
        ("tokenizer.json", b"{}", "cannot be read"),
        ("tokenizer.json", b"\xff\xfe", "is not text"),
        ("tokenizer.model", b"hello", "not a SentencePiece model"),
        ("tokenizer.model", b"", "not a SentencePiece model"),
        ("bytes_tokenizer.json", b"[]", "expected an object"),
        ("bytes_tokenizer.json", b"{}", "not a saved byte tokenizer"),
    ],
)
def test_what_cannot_be_loaded_is_named(tmp_path, name, content, message):
    folder = tmp_path / "folder"
    if name:
        folder.mkdir()
        (folder / name).write_bytes(content)
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(folder)


def test_ids_are_the_same_only_where_every_one_means_the_same(tmp_path):
    small, large = train_sentencepiece(LINES * 20, 300), train_sentencepiece(LINES * 20, 310)
    small.save(tmp_path)
    assert same_ids(small, load_tokenizer(tmp_path)) and same_ids(ByteTokenizer(), ByteTokenizer())
    assert not same_ids(small, large) and not same_ids(small, ByteTokenizer())
    for each in (small, ByteTokenizer()):
        save_for_transformers(each, tmp_path / "exported")
        assert same_ids(each, load_tokenizer(tmp_path / "exported")) and not same_ids(
            large, load_tokenizer(tmp_path / "exported")
        )
    shuffled = load_tokenizer(tmp_path)
    shuffled.token_text = lambda token: small.token_text((token + 1) % small.vocab_size)
    assert not same_ids(small, shuffled)
