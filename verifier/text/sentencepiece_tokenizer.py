"""SentencePiece models as tokenizers, and the training of one on problems."""

from __future__ import annotations

import collections
import io
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import sentencepiece
import tokenizers
from google.protobuf import message
from sentencepiece import sentencepiece_model_pb2
from tokenizers import decoders, models, normalizers

from verifier.errors import TokenizerError
from verifier.system import atomic, text_files
from verifier.text.pieces import byte_spans

MODEL_FILE = "tokenizer.model"
# How SentencePiece writes a space; in a text of its own it is spelt in bytes, else it would come
# back as a space.
_SPACE = "\u2581"
# Never merged with their neighbours: the marks that calculator and grader read.
_SYMBOLS = ("\n", "<<", ">>", "=", "####")
_FIXED_PIECES = 2 + len(_SYMBOLS) + 256  # unknown, end, marks, bytes
_TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n")  # a piece in base64 and its rank
_LEAST_ROOM = 16  # pieces for characters and merges, below which training is refused


class SentencePieceTokenizer:
    """A SentencePiece model; see `text.tokenizer.Tokenizer`.

    A model's dummy prefix space and its folding of spaces are switched off: a text may be a
    continuation and must come back unchanged. Its begin token, where it has one, is put before
    prompts unless `add_bos_token` says no.
    """

    def __init__(
        self, model: bytes, name: str = "a SentencePiece model", add_bos_token: bool = True
    ) -> None:
        """`model`: the contents of a *.model file; `name`: its path, for messages."""
        self._model = model
        self._add_bos_token = add_bos_token
        self._processor = _processor(model, name)
        size = self._processor.get_piece_size()
        self.vocab_size: int = size
        self.reserved_id: int = size
        self.end_id: int = self._processor.eos_id()
        if self.end_id < 0:
            raise TokenizerError(
                f"{name} has no end token (eos_id is {self.end_id}); take a model that was "
                "trained with one"
            )
        if self._processor.unk_id() < 0:
            raise TokenizerError(
                f"{name} has no unknown piece, which every SentencePiece model has; is it damaged?"
            )
        begin = self._processor.bos_id()
        self.start_ids: tuple[int, ...] = (begin,) if begin >= 0 and add_bos_token else ()
        self._bytes = [self._piece_bytes(token) for token in range(size)]
        spelt = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE.encode("utf-8")]
        self._space_ids = spelt if all(self._processor.is_byte(token) for token in spelt) else None

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens and without a space before it."""
        if self._space_ids is None or _SPACE not in text:
            return self._processor.encode(text)
        first, *others = text.split(_SPACE)
        ids = self._processor.encode(first)
        for part in others:
            ids += self._space_ids + self._processor.encode(part)
        return ids

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text and the characters each belongs to."""
        ids = self.encode(text)
        spans = byte_spans(text, [self._bytes[token] for token in ids])
        # A model that rewrites the text, or has no piece for a character: its own account of it.
        if spans is None:
            proto = self._processor.encode(text, out_type="proto")
            ids = [piece.id for piece in proto.pieces]
            spans = [(piece.begin, piece.end) for piece in proto.pieces]
        return ids, spans

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; incomplete characters become U+FFFD, special tokens nothing."""
        return b"".join(self._bytes[token] for token in ids).decode("utf-8", "replace")

    def token_text(self, token: int) -> str:
        """The text of one token."""
        return self._bytes[token].decode("utf-8", "replace")

    def piece(self, token: int) -> str:
        """One token as the model writes it, a space as U+2581."""
        return self._processor.id_to_piece(token)

    def piece_bytes(self, token: int) -> bytes | None:
        """The bytes of one token; the unknown piece's are not known."""
        return None if self._processor.is_unknown(token) else self._bytes[token]

    def save(self, folder: pathlib.Path) -> None:
        """Writes the model as it was given, and whether its begin token is used."""
        atomic.write_bytes(folder / MODEL_FILE, self._model)
        atomic.write_json(folder / "tokenizer_config.json", {"add_bos_token": self._add_bos_token})

    def build(self) -> tokenizers.Tokenizer:
        """The same ids by the tokenizers package alone.

        The exception is a text with SentencePiece's own space in it, which is read as a space.
        """
        return _build(_proto(self._model))

    def _piece_bytes(self, token: int) -> bytes:
        """What a token adds to a text."""
        if (
            self._processor.is_control(token)
            or self._processor.is_unknown(token)
            or self._processor.is_unused(token)
        ):
            return b""
        piece = self._processor.id_to_piece(token)
        if self._processor.is_byte(token):
            return bytes((int(piece[1:-1], 16),))
        return piece.replace(_SPACE, " ").encode("utf-8")


