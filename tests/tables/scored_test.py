"""Scored samples as JSONL: all of them, in whatever lots, with the figures of the workdir when they
are reranked; whole or not there.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from verifier import rerank
from verifier.config import LabelConfig, ReportConfig
from verifier.errors import UserError
from verifier.grading import corrections, graders
from verifier.system import checksums
from verifier.tables import scored, store
from verifier.tables.manifests import read_manifest
from verifier.tables.reading import read_table
from verifier.tables.schemas import SCHEMAS

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """The workdir that report_test makes."""
    spec = importlib.util.spec_from_file_location(
        "report_test", ROOT / "tests" / "report" / "report_test.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_workdir(tmp_path_factory.mktemp("run"), order=3)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def figures(samples, out, **how):
    label = LabelConfig(**how)
    rerank.rerank(
        rerank.Sources(samples),
        out,
        ReportConfig(ks=(1, 3), resamples=50, show_problems=2),
        label,
        0,
    )
    splits = json.loads((out / "metrics.json").read_text())["splits"]
    for split in splits.values():
        # which come first depends on the order of rows
        split["grader_disagreement"].pop("examples")
        split.pop("left_out")  # a file does not tell
    return splits


def rewritten(workdir, root, table, change):
    """A copy of the workdir in which `change` was done to every row of a table's test split."""
    copy = pathlib.Path(shutil.copytree(workdir, root))
    folder = copy / "tables" / table / "split=test"
    rows = read_table(folder, table).to_pylist()
    for row in rows:
        change(row)
    store.remove_table(folder)
    writer = store.TableWriter(folder, table, {})
    writer.append(rows)
    writer.finish({})
    return copy


def known_wrong(workdir, root, monkeypatch):
    """A copy whose labels were made by a right answer where the problems have a wrong one."""
    fixed = [{"problem_id": "test-03", "old": "9", "new": "18", "reason": "it is so"}]
    monkeypatch.setattr(corrections, "known", lambda: fixed)
    copy = rewritten(
        workdir,
        root,
        "problems",
        lambda row: row.update(answer="9") if row["problem_id"] == "test-03" else None,
    )
    for split in ("test", "test_greedy"):
        labels = copy / "tables" / "labels" / f"split={split}"
        checksums.write_sealed(
            labels / "manifest.json", read_manifest(labels) | {"fixed_labels": fixed}
        )
    return copy


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("token_scores", [False, True])
def test_a_rerank_of_the_file_gives_the_figures_of_the_workdir(
    workdir, tmp_path, monkeypatch, token_scores, corrected
):
    workdir = known_wrong(workdir, tmp_path / "run", monkeypatch) if corrected else workdir
    scored.write_scored(workdir, tmp_path / "s.jsonl", token_scores)
    rows = lines(tmp_path / "s.jsonl")
    graded = graders.relabel(
        [row["solution"] for row in rows], [row["answer"] for row in rows], "numeric"
    )
    assert graded.correct.tolist() == [row["correct"] for row in rows]
    splits, wanted = (
        figures(tmp_path / "s.jsonl", tmp_path / "a"),
        figures(workdir, tmp_path / "b", fix_labels=corrected),
    )
    for split in (*splits.values(), *wanted.values()):
        split.pop("aggregation_chosen")
        if token_scores:  # the last line takes the tokenizer, which the file has not
            (split["aggregations"] or {}).pop("last_line", None)
        else:
            split.pop("aggregations")
            (split["verifier"] or {}).pop("by_position", None)
    assert splits == wanted
    assert wanted["test"]["greedy_accuracy"] is not None


def test_numbers_that_json_has_not_are_null(workdir, tmp_path):
    def spoil(row):
        if row["problem_id"] == "test-03":
            row.update(score=float("nan"), token_scores=[float("inf"), *row["token_scores"][1:]])

    scored.write_scored(
        rewritten(workdir, tmp_path / "run", "scores", spoil),
        tmp_path / "s.jsonl",
        token_scores=True,
    )
    rows = [
        json.loads(line, parse_constant=pytest.fail)
        for line in (tmp_path / "s.jsonl").read_text().splitlines()
    ]
    for row in rows:
        if row["split"] == "test":
            assert (
                (row["score"] is None)
                == (row["token_scores"][0] is None)
                == (row["problem_id"] == "test-03")
            )
            assert None not in row["token_scores"][1:]
    with pytest.raises(UserError, match="`score` is missing in row"):
        figures(tmp_path / "s.jsonl", tmp_path / "out")


def test_a_rerank_of_the_file_refuses_samples_of_another_generator(workdir, tmp_path):
    copy = pathlib.Path(shutil.copytree(workdir, tmp_path / "run"))
    for verifier, generator, refused in (
        ("v1", "g1", False),
        ("v0", "g0", False),
        ("v1", "g0", True),
    ):
        checksums.write_sealed(
            copy / "verifier" / "manifest.json", {"id": verifier, "generator": generator}
        )
        scored.write_scored(copy, tmp_path / "s.jsonl")
        if not refused:
            figures(tmp_path / "s.jsonl", tmp_path / "out")
            continue
        with pytest.raises(
            UserError,
            match=(
                "drawn by generator g1, but the verifier v1 was trained on those of g0: "
                ".*--other-generator"
            ),
        ):
            figures(tmp_path / "s.jsonl", tmp_path / "out")
        how = (ReportConfig(ks=(1,), resamples=10), LabelConfig(), 0)
        rerank.rerank(
            rerank.Sources(tmp_path / "s.jsonl"), tmp_path / "out", *how, other_generator=True
        )


