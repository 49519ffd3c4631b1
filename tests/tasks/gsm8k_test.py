"""GSM8K is the same wherever it is read from, and what is missing or malformed is named."""

from __future__ import annotations

import json
import os
import pathlib
import random
import sys
import types

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from verifier.errors import DataError, UserError
from verifier.tasks.gsm8k import HUB_FILE, load_gsm8k

REAL = pathlib.Path(
    os.environ.get("GSM8K_DIR") or pathlib.Path(__file__).parents[3] / "shared" / "data" / "gsm8k"
)


def row(split, n):
    return {
        "question": f"{split}: what is {n} + {n}?",
        "answer": f"It is {n}+{n}=<<{n}+{n}={2 * n}>>{2 * n}\n#### {2 * n:,}",
    }


ROWS = {split: [row(split, n) for n in range(490, 520)] for split in ("train", "test")}


@pytest.fixture
def folder(tmp_path):
    for split, rows in ROWS.items():
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def shuffled(split):
    return random.Random(7).sample(ROWS[split], len(ROWS[split]))


def write_hub_files(folder):
    for split in ROWS:
        path = folder / HUB_FILE.format(split=split)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(shuffled(split)), path)


def fake_tfds(monkeypatch):
    """TFDS as far as it is used: bytes, other fields beside, in an order of its own."""
    names = ("tensorflow_datasets", "tensorflow_datasets.text", "tensorflow_datasets.text.gsm8k")
    tfds, text, gsm8k = map(types.ModuleType, names)
    calls = []

    def data_source(name, *, split, builder_kwargs):
        calls.append((name, split, builder_kwargs))
        return [
            {"annotation": b"", "short_answer": b""}
            | {key: value.encode() for key, value in row.items()}
            for row in shuffled(split)
        ]

    tfds.data_source, tfds.text, text.gsm8k = data_source, text, gsm8k
    for module in (tfds, text, gsm8k):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_all_sources_agree_whatever_their_row_order(folder, tmp_path, monkeypatch):
    local = load_gsm8k(str(folder))
    calls = fake_tfds(monkeypatch)
    assert load_gsm8k(source="tfds") == local
    assert calls == [
        ("gsm8k", split, {"file_format": "array_record"}) for split in ("train", "test")
    ]
    hub = types.ModuleType("huggingface_hub")
    write_hub_files(tmp_path / "hub")
    hub.hf_hub_download = lambda repository, name, repo_type: (
        str(tmp_path / "hub" / name) if repository == "openai/gsm8k" else ""
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert load_gsm8k(source="hub") == local
    # A copy of the repository needs no such package.
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert load_gsm8k(str(tmp_path / "hub"), source="hub") == local


def test_problems(folder):
    splits = load_gsm8k(str(folder))
    assert {split: len(problems) for split, problems in splits.items()} == {"train": 30, "test": 30}
    for split, problems in splits.items():
        assert [problem.problem_id for problem in problems] == sorted(
            problem.problem_id for problem in problems
        )
        assert {(problem.split, problem.source) for problem in problems} == {(split, "gsm8k")}
        assert {problem.question: problem.solution for problem in problems} == {
            row["question"]: row["answer"] for row in ROWS[split]
        }
    assert {problem.answer for problem in splits["train"]} >= {"980", "1,000"}


def test_repeated_questions_stay_once_whatever_the_order(folder, capsys):
    path = folder / "train.jsonl"
    lines = path.read_text().splitlines()
    again = lines[0].replace("what is", "what  is")
    path.write_text("\n".join([*lines, again]))
    one = load_gsm8k(str(folder))
    assert (
        len(one["train"]) == 30 and "1 of 31 problems repeat a question" in capsys.readouterr().err
    )
    path.write_text("\n".join([again, *lines]))
    assert load_gsm8k(str(folder)) == one


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "q"}', r"train\.jsonl, line 3: no field 'answer'; it has question"),
        ('{"question": "q", ', r"train\.jsonl, line 3: not JSON"),
        ("[]", r"train\.jsonl, line 3: '\[\]'; expected an object"),
        (
            '{"question": "q", "answer": "It is 4."}',
            r"train\.jsonl, line 3: .*'It is 4\.'; expected '#### N'",
        ),
        ('{"question": "q", "answer": "It is 4.\\n#### "}', r"line 3: .*expected '#### N'"),
        (
            '{"question": 5, "answer": "x\\n#### 4"}',
            r"line 3: 5 where question or answer is expected",
        ),
        (
            '{"question": " ", "answer": "x\\n#### 4"}',
            r"line 3: ' ' where question or answer is expected",
        ),
    ],
)
def test_malformed_rows_are_named_by_file_and_line(folder, line, message):
    path = folder / "train.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]))
    with pytest.raises(DataError, match=message):
        load_gsm8k(str(folder))


