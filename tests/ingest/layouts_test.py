"""Other people's sample files: each layout, each format, and files with one solution a row or many
give the figures of the plain one.
"""

from __future__ import annotations

import bz2
import gzip
import json
import pathlib
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from verifier import rerank
from verifier.config import LabelConfig
from verifier.errors import UserError
from verifier.ingest import external, layouts
from verifier.rerank import Sources
from verifier.tables.split_rows import SplitRows
from verifier.text.split import TEST

ASKED, OTHER = (
    "A coach seats 30. How many seats have 2 coaches?",
    "Lea reads 4 of 9 pages. How many are left?",
)
ROWS = [
    {"question": ASKED, "answer": "60", "solution": "2*30\n#### 60", "score": 0.75},
    {"question": ASKED, "answer": "60", "solution": "30+2\n#### 32", "score": 0.25},
    {"question": OTHER, "answer": "5", "solution": "#### 5", "score": 0.5},
    {"question": OTHER, "answer": "5", "solution": "#### 13", "score": 0.125},
]


def read(path: pathlib.Path, layout: str = "auto", **fields: str) -> SplitRows:
    return rerank.read(Sources(path, how=external.Reading(layout, fields)), LabelConfig())[TEST]


def figures(
    path: pathlib.Path, layout: str = "auto", **fields: str
) -> tuple[list[int], list[bool], list[float] | None]:
    """Samples of each problem; verdict and score of each, best first."""
    ranked = read(path, layout, **fields).candidates
    return (
        ranked.count_P.tolist(),
        ranked.correct_C.tolist(),
        None if ranked.score_C is None else ranked.score_C.tolist(),
    )


def write(path: pathlib.Path, rows: list[Any]) -> pathlib.Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


Rows = list[dict[str, Any]]


def nested(
    rows: Rows, solution: str, score: str, question: str = "problem", answer: str = "answer"
) -> Rows:
    """One row a problem, solutions and scores in lists."""
    out: dict[str, dict[str, Any]] = {}
    for row in rows:
        made = out.setdefault(
            row["question"],
            {question: row["question"], answer: row["answer"], solution: [], score: []},
        )
        made[solution].append(row["solution"])
        made[score].append(row["score"])
    return list(out.values())


LAYOUTS: dict[str, list[dict[str, Any]]] = {
    "nested": nested(ROWS, "solutions", "score", "question"),
    "search_and_learn": [
        {
            **row,
            "solution": "the data set's\n#### 1",
            "scores": [[0.9, score] for score in row["scores"]],
            "agg_scores": row["scores"],
        }
        for row in nested(ROWS, "completions", "scores")
    ],
    "openr": [
        {
            "question": row["q"],
            "groundtruth": row["gold"],
            "output": [
                {"text": text, "value": [0.1, value]}
                for text, value in zip(row["texts"], row["values"], strict=True)
            ],
        }
        for row in nested(ROWS, "texts", "values", "q", "gold")
    ],
    "ovm": [
        {
            "idx": 0,
            "question": row["q"],
            "answer": "worked out\nThe answer is 9",
            "ground_truth": row["gold"],
            "outputs": [
                {"response": text, "label": "x", "vscore": v}
                for text, v in zip(row["texts"], row["values"], strict=True)
            ],
        }
        for row in nested(ROWS, "texts", "values", "q", "gold")
    ],
    "nemo": [
        {
            "problem": row["question"],
            "expected_answer": row["answer"],
            "generation": row["solution"],
            "predicted_answer": "1",
            "reward_model_score": row["score"],
        }
        for row in ROWS
    ],
}
UNSCORED: dict[str, list[dict[str, Any]]] = {
    "lm_eval": [
        {
            "doc_id": n,
            "doc": {"question": row["question"]},
            "target": row["answer"],
            "resps": [row["texts"]],
            "filtered_resps": ["7"],
        }
        | {"filter": which}
        for which in ("strict-match", "flexible-extract")
        for n, row in enumerate(nested(ROWS, "texts", "values", "question"))
    ],
    "openai": [
        {"question": row["question"], "ground_truth": row["answer"]}
        | {f"{n}b": {"solution": text, "is_correct": None} for n, text in enumerate(row["texts"])}
        for row in nested(ROWS, "texts", "values", "question")
    ],
    "math_eval": [
        {
            **row,
            "gt": row["answer"],
            "solution": "of the data set\n#### 1",
            "score": [True, False],
            "pred": ["1", "2"],
        }
        for row in nested(ROWS, "code", "_", "question")
    ],
    "abel": [
        {
            "prompt": row["question"],
            "response": row["solution"],
            "pred": "3",
            "gold": row["answer"],
            "result": True,
        }
        for row in ROWS
    ],
    "openmathinstruct": [
        {
            "question": row["question"],
            "generated_solution": row["solution"],
            "expected_answer": row["answer"],
            "is_correct": True,
        }
        for row in ROWS
    ],
    "flat": [
        {"problem": row["question"], "completion": row["solution"], "ground_truth": row["answer"]}
        for row in ROWS
    ],
}


