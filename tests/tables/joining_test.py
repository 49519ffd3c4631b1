"""Rows and numbers that are missing: counted and named, refused, and left out only where that is
asked for.
"""

from __future__ import annotations

import pathlib

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.held import assemble
from verifier.config import ReportConfig
from verifier.errors import TablesError
from verifier.report import writing
from verifier.system import checksums
from verifier.tables import joining, provenance
from verifier.tables.split_rows import SplitRows
from verifier.text.split import TEST

CONFIG = ReportConfig(ks=(1, 3, 50), resamples=20, show_problems=1)


def made(samples: int = 8) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
    """Two problems' samples, problems, labels and scores; sample j of a problem has the score j /
    10.
    """
    names, ids = (
        [f"p{n % 2}" for n in range(samples)],
        pa.array([n // 2 for n in range(samples)], pa.int32()),
    )
    rows = pa.table(
        {
            "problem_id": names,
            "sample_id": ids,
            "solution": [f"#### {n % 3}" for n in range(samples)],
        }
    )
    problems = pa.table({"problem_id": ["p0", "p1"], "question": ["a", "b"], "answer": ["0", "1"]})
    key = rows.select(["problem_id", "sample_id"])
    labels = key.append_column("answer", pa.array([str(n % 3) for n in range(samples)]))
    labels = labels.append_column("correct", pa.array([n % 3 == n % 2 for n in range(samples)]))
    labels = labels.append_column("grader", pa.array(["numeric"] * samples))
    value = [(n // 2) / 10 for n in range(samples)]
    scores = key.append_column("score", pa.array(value)).append_column(
        "token_scores", pa.array([[one, one] for one in value])
    )
    return rows, problems, labels, scores


def with_scores(
    scores: pa.Table, score: list[float], tokens: list[list[float]] | None = None
) -> pa.Table:
    table = scores.set_column(2, "score", pa.array(score, pa.float64()))
    return table if tokens is None else table.set_column(3, "token_scores", pa.array(tokens))


def test_missing_rows_and_nan_are_counted_named_and_refused() -> None:
    rows, problems, labels, scores = made()
    with pytest.raises(
        TablesError,
        match=(
            "2 of 8 samples have no row in the scores, such as problem p0, sample 0; problem "
            "p1, sample 0;.*--allow-missing"
        ),
    ):
        assemble(rows, problems, labels, scores.slice(2))
    with pytest.raises(
        TablesError, match="1 of 8 samples have no row in the labels, such as problem p1, sample 3"
    ):
        assemble(rows, problems, labels.slice(0, 7), scores)
    values = scores["score"].to_pylist()
    broken = with_scores(scores, [*values[:3], float("nan"), float("nan"), *values[5:]])
    with pytest.raises(
        TablesError,
        match=(
            "2 of 8 scores are NaN .*problem p1, sample 1; problem p0, sample 2: "
            ".*report.allow_missing=true"
        ),
    ):
        assemble(rows, problems, labels, broken)
    tokens = [[one, one] for one in values]
    tokens[5] = [float("nan"), 0.5]
    with pytest.raises(
        TablesError,
        match=(
            "1 of 8 scores are NaN or have NaN among their token values, such as of problem "
            "p1, sample 2"
        ),
    ):
        assemble(rows, problems, labels, with_scores(scores, values, tokens))
    for bad, what in ((float("inf"), "inf"), (-float("inf"), "inf")):
        tokens[5] = [0.5, bad]
        with pytest.raises(
            TablesError,
            match=(
                f"1 of 8 scores are {what} or have {what} among .* problem p1, sample 2: "
                ".*--allow-missing"
            ),
        ):
            assemble(rows, problems, labels, with_scores(scores, values, tokens))
        mixed = with_scores(scores, [bad, *values[1:7], float("nan")])
        with pytest.raises(
            TablesError,
            match=(
                "2 of 8 scores are NaN or inf or have .* problem p0, sample 0; problem p1, "
                "sample 3:"
            ),
        ):
            assemble(rows, problems, labels, mixed)
        split = assemble(
            rows,
            problems,
            labels,
            with_scores(mixed, [bad, *values[1:]], tokens),
            allow_missing=True,
        )
        assert split.missing["samples_with_nan"] == 2 and len(split.rows) == 6


def test_what_is_left_out_is_as_if_it_had_not_been_drawn(tmp_path: pathlib.Path) -> None:
    rows, problems, labels, scores = made()
    values = scores["score"].to_pylist()
    # 0 has no row, 6 is NaN
    broken = with_scores(scores, [*values[:6], float("nan"), values[7]]).slice(1)
    split = assemble(rows, problems, labels.slice(0, 5), broken, allow_missing=True)
    assert split.missing == {
        "samples_without_label": 3,
        "samples_without_score": 1,
        "samples_with_nan": 0,
    }
    kept = assemble(rows.slice(1, 4), problems, labels, scores)
    assert split.candidates.sample_id_C.tolist() == kept.candidates.sample_id_C.tolist()
    assert split.candidates.correct_C.tolist() == kept.candidates.correct_C.tolist()
    split = assemble(rows, problems, labels, broken, allow_missing=True)
    assert split.missing == {
        "samples_without_label": 0,
        "samples_without_score": 1,
        "samples_with_nan": 1,
    }
    result = writing.write({TEST: split}, writing.About("run"), CONFIG, 0, tmp_path)
    assert (
        result["splits"]["test"]["left_out"] == {"problems": 0, **split.missing}
        and result["splits"]["test"]["n_samples"] == 6
    )
    notes = " ".join(result["notes"])
    assert (
        "1 test samples without score are left out" in notes
        and "1 test samples with nan are left out" in notes
    )
    assert (
        "No test problem has more than 4 samples: the votes with k = 50 are of all of them."
        in notes
    )
    assert "note: 1 test samples without score" in writing.results_table(result)
    assert all(
        note.split(":")[0] in (tmp_path / "index.html").read_text() for note in result["notes"]
    )


def test_where_nothing_is_left_that_is_said() -> None:
    rows, problems, labels, scores = made()
    with pytest.raises(TablesError, match=r"no sample is left of 8 \(8 samples with nan\)"):
        assemble(
            rows, problems, labels, with_scores(scores, [float("nan")] * 8), allow_missing=True
        )
    others = scores.set_column(1, "sample_id", pa.array(range(10, 18), pa.int32()))
    with pytest.raises(TablesError, match="8 of 8 samples have no row in the scores"):
        assemble(rows, problems, labels, others)


def test_a_row_that_is_there_twice_is_refused_always() -> None:
    rows, problems, labels, scores = made()
    for allow in (False, True):
        with pytest.raises(TablesError, match="the scores hold problem p1, sample 3 twice"):
            assemble(rows, problems, labels, pa.concat_tables([scores, scores.slice(7)]), allow)


def test_places_are_found_in_any_order() -> None:
    rows, _, _, scores = made()
    order = np.random.default_rng(0).permutation(8)
    assert (
        joining.matching_rows(rows, scores.take(order), "scores").tolist()
        == np.argsort(order).tolist()
    )
    assert joining.matching_rows(rows, scores.take(order[:3]), "scores").tolist().count(-1) == 5


def test_samples_of_another_generator_are_refused(tmp_path: pathlib.Path) -> None:
    rows, problems, labels, scores = made()
    rows = rows.append_column("generator", pa.array(["g1"] * 8))
    scores = scores.append_column("verifier", pa.array(["v1"] * 8))
    splits: dict[str, SplitRows] = {"test": assemble(rows, problems, labels, scores)}
    provenance.refuse_other_generator(splits, tmp_path)  # no manifest tells nothing
    cases = [
        ({"generator": "g1"}, "v1", False),
        ({"generator": "g0"}, "v0", False),
        ({"generator": "g0"}, "v1", True),
    ]
    cases += [
        ({"generator": "g0", "trained_on": "g1"}, "v1", False),
        ({"generator": "g1", "trained_on": "g0"}, "v1", True),
    ]
    for made_from, verifier, refused in cases:
        checksums.write_sealed(tmp_path / "manifest.json", {"id": verifier, **made_from})
        if refused:
            with pytest.raises(
                TablesError,
                match=(
                    "test samples were drawn by generator g1, but the verifier in .* of "
                    "g0.*--other-generator"
                ),
            ):
                provenance.refuse_other_generator(splits, tmp_path)
        else:
            provenance.refuse_other_generator(splits, tmp_path)


def test_samples_beyond_the_verifiers_context_are_left_out_where_just_they_lack_a_score() -> None:
    rows, problems, labels, scores = made()
    split = assemble(rows, problems, labels, scores.slice(2), too_long=2)
    assert split.missing == {"samples_too_long_for_the_verifier": 2}
    kept = assemble(rows.slice(2), problems, labels, scores)
    np.testing.assert_array_equal(split.candidates.score_C, kept.candidates.score_C)
    np.testing.assert_array_equal(split.candidates.correct_C, kept.candidates.correct_C)
    for count in (1, 3):  # another cause: refused, or asked for, and counted as what it is
        with pytest.raises(TablesError, match="2 of 8 samples have no row in the scores"):
            assemble(rows, problems, labels, scores.slice(2), too_long=count)
        split = assemble(
            rows, problems, labels, scores.slice(2), allow_missing=True, too_long=count
        )
        assert split.missing["samples_without_score"] == 2
    split = assemble(
        rows, problems, labels.slice(0, 7), scores.slice(2), allow_missing=True, too_long=2
    )
    assert [
        split.missing[f"samples_{why}"]
        for why in ("too_long_for_the_verifier", "without_label", "without_score")
    ] == [2, 1, 0]