def test_empty_and_torn_files_are_named(folder, monkeypatch):
    write_hub_files(folder)
    path = folder / HUB_FILE.format(split="test")
    pq.write_table(pq.ParquetFile(path).read().slice(0, 0), path)
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet is empty"):
        load_gsm8k(str(folder), source="hub")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"test-00000-of-00001\.parquet: not a whole Parquet file"):
        load_gsm8k(str(folder), source="hub")
    (folder / "train.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"train\.jsonl is empty"):
        load_gsm8k(str(folder))
    fake_tfds(monkeypatch)
    sys.modules["tensorflow_datasets"].data_source = lambda *_, **__: []
    with pytest.raises(DataError, match="TFDS gave an empty gsm8k, train"):
        load_gsm8k(source="tfds")


def test_missing_data_says_how_to_supply_them(tmp_path, monkeypatch):
    monkeypatch.delenv("GSM8K_DIR", raising=False)
    with pytest.raises(
        DataError,
        match=(
            r"train\.jsonl and test\.jsonl .from .*grade-school-math.*GSM8K_DIR=.*--set "
            r"data\.dir="
        ),
    ):
        load_gsm8k()
    monkeypatch.setenv("GSM8K_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match=r"elsewhere/train\.jsonl is not there .GSM8K_DIR="):
        load_gsm8k()
    with pytest.raises(DataError, match=r"data\.source is 'web'; expected one of local, tfds, hub"):
        load_gsm8k(source="web")


def test_missing_packages_and_networks_point_to_local_files(monkeypatch):
    for source, package, pip in (
        ("tfds", "tensorflow_datasets", "'tensorflow-datasets>="),
        ("hub", "huggingface_hub", "huggingface-hub"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(DataError, match=rf"pip install {pip}.*GSM8K_DIR"):
            load_gsm8k(source=source)

    def offline(*_, **__):
        raise ConnectionError("no network\nat all")

    hub = types.ModuleType("huggingface_hub")
    hub.hf_hub_download = offline
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(
        DataError,
        match=r"could not be fetched from the hub .no network.*HF_HUB_OFFLINE=1.*GSM8K_DIR",
    ):
        load_gsm8k(source="hub")
    fake_tfds(monkeypatch)
    sys.modules["tensorflow_datasets"].data_source = offline
    with pytest.raises(DataError, match=r"TFDS could not prepare gsm8k.*GSM8K_DIR"):
        load_gsm8k(source="tfds")


@pytest.mark.skipif(not (REAL / "train.jsonl").exists(), reason="no GSM8K here; set GSM8K_DIR")
def test_the_real_data():
    splits = load_gsm8k(str(REAL))
    assert {split: len(problems) for split, problems in splits.items()} == {
        "train": 7473,
        "test": 1319,
    }
    ids = {
        split: {problem.problem_id for problem in problems} for split, problems in splits.items()
    }
    assert len(ids["train"]) == 7473 and not ids["train"] & ids["test"]
    assert sum("," in problem.answer for problem in splits["train"]) == 79
