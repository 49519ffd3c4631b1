"""Texts for plain language-model training: one document a line, or JSONL with a field "text". Knows no problem and no token."""

from __future__ import annotations

import json
import pathlib

from verifier.data.local_files import DataError, field


def read_corpus(path: pathlib.Path) -> list[str]:
    """The documents of a corpus, in the file's order; empty lines are passed over.

    Args:
        path: `*.jsonl` holds one object with a field "text" a line; any other file one document a line.

    Raises:
        DataError: the file is missing, has no document, or a line is not as expected (it is named).
    """
    if not path.is_file():
        raise DataError(f"{path} is not there; pretrain.corpus names a text file (one document a line) or .jsonl with a field 'text'")
    documents = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                text = _text(line, f"{path}, line {number}") if path.suffix == ".jsonl" else line
                if text.strip():
                    documents.append(text.strip())
    if not documents:
        raise DataError(f"{path} has no document; expected one a line")
    return documents


def _text(line: str, place: str) -> str:
    try:
        text = field(json.loads(line), "text", place)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON ({error.msg}); expected an object with the field 'text'") from error
    if not isinstance(text, str):
        raise DataError(f"{place}: 'text' is {text!r}; expected text")
    return text
