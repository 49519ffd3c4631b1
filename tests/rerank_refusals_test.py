"""What reranking refuses: rows, scores and tables that are missing or wrong, by file and row."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.report.report_test import make_workdir
from tests.rerank_test import GOOD, figures, write_jsonl
from verifier.errors import UserError
from verifier.rerank import Sources
from verifier.system import checksums
from verifier.tables import store


@pytest.mark.parametrize(
    ("row", "change", "message"),
    [
        (1, {"solution": None}, "s.jsonl: field `solution` is missing in row 2 of 3"),
        (2, {"score": None}, "s.jsonl: field `score` is missing in row 3 of 3"),
        (0, {"score": float("nan")}, "s.jsonl: field `score` is NaN in row 1"),
        (
            0,
            {"score": float("inf")},
            "s.jsonl: field `score` is inf in row 1; expected a finite number in every row; "
            ".*--allow-missing",
        ),
        (2, {"score": float("-inf")}, "s.jsonl: field `score` is inf in row 3"),
        (
            1,
            {"token_scores": [0.5, float("inf")]},
            "1 of 3 scores are inf or have inf among their token values",
        ),
        (2, {"score": "high"}, "field `score` is string; expected numbers"),
        (1, {"answer": None}, "field `answer` is missing in row 2"),
        (1, {"answer": "2"}, "has two gold answers, '1' and '2'"),
        (
            1,
            {"sample_id": 1.7},
            r"s.jsonl: field `sample_id` is 1.7 in row 2; expected a whole number from 0 to "
            r"2,147,483,647",
        ),
        (2, {"sample_id": 2**31}, r"s.jsonl: field `sample_id` is 2147483648 in row 3"),
        (
            2,
            {"sample_id": 2**60 + 1},
            r"s.jsonl: field `sample_id` is 1152921504606846977 in row 3",
        ),
        (0, {"sample_id": -1}, r"s.jsonl: field `sample_id` is -1 in row 1"),
        (0, {"sample_id": float("inf")}, r"s.jsonl: field `sample_id` is inf in row 1"),
        (2, {"sample_id": 1}, "s.jsonl: problem .*, sample 1 of test is in row 2 and in row 3"),
    ],
)
def test_faults_are_named_with_file_and_row(
    tmp_path: pathlib.Path, row: int, change: dict, message: str
) -> None:
    rows = [dict(good) for good in GOOD]
    rows[row] |= change
    with pytest.raises(UserError, match=message):
        figures(Sources(write_jsonl(tmp_path / "s.jsonl", rows)), tmp_path / "out")


def test_a_split_may_go_without_scores_but_not_in_part(tmp_path: pathlib.Path) -> None:
    good = [{**row, "split": "test"} for row in GOOD]
    more = [{**row, "split": "test_greedy", "score": None} for row in GOOD[:1]]
    splits = figures(Sources(write_jsonl(tmp_path / "s.jsonl", [*good, *more])), tmp_path / "out")
    assert (
        splits["test"]["best_of_n"] is not None and splits["test"]["greedy_accuracy"]["value"] == 1
    )
    none = figures(
        Sources(write_jsonl(tmp_path / "n.jsonl", [{**row, "score": None} for row in GOOD])),
        tmp_path / "out",
    )
    assert none["test"]["best_of_n"] is None
    torn = [*good, {**more[0], "split": "test", "sample_id": 3}, *more]
    with pytest.raises(UserError, match="s.jsonl: field `score` is missing in row 4 of 5"):
        figures(Sources(write_jsonl(tmp_path / "s.jsonl", torn)), tmp_path / "out")


def test_scores_that_do_not_fit_are_refused(tmp_path: pathlib.Path) -> None:
    samples = write_jsonl(tmp_path / "s.jsonl", GOOD)
    scores = write_jsonl(
        tmp_path / "c.jsonl",
        [{"question": "q", "sample_id": n + 0.5 * (n == 1), "score": 0.5} for n in range(3)],
    )
    with pytest.raises(UserError, match=r"c.jsonl: field `sample_id` is 1.5 in row 2"):
        figures(Sources(samples, scores=scores), tmp_path / "out")
    root = make_workdir(tmp_path / "run")
    path = root / "tables" / "scores" / "split=test" / "manifest.json"
    checksums.write_sealed(
        path, json.loads(path.read_text()) | {"settings": {"samples": "0123456789abcdef"}}
    )
    with pytest.raises(
        UserError,
        match=r"scores/split=test was made from other samples .*run the stage 'score' again",
    ):
        figures(Sources(root), tmp_path / "out")


def test_an_empty_table_is_named(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path / "run")
    for table in ("scores", "samples"):
        folder = root / "tables" / table / "split=test"
        store.remove_table(folder)
        store.TableWriter(folder, table, {}).finish({})
        with pytest.raises(
            UserError, match=rf"tables/{table}/split=test is empty: expected at least one row"
        ):
            figures(Sources(root), tmp_path / "out")


def test_what_is_missing_is_named(tmp_path: pathlib.Path) -> None:
    def without(*names: str) -> Sources:
        return Sources(
            write_jsonl(
                tmp_path / "s.jsonl",
                [{key: row[key] for key in row if key not in names} for row in GOOD],
            )
        )

    with pytest.raises(UserError, match="no field `solution`; it has question, answer"):
        figures(without("solution"), tmp_path / "out")
    with pytest.raises(UserError, match="no field `question` or `problem_id`"):
        figures(without("question"), tmp_path / "out")
    with pytest.raises(UserError, match="no field `answer` in it; .* --problems=PATH"):
        figures(without("answer"), tmp_path / "out")
    with pytest.raises(UserError, match="no grader 'strikt'; nearest: strict"):
        figures(without(), tmp_path / "out", "strikt")
    with pytest.raises(UserError, match="nowhere.jsonl: there is no such file"):
        figures(Sources(tmp_path / "nowhere.jsonl"), tmp_path / "out")
    with pytest.raises(UserError, match="p.jsonl: there is no such file"):
        figures(
            dataclasses.replace(without("answer"), problems=tmp_path / "p.jsonl"), tmp_path / "out"
        )
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="empty.jsonl is empty"):
        figures(Sources(tmp_path / "empty.jsonl"), tmp_path / "out")
    pq.write_table(pa.table({"question": pa.array([], pa.string())}), tmp_path / "empty.parquet")
    with pytest.raises(UserError, match="empty.parquet is empty"):
        figures(Sources(tmp_path / "empty.parquet"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
