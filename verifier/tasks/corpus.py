"""Texts for plain language-model training: one document a line, or JSONL with a field "text"."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from verifier.errors import DataError
from verifier.system.text_files import field, jsonl_rows, text_lines

_SUFFIXES = (".jsonl", ".txt")  # of the files of a folder that are read


class Span(NamedTuple):
    """Characters of a document that are told apart from the others."""

    start: int
    end: int
    kind: str


class Document(NamedTuple):
    """A text; of a generated one it is known which parts of it are hard to predict."""

    text: str
    spans: tuple[Span, ...] = ()


def read_corpus(path: pathlib.Path) -> list[str]:
    """The documents of a corpus, in the file's order; empty lines are passed over.

    Args:
        path: `*.jsonl` holds one object with a field "text" a line; any other file one document a
            line.

    Raises:
        DataError: the file is missing, has no document, or a line is not as expected (it is named).
    """
    if not path.is_file():
        raise DataError(
            f"{path} is not there; pretrain.corpus names a text file (one document a line) or "
            ".jsonl with a field 'text'"
        )
    documents = list(_documents(path))
    if not documents:
        raise DataError(f"{path} has no document; expected one a line")
    return documents


def stream_corpus(path: pathlib.Path) -> Iterator[str]:
    """The documents of a file, or of all `*.txt` and `*.jsonl` of a folder by name, as
    `read_corpus` reads one; no more than a line of them is held.

    Raises:
        DataError: there is nothing of that kind, or as `read_corpus`.
    """
    files = [path] if path.is_file() else []
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES)
    if not files:
        raise DataError(
            f"{path} holds no texts; expected a text file (one document a line), a .jsonl with a "
            f"field 'text', or a folder of *{' and *'.join(_SUFFIXES)}"
        )
    for file in files:
        yield from _documents(file)


def _documents(path: pathlib.Path) -> Iterator[str]:
    texts = _texts(path) if path.suffix == ".jsonl" else (line for line, _ in text_lines(path))
    return (text.strip() for text in texts if text.strip())


def _texts(path: pathlib.Path) -> Iterator[str]:
    for row, where in jsonl_rows(path):
        text = field(row, "text", where)
        if not isinstance(text, str):
            raise DataError(f"{where}: 'text' is {text!r}; expected text")
        yield text
