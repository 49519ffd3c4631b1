"""The generator's own likelihood as a contestant: the naive sum decides, whatever is missing."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.held import assemble
from verifier.config import LabelConfig, ReportConfig
from verifier.ingest import external, sources
from verifier.report import writing
from verifier.tables import own_likelihood
from verifier.text.split import TEST


def drawn(forced: float = 0.3, seed: int = 0, finished: float = 1.0):
    """Samples with log-probabilities at random, as a table and as rows."""
    rng = np.random.default_rng(seed)
    rows = []
    for problem in range(12):
        for sample in range(5):
            length = int(rng.integers(1, 9))
            rows.append(
                {
                    "problem_id": f"p{problem:02}",
                    "sample_id": sample,
                    "solution": f"#### {rng.integers(3)}",
                    "forced": (rng.random(length) < forced).tolist(),
                    "logprobs": (-rng.random(length)).tolist(),
                    "finish": "eos" if rng.random() < finished else "length",
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


def test_what_was_cut_off_is_likeliest_only_where_all_were(tmp_path):
    table, rows = drawn(seed=3, finished=0.5)
    whole = [row for row in rows if row["finish"] == "eos"]
    assert len({row["problem_id"] for row in whole}) == 12 and len(whole) < 40
    found = figures(assemble(table, problems_of(rows), "numeric", None), tmp_path)["test"]
    assert found["likeliest"]["value"] == pytest.approx(naive(whole, True))
    said = json.loads((tmp_path / "metrics.json").read_text())["notes"]
    assert f"{60 - len(whole)} of the 60 test samples have no likelihood" in " ".join(said)


@pytest.mark.parametrize("broken", [float("nan"), float("-inf"), None])
def test_a_likelihood_that_is_no_number_ranks_last(tmp_path, broken):
    table, rows = drawn()
    rows[3]["logprobs"] = rows[3]["logprobs"][:-1] + [broken] if broken is not None else []
    rows[3]["forced"] = rows[3]["forced"][: len(rows[3]["logprobs"])]
    for name in ("forced", "logprobs"):
        column = pa.array([row[name] for row in rows], table.schema.field(name).type)
        table = table.set_column(table.column_names.index(name), name, column)
    found = figures(assemble(table, problems_of(rows), "numeric", None), tmp_path)["test"]
    others = [row for row in rows if row is not rows[3]]
    assert found["likeliest"]["value"] == pytest.approx(naive(others, True))


def test_likelihoods_of_two_generators_are_not_compared(tmp_path):
    table, rows = drawn()
    table = table.append_column("generator", pa.array(["one", "other"] * 30))
    found = figures(assemble(table, problems_of(rows), "numeric", None), tmp_path)["test"]
    assert found["likeliest"] is None
    assert "likeliest is not told" in (tmp_path / "metrics.json").read_text()


@pytest.mark.parametrize("as_list", [False, True])
def test_other_peoples_files_may_have_one(tmp_path, as_list):
    _, rows = drawn()
    lines = [
        {
            "question": row["problem_id"],
            "answer": "1",
            "solution": row["solution"],
            "outputs": {"cumulative_logprob": row["logprobs"] if as_list else sum(row["logprobs"])},
        }
        for row in rows
    ]
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    named = external.Reading(fields={"likelihood": "outputs.cumulative_logprob"})
    split = sources.read(sources.Sources(file, how=named), LabelConfig())[TEST]
    assert list(own_likelihood.ranks(split.rows)) == ["likeliest"]
    found = figures(split, tmp_path / "out")["test"]
    assert found["likeliest"]["value"] == pytest.approx(naive(rows, True))
