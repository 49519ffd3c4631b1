"""What the other rooms ask of a tokenizer, and how one is loaded."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from typing import Protocol

import tokenizers

from verifier.errors import TokenizerError
from verifier.system import log, paths, text_files
from verifier.text import missing_characters
from verifier.text.bytes_tokenizer import BYTES_FILE, ByteTokenizer
from verifier.text.huggingface_tokenizer import (
    JSON_FILE,
    HuggingFaceTokenizer,
    Reading,
    huggingface_of,
    read_huggingface,
)
from verifier.text.pieces import check_round_trip
from verifier.text.sentencepiece_tokenizer import (
    MODEL_FILE,
    read_sentencepiece,
    train_sentencepiece,
)

__all__ = [
    "ByteTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "same_ids",
    "train_sentencepiece",
]


class Tokenizer(Protocol):
    """Text to ids and back.

    A text may be a continuation: nothing is put before it, and it comes back unchanged.
    """

    vocab_size: int  # ids 0..vocab_size-1 may be written by a model
    end_id: int
    start_ids: tuple[int, ...]  # put before every prompt, often nothing
    reserved_id: int  # vocab_size: the value head's own id; no text encodes to it

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens."""

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text, and of each the start and end of its characters.

        All bytes of a character have its whole span.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids.

        Special tokens and the end are dropped, incomplete characters become U+FFFD.
        """

    def token_text(self, token: int) -> str:
        """What one token adds, for tables of triggers; special tokens add nothing."""

    def piece(self, token: int) -> str:
        """A token as the vocabulary writes it, special tokens by name; "" for an id without one."""

    def piece_bytes(self, token: int) -> bytes | None:
        """The bytes that one token adds to a text, parts of characters too.

        Special tokens add none; None where they are not known, as of the unknown piece.
        """

    def save(self, folder: pathlib.Path) -> None:
        """Writes what `load_tokenizer(folder)` needs to give it back."""

    def build(self) -> tokenizers.Tokenizer:
        """The same ids by the tokenizers package alone, special tokens named.

        Nothing is put before or behind a text.
        """


def load_tokenizer(path: pathlib.Path | str) -> Tokenizer:
    """The tokenizer of a folder or file.

    That texts come back from it has been seen; what it writes in a compatible form is said.

    Args:
        path: a tokenizer.json, a SentencePiece *.model, or a folder with one of them
            (tokenizer.json first) or with a saved byte tokenizer.

    Raises:
        TokenizerError: no such file, one that cannot be read, or a tokenizer that does not give
            texts back.
        UserError: no file system has such a path.
    """
    where = paths.to_path(path)
    file = _find(where if paths.is_remote(where) else paths.local(where))
    if _is_bytes(file):
        return ByteTokenizer()
    tokenizer = _read(file)
    lacks = isinstance(tokenizer, HuggingFaceTokenizer) and not tokenizer.spells_all
    with Reading(str(file)):
        rewritten = check_round_trip(tokenizer, str(file), spells_all=not lacks)
    if isinstance(tokenizer, HuggingFaceTokenizer) and tokenizer.added:
        log.say(missing_characters.said(str(file), tokenizer.added))
    if rewritten:
        log.say(rewritten)
    return tokenizer


def _read(file: pathlib.Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json or a SentencePiece model."""
    if file.suffix != ".model":
        return read_huggingface(file)
    tokenizer = read_sentencepiece(file)
    pieces = tokenizer.build().to_str()
    # What lacks characters is given them in the other form, which knows further tokens.
    return tokenizer if missing_characters.spells_all(pieces) else huggingface_of(file, pieces)


def same_ids(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether every id means the same to both.

    What a model with one of them wrote can then be read by a model with the other.
    """
    same = all(
        getattr(one, name) == getattr(other, name) for name in ("vocab_size", "end_id", "start_ids")
    )
    same = same and all(
        one.token_text(token) == other.token_text(token) for token in range(one.vocab_size)
    )
    # An export is read as another kind.
    return same and (type(one) is type(other) or _pieces(one) == _pieces(other))


def _pieces(tokenizer: Tokenizer) -> tuple[dict[str, int], object]:
    """Every piece with its id, and how pieces become text.

    As text alone, parts of characters would be all alike.
    """
    made = tokenizer.build()
    return made.get_vocab(with_added_tokens=True), json.loads(made.to_str())["decoder"]


def _find(path: pathlib.Path) -> pathlib.Path:
    """The file that holds the tokenizer."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise TokenizerError(f"there is no tokenizer at {path}: no such file or folder")
    for name in (JSON_FILE, MODEL_FILE, BYTES_FILE):
        if (path / name).is_file():
            return path / name
    models = sorted(path.glob("*.model"))
    if len(models) == 1:
        return models[0]
    text_files.refuse_dead_links(path, TokenizerError)
    if (path / "tekken.json").is_file():
        raise TokenizerError(
            f"{path / 'tekken.json'} is Mistral's own format, which is not read; take the "
            "model's tokenizer.json"
        )
    others = (
        f" ({', '.join(model.name for model in models)}: name the one you mean)" if models else ""
    )
    old = (
        "; vocab.json with merges.txt is not read: save it once as tokenizer.json"
        if (path / "merges.txt").is_file()
        else ""
    )
    raise TokenizerError(
        f"there is no tokenizer in {path}: looked for {JSON_FILE}, {MODEL_FILE} or one "
        f"*.model{others}, {BYTES_FILE}{old}"
    )


def _is_bytes(file: pathlib.Path) -> bool:
    """Whether a JSON file is a saved byte tokenizer."""
    if file.name != BYTES_FILE:
        return False
    if text_files.read_object(file, TokenizerError).get("kind") != "bytes":
        raise TokenizerError(
            f"{file} is not a saved byte tokenizer: its kind is not bytes; save it again"
        )
    return True
