"""Reranking: the same figures from a workdir, a Parquet file and a JSONL file."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import pathlib
import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.report.report_test import make_workdir
from verifier import rerank
from verifier.config import LabelConfig, ReportConfig
from verifier.errors import UserError
from verifier.grading import corrections
from verifier.rerank import Sources
from verifier.system import checksums
from verifier.tables import store, stored_splits
from verifier.tables.manifests import read_manifest
from verifier.tables.reading import read_table
from verifier.text.split import HELDOUT, TEST

CONFIG = ReportConfig(ks=(1, 3), resamples=50, show_problems=2)


def figures(sources: Sources, out: pathlib.Path, grader: str = "numeric") -> dict:
    rerank.rerank(sources, out, CONFIG, LabelConfig(grader), seed=0)
    assert (out / "index.html").exists()
    return json.loads((out / "metrics.json").read_text())["splits"]


def one_file(root: pathlib.Path) -> pa.Table:
    """A workdir's samples, scores, questions and answers as rows made elsewhere."""
    gold = {row["problem_id"]: row for row in read_table(root, "problems").to_pylist()}
    scores = {
        (row["problem_id"], row["sample_id"]): row["score"]
        for row in read_table(root, "scores").to_pylist()
    }
    rows = []
    columns = ["problem_id", "sample_id", "solution", "split", "logprobs", "forced", "finish"]
    for row in read_table(root, "samples", columns).to_pylist():
        logprobs, forced = row.pop("logprobs"), row.pop("forced")
        if row.pop("finish") == "length":
            logprobs, forced = [float("nan")], [False]
        row["likelihood"] = sum(logprobs)
        row["likelihood_own"] = sum(
            each for each, by_calculator in zip(logprobs, forced, strict=True) if not by_calculator
        )
        problem = gold[row["problem_id"]]
        # Greedy solutions take another's: only their verdict is used.
        score = scores[row["problem_id"], row["sample_id"]]
        rows.append(
            {**row, "score": score, "question": problem["question"], "answer": problem["answer"]}
        )
    return pa.Table.from_pylist(rows)


def write_jsonl(path: pathlib.Path, rows: list[dict]) -> pathlib.Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_workdir_parquet_and_jsonl_give_the_same_figures(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path / "run")
    expected = figures(Sources(root), tmp_path / "a")
    rows = one_file(root)
    pq.write_table(rows, tmp_path / "made.parquet")
    write_jsonl(tmp_path / "made.jsonl", rows.to_pylist())
    lone = rows.drop_columns(["score", "question", "answer"])
    pq.write_table(lone, tmp_path / "lone.parquet")
    pq.write_table(
        rows.select(["problem_id", "sample_id", "split", "score"]), tmp_path / "scores.parquet"
    )
    paths = {
        "parquet": Sources(tmp_path / "made.parquet"),
        "jsonl": Sources(tmp_path / "made.jsonl"),
        "folder": Sources(root / "tables" / "samples"),
        "apart": Sources(tmp_path / "lone.parquet", root, tmp_path / "scores.parquet"),
        "stored scores": Sources(tmp_path / "lone.parquet", root / "tables" / "problems", root),
    }
    for name, sources in paths.items():
        result, wanted = figures(sources, tmp_path / name), json.loads(json.dumps(expected))
        for split in (*result.values(), *wanted.values()):
            # Which come first depends on the order of rows.
            split["grader_disagreement"].pop("examples")
            split.pop("left_out")  # only a table of problems tells
        # Without tokens.
        for split, expected_split in (
            (result[split], wanted[split]) for split in wanted if name != "folder"
        ):
            known = {how for how, figures in split["aggregations"].items() if figures}
            assert known == {"last"} | (
                {"mean", "min", "product"} if name == "stored scores" else set()
            )
            for one in (split, expected_split):
                one["aggregations"] = {how: one["aggregations"][how] for how in known}
                one.pop("aggregation_chosen")
                if known == {"last"}:
                    one["verifier"].pop("by_position")
        assert result == wanted, name
    one = figures(Sources(root / "tables" / "samples" / "split=test"), tmp_path / "one")
    assert set(one) == {"test"} and one["test"]["best_of_n"] == expected["test"]["best_of_n"]


def test_a_stricter_grader_finds_fewer_right(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path / "run")
    numeric, strict = (
        figures(Sources(root), tmp_path / name, name)["test"] for name in ("numeric", "strict")
    )
    assert strict["mean_sample_accuracy"]["value"] < numeric["mean_sample_accuracy"]["value"]
    assert strict["mixed_answer_groups"] > 0 == numeric["mixed_answer_groups"]


@pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None, reason="needs the extra [math]"
)
def test_boxed_answers_are_graded_by_math_verify_and_those_that_hang_are_said(
    tmp_path: pathlib.Path, capsys
) -> None:
    ends = ("\\boxed{18}", "#### 18", "#### $9^{9^{9^9}}$")
    rows = [
        {"question": f"q{p}", "solution": ends[j], "answer": "18"}
        for p in range(4)
        for j in range(3)
    ]
    source = Sources(write_jsonl(tmp_path / "s.jsonl", rows))
    rerank.rerank(
        source, tmp_path / "out", CONFIG, LabelConfig("math_verify", grader_seconds=2.0), seed=0
    )
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())["splits"]["test"]
    assert result["mean_sample_accuracy"]["value"] == pytest.approx(2 / 3)
    assert (
        result["grader_disagreement"]["right"]["math_verify"] == 8
        and result["grader_disagreement"]["right"]["strict"] == 4
    )
    assert result["grader_disagreement"]["not_graded"] == 4
    assert (
        "test: 4 solutions were not graded and count as wrong: math_verify took more than 2 s"
        in capsys.readouterr().err
    )
    assert "4 test solutions were not graded" in (tmp_path / "out" / "index.html").read_text()


def test_gold_answers_are_corrected_where_that_is_asked_for(tmp_path: pathlib.Path, capsys) -> None:
    wrong = corrections.known()[0]
    rows = [
        {
            "problem_id": wrong["problem_id"],
            "solution": f"#### {wrong['new']}",
            "answer": wrong["old"],
        }
    ]
    rows += [{"problem_id": "other", "solution": "#### 5", "answer": "5"}]
    source = Sources(write_jsonl(tmp_path / "s.jsonl", rows))
    for fix, accuracy in ((False, 0.5), (True, 1.0)):
        rerank.rerank(source, tmp_path / "out", CONFIG, LabelConfig(fix_labels=fix), seed=0)
        result = json.loads((tmp_path / "out" / "metrics.json").read_text())["splits"]["test"]
        assert result["mean_sample_accuracy"]["value"] == accuracy
        assert (f"problem {wrong['problem_id']}" in capsys.readouterr().err) == fix
        assert ("known-wrong gold answers" in (tmp_path / "out" / "index.html").read_text()) == fix


def test_foreign_rows_with_the_least_they_may_have(tmp_path: pathlib.Path) -> None:
    rows = [
        {"question": f"q{p}", "solution": f"#### {p + j % 2}", "answer": f"it is {p}\n#### {p}"}
        for p in range(4)
        for j in range(3)
    ]
    result = figures(Sources(write_jsonl(tmp_path / "s.jsonl", rows)), tmp_path / "out")
    assert result["test"]["n_problems"] == 4 and result["test"]["mean_sample_accuracy"][
        "value"
    ] == pytest.approx(2 / 3)
    assert result["test"]["majority"]["value"] == 1 and result["test"]["best_of_n"] is None
    bare = [{key: row[key] for key in ("question", "solution")} for row in rows]
    problems = write_jsonl(
        tmp_path / "p.jsonl", [{"question": f"q{p}", "answer": p} for p in range(4)]
    )
    again = figures(Sources(write_jsonl(tmp_path / "t.jsonl", bare), problems), tmp_path / "out")
    assert again["test"]["majority"] == result["test"]["majority"]


GOOD = [
    {"question": "q", "solution": "#### 1", "answer": "1", "sample_id": n, "score": 0.5}
    for n in range(3)
]


def linked_variant(root: pathlib.Path) -> pathlib.Path:
    """A sweep's variant beside the one that made its samples: samples and problems are linked,
    scores are its own.
    """
    maker, variant = make_workdir(root / "maker"), make_workdir(root / "variant")
    for table in ("samples", "problems"):
        for folder in sorted((maker / "tables" / table).glob("split=*")):
            own = variant / "tables" / table / folder.name
            shutil.rmtree(own)
            own.symlink_to(folder, target_is_directory=True)
    folder = variant / "tables" / "scores" / "split=test"
    rows = read_table(folder, "scores").to_pylist()
    store.remove_table(folder)
    writer = store.TableWriter(
        folder,
        "scores",
        {"samples": read_manifest(maker / "tables/samples/split=test")["id"]},
    )
    writer.append([{**row, "verifier": "v2", "score": 1 - row["score"]} for row in rows])
    writer.finish({})
    saved = json.loads((variant / "config.json").read_text())
    checksums.write_sealed(variant / "config.json", saved | {"name": "variant"})
    return variant