@pytest.mark.parametrize("layout", [*LAYOUTS, *UNSCORED])
def test_a_layout_is_recognised_said_and_gives_the_figures_of_the_plain_file(
    tmp_path: pathlib.Path, capsys, layout: str
) -> None:
    counts, verdicts, scores = figures(write(tmp_path / "plain.jsonl", ROWS))
    capsys.readouterr()
    theirs = write(tmp_path / "theirs.jsonl", LAYOUTS.get(layout) or UNSCORED[layout])
    assert figures(theirs) == (counts, verdicts, scores if layout in LAYOUTS else None)
    said = capsys.readouterr().err
    assert f"theirs.jsonl: layout {layout}: " in said and said.count("\n") == 1
    table = pa.Table.from_pylist(LAYOUTS.get(layout) or UNSCORED[layout])
    pq.write_table(table, tmp_path / "theirs.parquet", row_group_size=1)
    assert figures(tmp_path / "theirs.parquet") == figures(theirs)


def test_a_batch_of_requests_finds_its_gold_answers_by_id(tmp_path: pathlib.Path) -> None:
    def answered(name: str, *texts: str) -> dict[str, Any]:
        choices = [
            {"index": n, "message": {"role": "assistant", "content": text}}
            for n, text in enumerate(texts)
        ]
        return {
            "custom_id": name,
            "response": {"status_code": 200, "body": {"model": "m", "choices": choices}},
            "error": None,
        }

    batch = write(
        tmp_path / "batch.jsonl", [answered("a", "#### 5", "#### 6"), answered("b", "#### 6")]
    )
    gold = write(
        tmp_path / "gold.jsonl",
        [{"problem_id": "a", "answer": 5}, {"problem_id": "b", "answer": 7.0}],
    )
    assert rerank.read(Sources(batch, gold), LabelConfig())[TEST].candidates.correct_C.tolist() == [
        True,
        False,
        False,
    ]
    with pytest.raises(UserError, match="no field `answer` in it"):
        figures(batch)
    with pytest.raises(UserError, match="field `solution` is missing in row 2"):
        figures(
            write(
                tmp_path / "failed.jsonl",
                [answered("a", "#### 5"), {"custom_id": "b", "response": None}],
            )
        )


