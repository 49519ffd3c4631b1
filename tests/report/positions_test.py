"""Figures by position against slices made by hand, and those of the scores: average precision,
difficulty, transforms.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.held import held
from verifier.evaluate.calibration import calibration, discrimination
from verifier.evaluate.candidates import arrange
from verifier.report import plots
from verifier.report.positions import by_position
from verifier.tables import token_values
from verifier.tables.split_rows import SplitRows

FIGURES = (
    "auroc",
    "auroc_within_problem",
    "auprc",
    "auprc_within_problem",
    "brier",
    "ece",
    "share_right",
)


def made_split(values: list[list[float]], right: np.ndarray, problem: np.ndarray) -> SplitRows:
    ids = [f"p{p}" for p in problem]
    score = np.array([one[-1] if one else 0.5 for one in values], np.float32)
    candidates = arrange(ids, np.arange(len(ids)), np.arange(len(ids)), right, score)
    kept = token_values.summarised(pa.chunked_array([pa.array(values, pa.list_(pa.float32()))]))
    rows = pa.table({"problem_id": ids, "sample_id": np.arange(len(ids)), **kept})
    return SplitRows(
        rows,
        pa.nulls(len(ids), pa.string()).dictionary_encode(),
        {},
        {},
        "numeric",
        candidates,
        held(rows),
    )


def drawn_split(seed: int = 0) -> tuple[SplitRows, list[list[float]], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    problem = rng.permutation(np.repeat(np.arange(12), 6))
    right = rng.random(len(problem)) < 0.4
    values = [
        np.clip(rng.normal(0.4 + 0.2 * yes, 0.3, rng.integers(1, 25)), 0, 1)
        .astype(np.float32)
        .tolist()
        for yes in right
    ]
    return made_split(values, right, problem), values, right, problem


def test_figures_by_position_are_those_of_the_values_there() -> None:
    split, values, right, problem = drawn_split()
    rows = by_position(split, 50, 0)
    assert rows is not None and [row["share"] for row in rows] == [
        tenth / 10 for tenth in range(1, 11)
    ]
    for tenth, row in enumerate(rows, 1):
        there = np.array([one[math.ceil(tenth * len(one) / 10) - 1] for one in values])
        expected = discrimination(there, right, problem)
        for name in FIGURES:
            assert row[name] == pytest.approx(expected[name]), (tenth, name)
        low, high = row["auroc_within_problem_ci95"]
        assert low <= row["auroc_within_problem"] <= high
    whole = calibration(split.candidates)
    for name in FIGURES:
        assert rows[-1][name] == pytest.approx(whole[name])


def test_a_verifier_that_knows_late_shows_it() -> None:
    rng = np.random.default_rng(1)
    problem, right = np.repeat(np.arange(40), 5), rng.random(200) < 0.5
    values = [[*rng.random(5).tolist(), *[0.9 * yes + 0.05] * 5] for yes in right.tolist()]
    rows = by_position(made_split(values, right, problem), 50, 0)
    assert rows is not None
    assert all(abs(row["auroc"] - 0.5) < 0.15 for row in rows[:5]) and all(
        row["auroc"] == 1 for row in rows[5:]
    )
    chart = plots.merit_by_position({"verifier": {"by_position": rows}})
    assert chart is not None and chart.render().count("<circle") == 20


def test_without_token_values_there_is_nothing_by_position() -> None:
    split = drawn_split()[0]
    assert (
        by_position(made_split([[]] * 4, np.array([True, False] * 2), np.zeros(4, int)), 10, 0)
        is None
    )
    bare = dataclasses.replace(split, rows=split.rows.select(["problem_id", "sample_id"]))
    assert by_position(bare, 10, 0) is None
    assert plots.merit_by_position({"verifier": None}) is None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([0.1, 0.2, 0.3]), st.booleans()),
        min_size=1,
        max_size=14,
    )
)
def test_average_precision_sums_over_thresholds(rows: list[tuple[int, float, bool]]) -> None:
    group, score, right = (np.array(column) for column in zip(*rows, strict=True))
    expected = []
    for g in range(group.max() + 1):
        mine, verdict = score[group == g], right[group == g]
        if verdict.all() or not verdict.any():  # nothing to tell apart
            continue
        total, recall = 0.0, 0.0
        for threshold in sorted(set(mine.tolist()), reverse=True):
            taken = verdict[mine >= threshold]
            total += (taken.sum() / verdict.sum() - recall) * taken.mean()
            recall = taken.sum() / verdict.sum()
        expected.append(total)
    figure = discrimination(score, right, group)["auprc_within_problem"]
    assert figure == (pytest.approx(np.mean(expected)) if expected else None)


def test_order_alone_decides_auroc_and_auprc() -> None:
    _, values, right, problem = drawn_split(2)
    score = np.array([one[-1] for one in values])
    order = np.random.default_rng(0).permutation(len(score))
    plain = discrimination(score, right, problem)
    changed = discrimination(np.exp(3 * score) - 7, right, problem)
    shuffled = discrimination(score[order], right[order], problem[order])
    for name in ("auroc", "auroc_within_problem", "auprc", "auprc_within_problem"):
        assert changed[name] == pytest.approx(plain[name]) and shuffled[name] == pytest.approx(
            plain[name]
        )
    assert changed["brier"] != pytest.approx(plain["brier"])
    told_nothing = discrimination(np.full(len(score), 0.5), right, problem)
    assert (
        told_nothing["auroc"] == 0.5
        and told_nothing["auprc"] == pytest.approx(right.mean()) == told_nothing["share_right"]
    )


def test_a_verifier_that_only_knows_the_problem_is_found_out() -> None:
    """Its score is how hard the problem is: fine over all problems, of no use for choosing a
    sample.
    """
    rng = np.random.default_rng(0)
    ability = rng.beta(0.5, 0.5, 200)
    problem = np.repeat(np.arange(200), 20)
    figures = discrimination(ability[problem], rng.random(4000) < ability[problem], problem)
    assert (
        figures["auroc"] > 0.8
        and figures["auprc"] > 0.8
        and figures["brier"] < 0.15
        and figures["ece"] < 0.03
    )
    assert (
        figures["auroc_within_problem"] == 0.5
        and figures["auprc_within_problem"] < figures["auprc"]
    )
