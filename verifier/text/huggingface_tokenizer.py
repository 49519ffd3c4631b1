"""Hugging Face tokenizer.json files as tokenizers, by the tokenizers package alone."""

from __future__ import annotations

import collections
import functools
import json
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers

from verifier.errors import TokenizerError
from verifier.system import atomic, text_files
from verifier.text import missing_characters
from verifier.text.decoder_bytes import piece_bytes_of

JSON_FILE = "tokenizer.json"
_BESIDE = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "config.json",
)
# Of a normalizer's steps those that make one space of several.
_FOLDING = [
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": new} for new in (" ", "▁")
]
# The largest vocabularies that are known have 2**18; each id is a row of the embedding.
_MOST_IDS = 2**22
_USUAL_ENDS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "[SEP]",
)


class HuggingFaceTokenizer:
    """A tokenizer.json; see `text.tokenizer.Tokenizer`.

    `end_found` says where the end token was found, `added` what has no piece in it and is given a
    token (`missing_characters`). Switched off: the dummy prefix space (a text may be a
    continuation), the folding of spaces, the trimming of spans, truncation, padding, and special
    tokens spelt out in a text: `<|im_end|>` in a question is nothing but these letters.
    """

    def __init__(
        self,
        source: str,
        beside: Mapping[str, dict[str, Any]],
        chat_template: str = "",
        name: str = JSON_FILE,
    ) -> None:
        """Reads the parts.

        `source`: contents of tokenizer.json; `beside`: of the files in `_BESIDE` that exist;
        `name`: its path, for messages.
        """
        self._config = dict(beside.get("tokenizer_config.json", {}))
        original = _build(source, name)
        source, self.added = missing_characters.completed(source)
        self._source, self.spells_all = source, missing_characters.spells_all(source)
        self.end_id, self.end_found = _find_end(original, beside, chat_template, name)
        self.start_ids = _find_start(original, self._config)
        self._tokenizer = _build(_plain(source, self.end_id), name)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        # Which of them an id is written as would change from one reading to the next.
        if len(vocabulary) > len(set(vocabulary.values())):
            twice, count = collections.Counter(vocabulary.values()).most_common(1)[0]
            shared = ", ".join(
                sorted(repr(piece) for piece, token in vocabulary.items() if token == twice)
            )
            raise TokenizerError(
                f"{name} has one id, {twice}, for {count} pieces ({shared:.200}); is it damaged?"
            )
        self.vocab_size: int = max(vocabulary.values()) + 1
        if self.vocab_size > _MOST_IDS:
            raise TokenizerError(
                f"{name} numbers its tokens up to {self.vocab_size - 1:,}, beyond "
                f"{_MOST_IDS - 1:,}; is it damaged?"
            )
        if any(token >= self.vocab_size for token in self.start_ids):
            raise TokenizerError(
                f"{name} puts the ids {self.start_ids} before a text, but has "
                f"{self.vocab_size:,} tokens; is it damaged?"
            )
        self.reserved_id: int = self.vocab_size

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens and without a space before it."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of a text and the characters each belongs to."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; incomplete characters become U+FFFD, special tokens nothing."""
        return self._tokenizer.decode(
            [int(token) for token in ids if token != self.end_id], skip_special_tokens=True
        )

    def token_text(self, token: int) -> str:
        """The text of one token."""
        return self.decode([token])

    def piece(self, token: int) -> str:
        """One token as tokenizer.json writes it; "" for an id without one."""
        return self._tokenizer.id_to_token(token) or ""

    def piece_bytes(self, token: int) -> bytes | None:
        """The bytes of one token, as the decoder makes them."""
        return self._bytes[token]

    @functools.cached_property
    def _bytes(self) -> list[bytes | None]:
        """What each token adds to a text, by id."""
        return piece_bytes_of(self._tokenizer, self.vocab_size)

    def save(self, folder: pathlib.Path) -> None:
        """Writes tokenizer.json as it was read, and a config that names the end token."""
        atomic.write_text(folder / JSON_FILE, self._source)
        config = self._config | {"eos_token": self._tokenizer.id_to_token(self.end_id)}
        atomic.write_json(folder / "tokenizer_config.json", config)

    def build(self) -> tokenizers.Tokenizer:
        """The same ids by the tokenizers package alone."""
        return _build(_plain(self._source, self.end_id), JSON_FILE)


def read_huggingface(path: pathlib.Path) -> HuggingFaceTokenizer:
    """The tokenizer of a tokenizer.json; the files beside it name its end token.

    Raises:
        TokenizerError: a file that cannot be read, or no end token.
    """
    beside = _beside(path)
    template = path.parent / "chat_template.jinja"
    inline = beside.get("tokenizer_config.json", {}).get("chat_template") or ""
    # Older ones list several, with names.
    inline = inline if isinstance(inline, str) else json.dumps(inline, ensure_ascii=False)
    chat = text_files.read_text(template, TokenizerError) if template.is_file() else inline
    with Reading(str(path)):
        return HuggingFaceTokenizer(
            text_files.read_text(path, TokenizerError), beside, chat, str(path)
        )


def huggingface_of(path: pathlib.Path, pieces: str) -> HuggingFaceTokenizer:
    """The same of a SentencePiece model that was built anew as a tokenizer.json, `pieces`.

    T5's has ids behind its pieces for gaps in a text, which the files beside it number.
    """
    beside = _beside(path)
    gaps = beside.get("tokenizer_config.json", {}).get("extra_ids")
    if type(gaps) is not int:
        gaps = 100 if beside.get("config.json", {}).get("model_type") == "t5" else 0
    with Reading(str(path)):
        return HuggingFaceTokenizer(
            missing_characters.with_gaps(pieces, gaps), beside, name=str(path)
        )


def _beside(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The settings in the folder of a tokenizer's file."""
    return {
        name: text_files.read_object(path.parent / name, TokenizerError)
        for name in _BESIDE
        if (path.parent / name).is_file()
    }