def formats(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The plain rows in every format."""
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    table = pa.Table.from_pylist(ROWS)
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as file:
        file.write(lines)
    contents = {
        "lines.jsonl": lines,
        "windows.jsonl": b"\xef\xbb\xbf" + lines.replace(b"\n", b"\xef\xbb\xbf\r\n"),
        "array.json": json.dumps(ROWS).encode(),
        "pretty.json": "\n".join(json.dumps(row, indent=1) for row in ROWS).encode(),
        "inner.json": json.dumps({"model": "m", "results": ROWS}).encode(),
        "lines.jsonl.gz": gzip.compress(lines),
        "named_otherwise": bz2.compress(lines),
        "lines.jsonl.zst": packed.getvalue().to_pybytes(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    pyarrow.csv.write_csv(table, folder / "table.csv")
    pyarrow.csv.write_csv(table, folder / "table.tsv", pa.csv.WriteOptions(delimiter="\t"))
    pq.write_table(table, folder / "table.parquet")
    (folder / "table.parquet.gz").write_bytes(
        gzip.compress((folder / "table.parquet").read_bytes())
    )
    texts = ("question", "answer", "solution")
    for kind in (
        pa.string_view(),
        pa.binary(),
        pa.large_string(),
        pa.dictionary(pa.int32(), pa.string()),
    ):
        changed = pa.table(
            {
                name: table[name].cast(kind) if name in texts else table[name]
                for name in table.column_names
            }
        )
        pq.write_table(changed, folder / f"{str(kind).partition('<')[0]}.parquet")
    for name, writer in (("table.arrow", pa.ipc.new_stream), ("table.feather", pa.ipc.new_file)):
        with writer(str(folder / name), table.schema) as file:
            file.write_table(table)
    return {path.name: path for path in folder.iterdir()}


def test_every_format_gives_the_same_figures(tmp_path: pathlib.Path) -> None:
    by_format = {name: figures(path) for name, path in formats(tmp_path).items()}
    assert by_format == dict.fromkeys(by_format, by_format["lines.jsonl"]) and len(by_format) == 18


def test_shards_are_read_as_one_file_and_rows_named_in_theirs(tmp_path: pathlib.Path) -> None:
    whole = read(write(tmp_path / "whole.jsonl", ROWS * 3))
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in (10, 2, 1):
        write(shards / f"output-rs{number}.jsonl", ROWS)
    (shards / "metrics.json").write_text('{"accuracy": 1}')
    for path in (shards, shards / "output-rs*.jsonl"):
        split = read(path)
        assert split.candidates.sample_id_C.tolist() == whole.candidates.sample_id_C.tolist()
        assert split.cells(np.arange(12), ["solution"]) == {
            "solution": [row["solution"] for row in ROWS] * 3
        }
    write(shards / "output-rs2.jsonl", [*ROWS[:2], {**ROWS[2], "solution": None}])
    with pytest.raises(
        UserError, match=r"field `solution` is missing in row 3 \(output-rs2.jsonl\) of 11"
    ):
        read(shards)
    with pytest.raises(UserError, match="there is no such file"):
        read(tmp_path / "none-*.jsonl")


@pytest.mark.parametrize("seed", range(3))
def test_lists_of_any_length_are_the_rows_one_by_one(tmp_path: pathlib.Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        {
            "question": f"q{p}",
            "answer": str(p),
            "solution": f"#### {rng.integers(p, p + 2)}",
            "score": float(rng.random()),
        }
        for p in range(6)
        for _ in range(rng.integers(1, 5))
    ]
    many = [
        *nested(rows, "solutions", "score", "question"),
        {"question": "asked in vain", "answer": "1", "solutions": [], "score": []},
    ]
    plain = figures(write(tmp_path / "flat.jsonl", rows))
    assert figures(write(tmp_path / "nested.jsonl", many)) == plain
    steps = [
        {**row, "score": [[0.5] * int(rng.integers(0, 3)) + [score] for score in row["score"]]}
        for row in many
    ]
    split = read(write(tmp_path / "steps.jsonl", steps))
    assert split.candidates.score_C is not None and split.candidates.score_C.tolist() == plain[2]
    # the steps' values can be put together otherwise
    assert "value_mean" in split.rows.column_names


def test_a_refusal_shows_the_fields_and_a_line_that_takes_the_file(tmp_path: pathlib.Path) -> None:
    odd = [
        {
            "puzzle_problem": row["question"],
            "solution_text": [row["solution"]],
            "answer": row["answer"],
        }
        for row in ROWS
    ]
    refused = [
        write(tmp_path / "odd.jsonl", odd),
        write(
            tmp_path / "deep.jsonl",
            [{"task": {"question": "q", "gold": 1}, "run": {"completion": ["#### 1"]}}],
        ),
        write(
            tmp_path / "list.jsonl",
            [{"runs": [{"problem": "q", "output": "#### 1", "gold": 1}] * 3}] * 2,
        ),
        write(tmp_path / "two.jsonl", [{**row, "response": "#### 1"} for row in ROWS]),
        write(
            tmp_path / "golds.jsonl",
            [{"question": "q", "response": "#### 1", "answer": "#### 1", "ground_truth": "1"}],
        ),
    ]
    for path in refused:
        fields = {"deep.jsonl": {"answer": "task.gold"}, "list.jsonl": {"answer": "runs.gold"}}.get(
            path.name, {}
        )
        with pytest.raises(UserError) as refusal:
            read(path, **fields)
        line = re.search(r"--fields=(\S+)", str(refusal.value))
        assert (
            line
            and read(
                path, **fields | layouts.parse_fields(line[1].split(","))
            ).candidates.count_P.sum()
            >= 1
        )
    with pytest.raises(
        UserError,
        match=(
            "`solution` and `response` could each be the samples: say "
            "--fields=solution=solution or "
        ),
    ):
        read(refused[3])


def test_the_data_sets_own_solution_is_not_taken_for_the_samples(
    tmp_path: pathlib.Path, capsys
) -> None:
    rows = [
        {**row, "solution": "of the data set\n#### " + row["answer"]}
        for row in nested(ROWS, "samples", "score", "question")
    ]
    assert figures(write(tmp_path / "s.jsonl", rows))[1] == [True, False, True, False]
    assert "`solution` is taken for the data set's own" in capsys.readouterr().err


def test_a_knob_of_reading_that_is_wrong_is_named(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "s.jsonl", ROWS)
    with pytest.raises(UserError, match="--layout=nemoo: there is no such layout; nearest: nemo"):
        read(path, "nemoo")
    with pytest.raises(
        UserError, match="read as layout nemo: no field `solution`; it has question"
    ):
        read(path, "nemo")
    with pytest.raises(
        UserError,
        match=(
            "no field `reward`, which --fields names as score; it has question, answer, "
            "solution, score"
        ),
    ):
        read(path, score="reward")
    assert figures(path, score="")[2] is None
    for words in (["score"], ["points=score"], ["score=a", "score=b"]):
        with pytest.raises(UserError, match="--fields="):
            layouts.parse_fields(words)