def test_scores_beside_linked_samples_are_those_of_the_folder_that_was_asked_for(
    tmp_path: pathlib.Path, monkeypatch
) -> None:
    variant = linked_variant(tmp_path)
    wanted = figures(Sources(variant), tmp_path / "a")["test"]["best_of_n"]
    split = variant / "tables" / "samples" / "split=test"
    assert figures(Sources(split), tmp_path / "b")["test"]["best_of_n"] == wanted
    assert "<h1>variant</h1>" in (tmp_path / "b" / "index.html").read_text()
    maker = tmp_path / "maker" / "tables" / "samples" / "split=test"
    assert figures(Sources(maker), tmp_path / "c")["test"]["best_of_n"] != wanted
    monkeypatch.chdir(variant / "tables")
    assert (
        figures(Sources(pathlib.Path("samples/split=test")), tmp_path / "d")["test"]["best_of_n"]
        == wanted
    )


def test_scores_of_other_samples_with_the_same_ids_are_refused(tmp_path: pathlib.Path) -> None:
    root, variant = make_workdir(tmp_path / "run", seed=1), linked_variant(tmp_path)
    for scores in (
        variant,
        variant / "tables" / "scores",
        variant / "tables" / "scores" / "split=test",
    ):
        with pytest.raises(
            UserError,
            match=(
                r"scores/split=test was made from other samples .* than those in "
                r".*run/tables/samples/split="
            ),
        ):
            figures(Sources(root, scores=scores), tmp_path / "out")
    split = Sources(
        variant / "tables" / "samples" / "split=test",
        scores=variant / "tables" / "scores" / "split=test",
    )
    assert (
        figures(split, tmp_path / "out")["test"]["best_of_n"]
        == figures(Sources(variant), tmp_path / "out")["test"]["best_of_n"]
    )


def test_greedy_samples_alone_are_reported_as_they_are(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path / "run")
    expected = figures(Sources(root), tmp_path / "out")["test"]["greedy_accuracy"]["value"]
    result = figures(Sources(root / "tables" / "samples" / "split=test_greedy"), tmp_path / "out")
    assert (
        set(result) == {"test_greedy"}
        and result["test_greedy"]["mean_sample_accuracy"]["value"] == expected
    )


def test_problems_without_samples_are_counted_where_they_are_known(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path / "run")
    folder = root / "tables" / "samples" / "split=test"
    rows = read_table(folder, "samples").to_pylist()
    store.remove_table(folder)
    writer = store.TableWriter(folder, "samples", {})
    writer.append([row for row in rows if row["problem_id"] not in ("test-03", "test-07")])
    writer.finish({})
    stored = stored_splits.read_workdir(root)
    assert stored[TEST].left_out == 2 and stored[HELDOUT].left_out == 0
    for sources in (Sources(root), Sources(folder.parent), Sources(folder.parent, root)):
        assert {
            name: split.left_out for name, split in rerank.read(sources, LabelConfig()).items()
        } == {name: split.left_out for name, split in stored.items()}
    pq.write_table(one_file(root).filter(pc.field("split") == "test"), tmp_path / "made.parquet")
    assert rerank.read(Sources(tmp_path / "made.parquet"), LabelConfig())[TEST].left_out is None
    assert rerank.read(Sources(tmp_path / "made.parquet", root), LabelConfig())[TEST].left_out == 2
    assert "2 test problems have no samples" in rerank.rerank(
        Sources(root), tmp_path / "out", CONFIG, LabelConfig(), 0
    )


def test_token_scores_of_a_scores_file_take_the_place_of_the_samples_own(
    tmp_path: pathlib.Path,
) -> None:
    own = [
        {**row, "solution": f"#### {n}", "tokens": [1, 2], "token_scores": [0.1, 0.5 - n / 10]}
        for n, row in enumerate(GOOD)
    ]
    # The right one is in the middle of both orders.
    samples = write_jsonl(tmp_path / "s.jsonl", own)
    apart = write_jsonl(
        tmp_path / "c.jsonl",
        [
            {"question": "q", "sample_id": n, "score": 0.5, "token_scores": [0.1, 0.1 + n / 10]}
            for n in (0, 2, 1)
        ],
    )
    for scores, answers in ((None, "012"), (apart, "210")):
        for index, answer in enumerate(answers):
            problems = write_jsonl(tmp_path / "p.jsonl", [{"question": "q", "answer": answer}])
            result = figures(Sources(samples, problems, scores), tmp_path / "out")["test"]
            assert result["aggregations"]["mean"]["best_of_n"]["value"] == (index == 0), (
                scores,
                answer,
            )


