"""Sample files with odd values: taken as they are meant or refused by file and row, and no size is
believed before it is judged.
"""

from __future__ import annotations

import gzip
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.layouts_test import ROWS, figures, read, write
from verifier import rerank
from verifier.config import LabelConfig, ReportConfig
from verifier.errors import UserError
from verifier.ingest import json_rows
from verifier.report import aggregation
from verifier.rerank import Sources
from verifier.tables import expansion, parts


@pytest.mark.parametrize(
    "extra",
    [
        [2**70, 1, 2, 3],
        [[1], "x", {}, None],
        ["\ud83d", "a", "b", "c"],
        [True, 1.5, "x", []],
        [10**5000, 1, 1, 1],
    ],
    ids=["large", "kinds", "surrogate", "mixed", "digits"],
)
def test_a_column_that_nobody_needs_stops_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, extra: list
) -> None:
    wanted = figures(write(tmp_path / "plain.jsonl", ROWS))
    lines = [json.dumps({**row, "meta": "HERE"}) for row in ROWS]
    digits = [
        "1" * 5000 if isinstance(value, int) and value > 2**100 else json.dumps(value)
        for value in extra
    ]
    (tmp_path / "s.jsonl").write_text(
        "".join(
            line.replace('"HERE"', value) + "\n" for line, value in zip(lines, digits, strict=True)
        )
    )
    assert figures(tmp_path / "s.jsonl") == wanted