class Reading:
    """Names the file in what the tokenizers package raises over it.

    The package raises a plain `Exception`, which is met exactly, never a subclass; or, where its
    Rust code panics over a file that contradicts itself, an exception that derives from
    BaseException and whose class cannot be imported, so that it is known by its name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        panicked = kind is not None and (kind.__module__, kind.__name__) == (
            "pyo3_runtime",
            "PanicException",
        )
        if kind is Exception or panicked:
            version = f"tokenizers {tokenizers.__version__}"
            raise TokenizerError(
                f"{self._name} cannot be read by {version} ({error}); fetch it again, or take "
                "a newer version"
            ) from error


def _build(source: str, name: str) -> tokenizers.Tokenizer:
    with Reading(name):
        return tokenizers.Tokenizer.from_str(source)


def _plain(source: str, end_id: int) -> str:
    """The tokenizer without dummy prefix, post-processor and dropout.

    Spans are whole, and the end token is special.
    """
    parts = json.loads(source)
    if parts["model"].get("dropout"):
        parts["model"]["dropout"] = None  # a text would have other ids each time
    parts["post_processor"] = None  # its tokens are in start_ids; what else it does is trim spans
    normaliser = parts.get("normalizer")
    if isinstance(normaliser, dict):
        steps = normaliser["normalizers"] if normaliser["type"] == "Sequence" else [normaliser]
        kept = [step for step in steps if step["type"] != "Prepend" and step not in _FOLDING]
        parts["normalizer"] = (
            {"type": "Sequence", "normalizers": kept} if len(kept) > 1 else (kept or [None])[0]
        )
    parts["decoder"] = _without_prefix(parts.get("decoder"))
    parts["pre_tokenizer"] = _without_prefix(parts.get("pre_tokenizer"))
    for token in parts.get("added_tokens", []):
        token["special"] = token["special"] or token["id"] == end_id
    return json.dumps(parts, ensure_ascii=False)


def _without_prefix(part: Any) -> Any:
    """A pre-tokenizer or decoder that neither adds nor takes a space at the start."""
    if isinstance(part, list):
        kinds = {one.get("type") for one in part if isinstance(one, dict)}
        # T5's splits at spaces, newlines and all, before it writes them as pieces do.
        dropped = {"Strip", *({"WhitespaceSplit"} if "Metaspace" in kinds else ())}
        return [
            _without_prefix(one)
            for one in part
            if not (isinstance(one, dict) and one.get("type") in dropped)
        ]
    if not isinstance(part, dict):
        return part
    part = {key: _without_prefix(value) for key, value in part.items()}
    changes = {
        "Metaspace": {"prepend_scheme": "never", "add_prefix_space": False},
        "ByteLevel": {"add_prefix_space": False},
    }
    return part | changes.get(part.get("type", ""), {})


def _find_start(tokenizer: tokenizers.Tokenizer, config: Mapping[str, Any]) -> tuple[int, ...]:
    """What the post-processor puts before a text, or the begin token if the settings ask for it."""
    with_start = tokenizer.encode("1", add_special_tokens=True).ids
    plain = tokenizer.encode("1", add_special_tokens=False).ids
    for start in range(len(with_start) - len(plain) + 1):
        if with_start[start : start + len(plain)] == plain:
            if start:
                return tuple(with_start[:start])
            break
    begin = (
        tokenizer.token_to_id(_token_name(config.get("bos_token")))
        if config.get("add_bos_token") is True
        else None
    )
    return () if begin is None else (begin,)


def _find_end(
    tokenizer: tokenizers.Tokenizer,
    beside: Mapping[str, dict[str, Any]],
    chat_template: str,
    name: str,
) -> tuple[int, str]:
    """The end token and where it was found.

    Chat models may end in several ways; the one that closes a turn in the chat template is what
    they were taught to write. Else the tokenizer's own eos_token, else the model's eos_token_id,
    else a usual name.
    """
    candidates: list[tuple[int, str]] = []
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        token = tokenizer.token_to_id(_token_name(beside.get(file, {}).get("eos_token")))
        candidates += [] if token is None else [(token, f"eos_token of {file}")]
    for file in ("generation_config.json", "config.json"):
        ids = beside.get(file, {}).get("eos_token_id")
        for token in ids if isinstance(ids, list) else [ids]:
            if (
                type(token) is int
                and 0 <= token < _MOST_IDS
                and tokenizer.id_to_token(token) is not None
            ):
                candidates.append((token, f"eos_token_id of {file}"))
    for token, where in candidates:
        if (tokenizer.id_to_token(token) or "\0") in chat_template:
            return token, f"{where}, closes a turn in the chat template"
    for text in _USUAL_ENDS:
        token = tokenizer.token_to_id(text)
        candidates += (
            []
            if token is None
            else [(token, f"{text}, a usual name: no file beside it names an end token")]
        )
    if not candidates:
        raise TokenizerError(
            f"{name} has no end token: looked for eos_token or eos_token_id in "
            f"{', '.join(_BESIDE)} beside it,"
            f" and for {' '.join(_USUAL_ENDS)};"
            ' add a tokenizer_config.json with {"eos_token": "..."}'
        )
    return candidates[0]


def _token_name(token: Any) -> str:
    """The text of a token that settings give as a string or as an object; of anything else none."""
    name = token.get("content") if isinstance(token, dict) else token
    return name if isinstance(name, str) else ""