def test_scores_that_are_missing_are_left_out_where_that_is_asked_for(
    tmp_path: pathlib.Path,
) -> None:
    rows = [
        dict(good, score=score) for good, score in zip(GOOD, (None, float("inf"), 0.5), strict=True)
    ]
    samples = write_jsonl(tmp_path / "s.jsonl", rows)
    with pytest.raises(
        UserError, match=r"field `score` is missing in row 1 of 3; .*--allow-missing"
    ):
        figures(Sources(samples), tmp_path / "out")
    allowed = dataclasses.replace(CONFIG, allow_missing=True)
    table = rerank.rerank(Sources(samples), tmp_path / "out", allowed, LabelConfig(), 0)
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())["splits"]["test"]
    assert (
        result["n_samples"] == 1
        and result["left_out"]["samples_with_nan"] == 2
        and "2 test samples with nan are left out" in table
    )
    bare = write_jsonl(
        tmp_path / "b.jsonl", [{key: row[key] for key in row if key != "score"} for row in GOOD]
    )
    scores = write_jsonl(
        tmp_path / "c.jsonl",
        [
            {"question": "q", "sample_id": 2, "score": 0.5},
            {"question": "q", "sample_id": 1, "score": None},
        ],
    )
    with pytest.raises(UserError, match="c.jsonl: field `score` is missing in row 2"):
        figures(Sources(bare, scores=scores), tmp_path / "out")
    rerank.rerank(Sources(bare, scores=scores), tmp_path / "out", allowed, LabelConfig(), 0)
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())["splits"]["test"][
        "left_out"
    ]
    assert result == {"problems": None, "samples_without_score": 1, "samples_with_nan": 1}


def test_an_aggregation_ranks_and_takes_a_tokenizer_from_anywhere(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path / "run")
    how = dataclasses.replace(CONFIG, aggregation="last_line")
    rerank.rerank(Sources(root), tmp_path / "a", how, LabelConfig(), 0)
    result = json.loads((tmp_path / "a" / "metrics.json").read_text())
    test = result["splits"]["test"]
    assert (
        result["aggregation"] == "last_line"
        and test["best_of_n"] == test["aggregations"]["last_line"]["best_of_n"]
    )
    with pytest.raises(UserError, match="no aggregation 'lastline'; nearest: last_line"):
        rerank.rerank(
            Sources(root),
            tmp_path / "b",
            dataclasses.replace(CONFIG, aggregation="lastline"),
            LabelConfig(),
            0,
        )
    (root / "generator").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="last_line needs the tokenizer .*--tokenizer=PATH"):
        rerank.rerank(Sources(root), tmp_path / "b", how, LabelConfig(), 0)
    rerank.rerank(
        Sources(root, tokenizer=tmp_path / "elsewhere"), tmp_path / "b", how, LabelConfig(), 0
    )
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["splits"] == result["splits"]


def test_samples_of_another_generator_are_refused_unless_asked_for(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path / "run")
    checksums.write_sealed(root / "verifier" / "manifest.json", {"id": "v1", "generator": "g0"})
    with pytest.raises(
        UserError, match="drawn by generator g1, but the verifier in .* was trained on those of g0"
    ):
        figures(Sources(root), tmp_path / "out")
    rerank.rerank(Sources(root), tmp_path / "out", CONFIG, LabelConfig(), 0, other_generator=True)
    saved = json.loads((root / "config.json").read_text())
    checksums.write_sealed(
        root / "config.json",
        saved | {"settings": saved["settings"] | {"verify.other_generator": True}},
    )
    # The run itself was asked for it.
    assert figures(Sources(root), tmp_path / "out")["test"]["best_of_n"]


def test_what_makes_the_figures_doubtful_is_said_before_them(tmp_path: pathlib.Path) -> None:
    rows = [
        {"question": f"q{p}", "solution": "The answer is 18", "answer": "18 pens"} for p in range(4)
    ]
    source = Sources(write_jsonl(tmp_path / "s.jsonl", rows))
    lines = rerank.rerank(
        source, tmp_path / "out", CONFIG, LabelConfig("strict"), seed=0
    ).splitlines()
    assert (
        "4 of 4 gold answers hold no number" in lines[0]
        and "finds no answer in 4 of 4 solutions" in lines[1]
    )
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.index("Doubtful:") < page.index('class="headline"')
    assert (
        "answers"
        not in rerank.rerank(source, tmp_path / "out", CONFIG, LabelConfig(), seed=0).split(
            "test (%)"
        )[0]
    )
