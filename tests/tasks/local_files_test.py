"""The one reader of JSONL: rows with their places, and every error with file and line."""

from __future__ import annotations

import pytest

from verifier.errors import DataError, StoreError
from verifier.system.text_files import jsonl_rows, read_json, text_lines
from verifier.tables.reading import read_external
from verifier.tasks.corpus import read_corpus
from verifier.tasks.gsm8k import load_gsm8k

BROKEN = [
    (b'{"a": 1}\n\n{"a": \n', r"a\.jsonl, line 3: not JSON"),
    (b'{"a": 1}\n[2]\n', r"a\.jsonl, line 2: '\[2\]'; expected an object"),
    (
        b'{"a": 1}\r\n{"a": "caf\xe9"}\n',
        r"a\.jsonl, line 2: not UTF-8 .byte 0xe9 at position 11.*iconv",
    ),
    (b"\n  \n", r"a\.jsonl is empty"),
    (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        r"a\.jsonl is a Git LFS pointer.*git lfs pull",
    ),
    (None, r"a\.jsonl cannot be read .No such file"),
]


def test_rows_come_with_their_places(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes('\n{"a": "\u2028\u00e9"}\r\n  \n{"a": 2}'.encode())
    assert list(jsonl_rows(path)) == [
        ({"a": "\u2028\u00e9"}, f"{path}, line 2"),
        ({"a": 2}, f"{path}, line 4"),
    ]


def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert [row for row, _ in jsonl_rows(path)] == [read_json(path)] == [{"a": 1}]


@pytest.mark.parametrize(("content", "message"), BROKEN)
@pytest.mark.parametrize("error", [DataError, StoreError])
def test_what_is_broken_is_named_by_file_and_line(tmp_path, content, message, error):
    if content is not None:
        (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(error, match=message):
        list(jsonl_rows(tmp_path / "a.jsonl", error))


def test_all_readers_name_a_line_that_is_no_text(tmp_path):
    row = b'{"text": "x", "question": "q", "answer": "x\\n#### 1"}\n'
    for name in ("train.jsonl", "test.jsonl", "corpus.txt"):
        (tmp_path / name).write_bytes(row + b"\xff\n")
    line = r"line 2: not UTF-8 .byte 0xff at position 1"
    with pytest.raises(DataError, match=rf"train\.jsonl, {line}"):
        load_gsm8k(str(tmp_path))
    for name in ("train.jsonl", "corpus.txt"):
        with pytest.raises(DataError, match=f"{name}, {line}"):
            read_corpus(tmp_path / name)
    with pytest.raises(StoreError, match=rf"test\.jsonl, {line}"):
        read_external(tmp_path / "test.jsonl")
    with pytest.raises(DataError, match=r"corpus\.txt is not text"):
        read_json(tmp_path / "corpus.txt")
    with pytest.raises(DataError, match="cannot be read .Is a directory"):
        list(text_lines(tmp_path))
