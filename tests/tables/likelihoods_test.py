"""The generator's own likelihood as a contestant: the naive sum decides, whatever is missing."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.held import assemble
from verifier.config import LabelConfig, ReportConfig
from verifier.ingest import external, sources
from verifier.report import writing
from verifier.tables import likelihoods
from verifier.text.split import TEST


def drawn(problems: int = 12, samples: int = 5, forced: float = 0.3, seed: int = 0):
    """Samples with log-probabilities at random, as a table and as rows."""
    rng = np.random.default_rng(seed)
    rows = []
    for problem in range(problems):
        for sample in range(samples):
            length = int(rng.integers(1, 9))
            rows.append(
                {
                    "problem_id": f"p{problem:02}",
                    "sample_id": sample,
                    "solution": f"#### {rng.integers(3)}",
                    "forced": (rng.random(length) < forced).tolist(),
                    "logprobs": (-rng.random(length)).tolist(),
                }
            )
    types = {"forced": pa.list_(pa.bool_()), "logprobs": pa.list_(pa.float32())}
    columns = {name: pa.array([row[name] for row in rows], types.get(name)) for name in rows[0]}
    return pa.table(columns), rows


def problems_of(rows) -> pa.Table:
    ids = sorted({row["problem_id"] for row in rows})
    return pa.table({"problem_id": ids, "answer": ["1"] * len(ids), "question": ids})


def figures(split, out):
    return writing.write({TEST: split}, writing.About("x"), ReportConfig(), 0, out)["splits"]


def naive(rows, counts_forced: bool) -> float:
    """Accuracy of each problem's likeliest sample, by loops."""

    def likelihood(row):
        told = zip(row["logprobs"], row["forced"], strict=True)
        return sum(logprob for logprob, forced in told if counts_forced or not forced)

    best = {}
    for row in rows:
        rival = best.get(row["problem_id"])
        if rival is None or likelihood(row) > likelihood(rival):
            best[row["problem_id"]] = row
    return float(np.mean([row["solution"] == "#### 1" for row in best.values()]))


@pytest.mark.parametrize("seed", range(3))
def test_the_likeliest_is_that_of_the_naive_sum(tmp_path, seed):
    table, rows = drawn(seed=seed)
    found = figures(assemble(table, problems_of(rows), "numeric", None), tmp_path)["test"]
    assert found["likeliest"]["value"] == pytest.approx(naive(rows, True))
    assert found["likeliest_own"]["value"] == pytest.approx(naive(rows, False))
    mean = np.mean([row["solution"] == "#### 1" for row in rows])
    assert found["likeliest_at_k"]["1"]["value"] == pytest.approx(mean)
    assert found["likeliest_at_k"]["5"] == found["likeliest"]


def test_without_a_calculator_there_is_one_kind(tmp_path):
    table, rows = drawn(forced=0.0)
    found = figures(assemble(table, problems_of(rows), "numeric", None), tmp_path)["test"]
    assert found["likeliest"] and found["likeliest_own"] is None


@pytest.mark.parametrize("broken", [float("nan"), float("-inf"), None])
def test_a_likelihood_that_is_no_number_leaves_the_figure_out(tmp_path, broken):
    table, rows = drawn()
    rows[3]["logprobs"] = rows[3]["logprobs"][:-1] + [broken] if broken is not None else []
    rows[3]["forced"] = rows[3]["forced"][: len(rows[3]["logprobs"])]
    types = {name: table.schema.field(name).type for name in ("forced", "logprobs")}
    for name, kind in types.items():
        column = pa.array([row[name] for row in rows], kind)
        table = table.set_column(table.column_names.index(name), name, column)
    found = figures(assemble(table, problems_of(rows), "numeric", None), tmp_path)["test"]
    assert found["likeliest"] is None and found["majority"]


def test_other_peoples_files_may_have_one(tmp_path):
    _, rows = drawn()
    lines = [
        {
            "question": row["problem_id"],
            "answer": "1",
            "solution": row["solution"],
            "outputs": {"cumulative_logprob": sum(row["logprobs"])},
        }
        for row in rows
    ]
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    named = external.Reading(fields={"likelihood": "outputs.cumulative_logprob"})
    split = sources.read(sources.Sources(file, how=named), LabelConfig())[TEST]
    assert list(likelihoods.ranks(split.rows)) == ["likeliest"]
    found = figures(split, tmp_path / "out")["test"]
    assert found["likeliest"]["value"] == pytest.approx(naive(rows, True))
