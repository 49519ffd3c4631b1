"""Texts for plain language-model training: one document a line, or JSONL with a field "text"."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

from verifier.errors import DataError
from verifier.system.text_files import field, jsonl_rows, text_lines


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
    texts = _texts(path) if path.suffix == ".jsonl" else (line for line, _ in text_lines(path))
    documents = [text.strip() for text in texts if text.strip()]
    if not documents:
        raise DataError(f"{path} has no document; expected one a line")
    return documents


def _texts(path: pathlib.Path) -> Iterator[str]:
    for row, where in jsonl_rows(path):
        text = field(row, "text", where)
        if not isinstance(text, str):
            raise DataError(f"{where}: 'text' is {text!r}; expected text")
        yield text