def train_sentencepiece(texts: Iterable[str], vocab_size: int) -> SentencePieceTokenizer:
    """A byte-pair model on texts.

    Words with their space are pieces; digits and the marks of annotations and answers stand alone.

    Every text comes back unchanged, since characters it does not know are spelt in bytes. The same
    texts give the same model.

    Args:
        texts: what it is to write; prompts and targets.
        vocab_size: pieces at most, 256 bytes among them; fewer where the texts do not hold so many.

    Raises:
        TokenizerError: no text, or too few pieces.
    """
    room = vocab_size - _FIXED_PIECES
    if room < _LEAST_ROOM:
        fixed = f"{_FIXED_PIECES} are fixed (bytes and marks)"
        raise TokenizerError(
            f"a vocabulary of {vocab_size} pieces is too small: {fixed}; take "
            f"{_FIXED_PIECES + 256} or more"
        )
    lines = _lines(list(texts), room // 2)
    if not lines:
        raise TokenizerError(
            "there is no text to train a tokenizer on; give the questions and solutions of the "
            "training problems"
        )
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        user_defined_symbols=list(_SYMBOLS),
        unk_id=0,
        eos_id=1,
        bos_id=-1,
        pad_id=-1,
        max_sentence_length=1 << 24,  # bytes; longer lines would be left out without a word
        num_threads=1,
        minloglevel=2,
    )
    return SentencePieceTokenizer(model.getvalue(), "the trained SentencePiece model")


def _lines(texts: Sequence[str], letters: int) -> list[str]:
    """The lines to train on, broken at rare letters and at SentencePiece's own space.

    Rare letters are spelt in bytes.
    """
    counts = collections.Counter(
        letter for text in texts for letter in text if letter not in ("\n", _SPACE)
    )
    common = {
        letter
        for letter, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:letters]
    }
    breaks = {ord(letter): "\n" for letter in {*counts, _SPACE} - common}
    return [line for text in texts for line in text.translate(breaks).split("\n") if line]


def read_sentencepiece(path: pathlib.Path) -> SentencePieceTokenizer:
    """The tokenizer of a *.model file.

    `add_bos_token` of a tokenizer_config.json beside it is heeded.

    Raises:
        TokenizerError: not a SentencePiece model.
    """
    beside = path.parent / "tokenizer_config.json"
    settings = text_files.read_object(beside, TokenizerError) if beside.is_file() else {}
    model = path.read_bytes()
    text_files.refuse_pointer(path, model[:64], TokenizerError)
    if _TIKTOKEN_LINE.match(model):
        raise TokenizerError(
            f"{path} is in tiktoken's format (Llama 3's own), which is no SentencePiece model; "
            "take the tokenizer.json of the model's Hugging Face folder"
        )
    return SentencePieceTokenizer(model, str(path), settings.get("add_bos_token") is not False)


def _processor(model: bytes, name: str) -> sentencepiece.SentencePieceProcessor:
    """A processor that adds no space before a text and keeps all its spaces."""
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=_proto(model).SerializeToString())
    except (message.DecodeError, RuntimeError) as error:
        raise TokenizerError(
            f"{name} is not a SentencePiece model ({error}); give the *.model file itself"
        ) from error


def _proto(model: bytes) -> Any:
    # Its classes are made at run time.
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    proto.ParseFromString(model)
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    return proto


def _build(proto: Any) -> tokenizers.Tokenizer:
    """A model in the tokenizers package: the same pieces, merged in the order of their scores."""
    pieces, kinds = list(proto.pieces), type(proto.pieces[0])
    ids = {piece.piece: token for token, piece in enumerate(pieces)}
    unknown = next(token for token, piece in enumerate(pieces) if piece.type == kinds.UNKNOWN)
    settings = {"byte_fallback": proto.trainer_spec.byte_fallback}
    model: models.Model
    if proto.trainer_spec.model_type == proto.trainer_spec.BPE:
        scores = {piece.piece: piece.score for piece in pieces if piece.type == kinds.NORMAL}
        pairs = [
            (whole, cut)
            for whole in scores
            for cut in range(1, len(whole))
            if whole[:cut] in scores and whole[cut:] in scores
        ]
        merges = [
            (whole[:cut], whole[cut:])
            for whole, cut in sorted(pairs, key=lambda pair: -scores[pair[0]])
        ]
        model = models.BPE(ids, merges, unk_token=pieces[unknown].piece, fuse_unk=True, **settings)
    else:
        model = models.Unigram(
            [(piece.piece, piece.score) for piece in pieces], unknown, **settings
        )
    made = tokenizers.Tokenizer(model)
    charsmap = proto.normalizer_spec.precompiled_charsmap
    rewrites = [normalizers.Precompiled(charsmap)] if charsmap else []
    made.normalizer = normalizers.Sequence([*rewrites, normalizers.Replace(" ", _SPACE)])
    made.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    for piece in pieces:  # found in a text before anything else
        if piece.type in (kinds.CONTROL, kinds.UNKNOWN):
            made.add_special_tokens([piece.piece])
        elif piece.type == kinds.USER_DEFINED:
            # Runs of spaces, as Gemma has them, are found where spaces are written as pieces write
            # them; a unigram model weighs them.
            spaces = isinstance(model, models.BPE) and _SPACE in piece.piece
            made.add_tokens([tokenizers.AddedToken(piece.piece, normalized=spaces, special=False)])
    return made
