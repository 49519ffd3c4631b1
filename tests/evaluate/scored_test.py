"""Scored samples as JSONL: all of them, in whatever lots, with the figures of the workdir when they are reranked; whole or not there."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from verifier import rerank
from verifier.config import LabelConfig, ReportConfig, UserError
from verifier.data import store
from verifier.evaluate import scored

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """The workdir that report_test makes."""
    spec = importlib.util.spec_from_file_location("report_test", ROOT / "tests" / "evaluate" / "report_test.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_workdir(tmp_path_factory.mktemp("run"), order=3)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def figures(samples, out):
    rerank.rerank(rerank.Sources(samples), out, ReportConfig(ks=(1, 3), resamples=50, show_problems=2), LabelConfig(), 0)
    found = json.loads((out / "metrics.json").read_text())["splits"]
    for split in found.values():
        split["grader_disagreement"].pop("examples")  # which come first depends on the order of rows
        split.pop("left_out")  # a file does not tell
    return found


@pytest.mark.parametrize("token_scores", [False, True])
def test_a_rerank_of_the_file_gives_the_figures_of_the_workdir(workdir, tmp_path, token_scores):
    scored.write_scored(workdir, tmp_path / "s.jsonl", token_scores)
    found, wanted = figures(tmp_path / "s.jsonl", tmp_path / "a"), figures(workdir, tmp_path / "b")
    for split in (*found.values(), *wanted.values()):
        split.pop("aggregation_chosen")
        if token_scores:  # the last line takes the tokenizer, which the file has not
            (split["aggregations"] or {}).pop("last_line", None)
        else:
            split.pop("aggregations")
            (split["verifier"] or {}).pop("by_position", None)
    assert found == wanted
    assert figures(workdir, tmp_path / "c")["test"]["greedy_accuracy"] is not None


@pytest.mark.parametrize("at_once", [1, 20, scored.AT_ONCE])
def test_every_sample_is_there_once_with_all_that_is_known_of_it(workdir, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(scored, "AT_ONCE", at_once)
    monkeypatch.setattr(scored, "_LINES", 7)
    count = scored.write_scored(workdir, tmp_path / "s.jsonl", token_scores=True)
    found = {(row["split"], row["problem_id"], row["sample_id"]): row for row in lines(tmp_path / "s.jsonl")}
    assert count == len(lines(tmp_path / "s.jsonl")) == len(found) == 12 * 6 + 15 * 6 + 15
    asked = {row["problem_id"]: row for row in store.read_table(workdir, "problems").to_pylist()}
    names = {name: [*store.SCHEMAS[name].names, "split"] for name in ("samples", "labels", "scores")}
    tables = {name: store.read_table(workdir, name, columns).to_pylist() for name, columns in names.items()}
    renamed = {"samples": {"solution": "solution", "tokens": "tokens"}, "labels": {"extracted": "answer", "correct": "correct"}}
    for name, columns in renamed.items():
        assert len(tables[name]) == count
        for row in tables[name]:
            mine = found[row["split"], row["problem_id"], row["sample_id"]]
            assert all(mine[field] == row[column] for field, column in columns.items())
            assert mine["question"] == asked[row["problem_id"]]["question"] and mine["answer"] == asked[row["problem_id"]]["answer"]
    for row in tables["scores"]:
        mine = found.pop((row["split"], row["problem_id"], row["sample_id"]))
        assert mine["score"] == row["score"] and mine["token_scores"] == row["token_scores"]
    assert {row["split"] for row in found.values()} == {"test_greedy"} and all(row["score"] is None for row in found.values())


def test_without_token_scores_they_are_left_out(workdir, tmp_path):
    scored.write_scored(workdir, tmp_path / "s.jsonl")
    assert all("tokens" not in row and "token_scores" not in row for row in lines(tmp_path / "s.jsonl"))


def test_a_file_is_whole_or_not_there(workdir, tmp_path, monkeypatch):
    path = tmp_path / "s.jsonl"
    path.write_text("what was there before\n")
    sound, lots = scored._lots, []

    def dying(*given):
        for rows in sound(*given):
            if lots:
                raise KeyboardInterrupt
            lots.append(rows)
            yield rows

    monkeypatch.setattr(scored, "_lots", dying)
    with pytest.raises(KeyboardInterrupt):
        scored.write_scored(workdir, path)
    assert lots and path.read_text() == "what was there before\n" and list(tmp_path.iterdir()) == [path]


def test_tables_that_do_not_fit_are_refused_by_name(workdir, tmp_path):
    copy = pathlib.Path(shutil.copytree(workdir, tmp_path / "run"))
    shutil.rmtree(copy / "tables" / "labels" / "split=test")
    shutil.copytree(copy / "tables" / "labels" / "split=heldout", copy / "tables" / "labels" / "split=test")
    with pytest.raises(UserError, match=r"labels/split=test has not the rows of .*samples/split=test"):
        scored.write_scored(copy, tmp_path / "s.jsonl")
    shutil.rmtree(copy / "tables" / "scores")
    with pytest.raises(UserError, match=r"scores: no split is scored; expected a workdir .* stage 'score'"):
        scored.write_scored(copy, tmp_path / "s.jsonl")
    assert not (tmp_path / "s.jsonl").exists()


def test_the_command_runs_where_jax_cannot_be_imported(workdir, tmp_path):
    block = "import sys\nfor name in ('jax', 'jaxlib', 'flax', 'torch', 'tensorflow'): sys.modules[name] = None\n"
    code = block + "import runpy; sys.argv[0] = 'export'; runpy.run_module('verifier.export', run_name='__main__')"
    command = [sys.executable, "-c", code, f"--scored={workdir}", f"--to={tmp_path / 's.jsonl'}"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == f"wrote 177 samples to {tmp_path / 's.jsonl'}\n", done.stderr
    wrong = subprocess.run([*command[:4]], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: usage: ") and wrong.stderr.count("\n") == 1
