"""Both forms of a corpus, and lines that are neither."""

from __future__ import annotations

import pytest

from verifier.errors import DataError
from verifier.tasks.corpus import read_corpus


def test_both_forms_give_the_same(tmp_path):
    (tmp_path / "a.txt").write_text("one text \n\nanother\n")
    (tmp_path / "a.jsonl").write_text(
        '{"text": "one text", "id": 1}\n{"text": " "}\n\n{"text": "another"}\n'
    )
    assert (
        read_corpus(tmp_path / "a.txt")
        == read_corpus(tmp_path / "a.jsonl")
        == ["one text", "another"]
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"text": "x"}\n{"body": "x"}',
            r"a\.jsonl, line 2: no field 'text'; it has body",
        ),
        ("a.jsonl", '{"text": ', r"a\.jsonl, line 1: not JSON"),
        ("a.jsonl", '{"text": 4}', r"line 1: 'text' is 4"),
        ("a.txt", " \n", r"a\.txt has no document"),
        ("b.txt", None, r"b\.txt is not there; pretrain\.corpus"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_corpus(tmp_path / name)