def test_twice_a_column_matters_only_where_it_is_needed(tmp_path: pathlib.Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(
        table.append_column("meta", table["score"]).append_column("meta", table["answer"]),
        tmp_path / "other.parquet",
    )
    assert figures(tmp_path / "other.parquet") == figures(write(tmp_path / "plain.jsonl", ROWS))
    pq.write_table(table.append_column("answer", table["answer"]), tmp_path / "needed.parquet")
    with pytest.raises(UserError, match="needed.parquet: column `answer` is there 2 times"):
        read(tmp_path / "needed.parquet")


def test_numbers_keep_all_their_digits_as_ids_and_as_gold_answers(tmp_path: pathlib.Path) -> None:
    ids = [1700000000000000.0, 1700000000000001.0, 2**70, 2**70 + 1, 0.1, 0.30000000000000004]
    rows = [{"problem_id": number, "answer": 18.0, "solution": "#### 18"} for number in ids]
    split = read(write(tmp_path / "ids.jsonl", rows))
    assert split.candidates.count_P.tolist() == [1] * 6 and set(split.gold.values()) == {"18"}
    pq.write_table(
        pa.table({"problem_id": ids[:2], "answer": [18.0] * 2, "solution": ["18"] * 2}),
        tmp_path / "ids.parquet",
    )
    assert len(read(tmp_path / "ids.parquet").candidates.count_P) == 2
    ends = ("51196733.33333333", "51196733.3333333")
    golds = [
        {"question": "q", "answer": 51196733.33333333, "solution": f"#### {text}"} for text in ends
    ]
    assert figures(write(tmp_path / "gold.jsonl", golds))[1] == [True, False]
    pq.write_table(
        pa.table(
            {"question": ["q"], "answer": pa.array([0.1], pa.float32()), "solution": ["#### 0.1"]}
        ),
        tmp_path / "f.parquet",
    )
    assert figures(tmp_path / "f.parquet")[1] == [True]


def test_halves_of_pairs_and_bytes_that_are_no_text_are_written_out(tmp_path: pathlib.Path) -> None:
    rows = [{**ROWS[0], "solution": "a \ud83d b\n#### 60"}]
    assert read(write(tmp_path / "s.jsonl", rows)).cells(np.array([0]), ["solution"])[
        "solution"
    ] == ["a \\ud83d b\n#### 60"]
    bad = pa.array([b"a \xff b\n#### 60"], pa.binary())
    for kind in (pa.binary(), pa.string()):
        text = pa.Array.from_buffers(kind, 1, bad.buffers())
        pq.write_table(
            pa.table({"question": ["q"], "answer": ["60"], "solution": text}),
            tmp_path / "s.parquet",
        )
        assert read(tmp_path / "s.parquet").cells(np.array([0]), ["solution"])["solution"] == [
            "a \\xff b\n#### 60"
        ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"question": ' + b"[" * 100_000,
            r"line 1: not JSON \((nested too deeply|Expecting value)",
        ),
        (b"[" * 100_000 + b"]" * 100_000, r"line 1: not JSON \(nested too deeply"),
        (b'{"a": 1}\n\xff{"a": 1}\n', "line 2: not UTF-8 .byte 0xff at position 1"),
        (b'{"a": 1}\n"text"\n', "line 2: '\"text\"'; expected an object"),
        (b'[{"a": 1},\n 3]', "item 2: '3'; expected an object"),
        (b'{"a": 1}\n{"a": \n', "line 2: not JSON"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer, not the file",
        ),
        (b"PK\x03\x04rest", "a zip archive: unpack it"),
        (
            gzip.compress(json.dumps(ROWS[0]).encode() + b"\n" + b'{"a": 1}\n' * 99, mtime=0)[:60],
            "cannot be read .*fetch a whole copy",
        ),
        (b"PAR1 and no more", "not a whole Parquet file"),
        (b"ARROW1\x00\x00 and no more", "cannot be read"),
        (b"\n\n", "is empty"),
        (b'{"a": "' + b"x" * 2000 + b'"}', r"line 1: longer than"),
    ],
)
def test_a_file_that_is_none_is_named_for_what_it_is(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, content, message
) -> None:
    monkeypatch.setattr(json_rows, "LONGEST", 2000 if b"xxx" in content else 1 << 20)
    (tmp_path / "s.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        read(tmp_path / "s.jsonl")
    assert "s.jsonl" in str(refusal.value)


def test_a_text_that_stands_once_and_is_meant_for_every_row_is_not_unpacked(
    tmp_path: pathlib.Path, monkeypatch
) -> None:
    monkeypatch.setattr(expansion, "ROOM", 1 << 20)
    texts = ["x" * 50_000 + "\n#### 60", "#### 5"]

    def table(names: list[int], salt: bool) -> pa.Table:
        solution = pa.DictionaryArray.from_arrays(pa.array(names, pa.int32()), pa.array(texts))
        noise = [f"{n * 7919 % 10007}" if salt else "q" for n in range(len(names))]
        return pa.table({"question": noise, "answer": ["60"] * len(names), "solution": solution})

    pq.write_table(
        table([0] * 4000, salt=False),
        tmp_path / "bomb.parquet",
        compression="zstd",
        store_schema=False,
    )
    with pytest.raises(
        UserError,
        match=(
            r"bomb.parquet: [\d,]+ bytes that ask for 0.2 GB; no honest table is packed like "
            r"that"
        ),
    ):
        read(tmp_path / "bomb.parquet")
    lists = pa.table(
        {"problem": ["q"], "answer": ["60"], "completions": pa.array([texts[:1] * 4000])}
    )
    pq.write_table(lists, tmp_path / "lists.parquet", compression="zstd", store_schema=False)
    with pytest.raises(UserError, match=r"lists.parquet: [\d,]+ bytes that ask for 0.2 GB"):
        read(tmp_path / "lists.parquet")
    honest = [0 if n % 40 == 3 else 1 for n in range(4000)]
    pq.write_table(table(honest, salt=True), tmp_path / "honest.parquet", store_schema=False)
    footer = pq.read_metadata(tmp_path / "honest.parquet")
    pieces = list(parts.decode_group(tmp_path / "honest.parquet", footer, 0, ["solution"], 1 << 16))
    assert len(pieces) > 1 and [
        text for piece in pieces for text in piece["solution"].to_pylist()
    ] == [texts[index] for index in honest]


def report(path: pathlib.Path, out: pathlib.Path) -> tuple[dict, str]:
    table = rerank.rerank(
        Sources(path), out, ReportConfig(ks=(1, 3), resamples=20), LabelConfig(), seed=0
    )
    return json.loads((out / "metrics.json").read_text())["splits"]["test"], table


@pytest.mark.parametrize(
    ("low", "high", "probable"),
    [(-3.0, -0.5, False), (0.0, 5.0, False), (-40.0, 40.0, False), (-0.03, 1.04, True)],
)
def test_what_needs_probabilities_is_left_out_of_other_scores_and_said(
    tmp_path: pathlib.Path, low, high, probable
) -> None:
    rows = [
        {
            "question": f"q{n % 3}",
            "answer": "1",
            "solution": f"#### {n % 2}",
            "score": number,
            "token_scores": [number] * 2,
        }
        for n, number in enumerate(np.linspace(low, high, 12).tolist())
    ]
    test, table = report(write(tmp_path / "s.jsonl", rows), tmp_path / "out")
    kept = [
        test["weighted_vote"],
        test["verifier"]["brier"],
        test["verifier"]["ece"],
        test["aggregations"]["last"]["weighted_vote"],
    ]
    assert [value is not None for value in kept] == [probable] * 4
    assert (
        "are no probabilities: the weighted vote, the Brier score and the ECE"
        in table.replace("\n", " ")
    ) == (not probable)
    assert (
        test["best_of_n"]
        and test["verifier"]["auroc"] is not None
        and aggregation.AGGREGATIONS[0] in test["aggregations"]
    )


def test_two_gold_answers_are_two_numbers(tmp_path: pathlib.Path) -> None:
    same = [
        {"question": "q", "answer": text, "solution": "#### 18"}
        for text in ("18", "18.0", "worked\n#### 18", 18)
    ]
    assert figures(write(tmp_path / "same.jsonl", same))[1] == [True] * 4
    with pytest.raises(UserError, match="has two gold answers, '18' and '19'"):
        read(write(tmp_path / "two.jsonl", [*same, {**same[0], "answer": 19}]))