@pytest.mark.parametrize("at_once", [1, 20, scored.AT_ONCE])
def test_every_sample_is_there_once_with_all_that_is_known_of_it(
    workdir, tmp_path, monkeypatch, at_once
):
    monkeypatch.setattr(scored, "AT_ONCE", at_once)
    monkeypatch.setattr(scored, "_LINES", 7)
    count = scored.write_scored(workdir, tmp_path / "s.jsonl", token_scores=True)
    stored = {
        (row["split"], row["problem_id"], row["sample_id"]): row
        for row in lines(tmp_path / "s.jsonl")
    }
    assert count == len(lines(tmp_path / "s.jsonl")) == len(stored) == 12 * 6 + 15 * 6 + 15
    asked = {row["problem_id"]: row for row in read_table(workdir, "problems").to_pylist()}
    names = {name: [*SCHEMAS[name].names, "split"] for name in ("samples", "labels", "scores")}
    tables = {
        name: read_table(workdir, name, columns).to_pylist() for name, columns in names.items()
    }
    renamed = {
        "samples": {name: name for name in ("solution", "tokens", "generator")},
        "labels": {"extracted": "answer", "correct": "correct"},
    }
    for name, columns in renamed.items():
        assert len(tables[name]) == count
        for row in tables[name]:
            mine = stored[row["split"], row["problem_id"], row["sample_id"]]
            assert all(mine[field] == row[column] for field, column in columns.items())
            assert (
                mine["question"] == asked[row["problem_id"]]["question"]
                and mine["answer"] == asked[row["problem_id"]]["answer"]
            )
    for row in tables["scores"]:
        mine = stored.pop((row["split"], row["problem_id"], row["sample_id"]))
        assert all(mine[name] == row[name] for name in ("score", "token_scores", "verifier"))
    assert {row["split"] for row in stored.values()} == {"test_greedy"} and all(
        row["score"] is None for row in stored.values()
    )


def test_without_token_scores_they_are_left_out(workdir, tmp_path):
    scored.write_scored(workdir, tmp_path / "s.jsonl")
    assert all(
        "tokens" not in row and "token_scores" not in row for row in lines(tmp_path / "s.jsonl")
    )


def test_samples_beyond_the_verifiers_context_have_no_score(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr(scored, "AT_ONCE", 20)
    copy = pathlib.Path(shutil.copytree(workdir, tmp_path / "run"))
    folder = copy / "tables" / "scores" / "split=test"
    rows = read_table(folder, "scores").to_pylist()
    lost = {(row["problem_id"], row["sample_id"]) for row in rows[:7]}
    for noted, refused in ((6, True), (7, False)):
        store.remove_table(folder)
        writer = store.TableWriter(folder, "scores", {})
        writer.append(rows[7:])
        writer.finish({"too_long": noted})
        if refused:
            with pytest.raises(
                UserError, match=r"scores/split=test has not the rows of .*samples/split=test"
            ):
                scored.write_scored(copy, tmp_path / "s.jsonl", token_scores=True)
    scored.write_scored(copy, tmp_path / "s.jsonl", token_scores=True)
    scored.write_scored(workdir, tmp_path / "all.jsonl", token_scores=True)
    nothing = dict.fromkeys(("score", "token_scores", "verifier", "trained_on"))
    for mine, whole in zip(lines(tmp_path / "s.jsonl"), lines(tmp_path / "all.jsonl"), strict=True):
        assert mine == (
            whole | nothing
            if mine["split"] == "test" and (mine["problem_id"], mine["sample_id"]) in lost
            else whole
        )


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
    assert (
        lots
        and path.read_text() == "what was there before\n"
        and list(tmp_path.iterdir()) == [path]
    )


def test_tables_that_do_not_fit_are_refused_by_name(workdir, tmp_path):
    copy = pathlib.Path(shutil.copytree(workdir, tmp_path / "run"))
    shutil.rmtree(copy / "tables" / "labels" / "split=test")
    shutil.copytree(
        copy / "tables" / "labels" / "split=heldout", copy / "tables" / "labels" / "split=test"
    )
    with pytest.raises(
        UserError, match=r"labels/split=test has not the rows of .*samples/split=test"
    ):
        scored.write_scored(copy, tmp_path / "s.jsonl")
    shutil.rmtree(copy / "tables" / "scores")
    with pytest.raises(
        UserError, match=r"scores: no split is scored; expected a workdir .* stage 'score'"
    ):
        scored.write_scored(copy, tmp_path / "s.jsonl")
    assert not (tmp_path / "s.jsonl").exists()


def test_the_command_runs_where_jax_cannot_be_imported(workdir, tmp_path):
    block = (
        "import sys\nfor name in ('jax', 'jaxlib', 'flax', 'torch', 'tensorflow'): "
        "sys.modules[name] = None\n"
    )
    code = block + (
        "import runpy; sys.argv[0] = 'export'; runpy.run_module('verifier.export', "
        "run_name='__main__')"
    )
    command = [sys.executable, "-c", code, f"--scored={workdir}", f"--to={tmp_path / 's.jsonl'}"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (
        done.returncode == 0 and done.stdout == f"wrote 177 samples to {tmp_path / 's.jsonl'}\n"
    ), done.stderr
    wrong = subprocess.run(
        [*command[:4]], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (
        wrong.returncode == 1
        and wrong.stderr.startswith("error: usage: ")
        and wrong.stderr.count("\n") == 1
    )
