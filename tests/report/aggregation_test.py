"""Scores out of token values against plain loops, the last line against the text, and rankings that
change with the aggregation.
"""

from __future__ import annotations

import math
import pathlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.held import assemble
from verifier.config import ReportConfig
from verifier.errors import AggregationError
from verifier.evaluate import rank
from verifier.evaluate.candidates import arrange
from verifier.report import aggregation, writing
from verifier.report.aggregation import AGGREGATIONS, in_last_line
from verifier.tables.split_rows import SplitRows
from verifier.tables.token_values import aggregate
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.split import TEST

TEXT = "ab\n#### {}"  # nine tokens of bytes and the end token: three, then seven of the last line
FAVOURITE = {  # of five samples' token values each, the one that its aggregation puts first
    "last": [0.3] * 9 + [0.95],
    "mean": [1.0] * 3 + [0.6] * 6 + [0.01],
    "min": [0.45] * 10,
    "product": [0.75] * 6 + [0.4] * 4,
    "last_line": [0.01] * 3 + [0.85] * 6 + [0.2],
}
PIECES = ["a", " ", "\n", "b\n", "\nc", "\n\n", "c\nd", " \n ", "\n e", "", "f g"]


class Pieces:
    """A tokenizer whose tokens are given texts; enough of one for the last line."""

    vocab_size = len(PIECES)

    def token_text(self, token: int) -> str:
        return PIECES[token]


def plain(values: list[float], how: str, last_line: list[bool]) -> float:
    if how == "last":
        return values[-1]
    if how == "mean":
        return math.fsum(values) / len(values)
    if how == "min":
        return min(values)
    if how == "product":
        return math.prod(min(max(value, 1e-6), 1.0) for value in values)
    kept = [value for value, there in zip(values, last_line, strict=True) if there]
    return math.fsum(kept) / len(kept)


def flat(lists: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([value for one in lists for value in one], np.float32), np.array(
        [len(one) for one in lists], np.int64
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.floats(-0.25, 1.25, width=32), max_size=6), max_size=6), st.data())
def test_every_aggregation_equals_a_plain_loop(
    lists: list[list[float]], data: st.DataObject
) -> None:
    value_N, length_R = flat(lists)
    lines = [[False] * (len(one) - 1) + [True] for one in lists]
    for line in lines:
        first = data.draw(st.integers(0, len(line) - 1))
        line[first:] = [True] * (len(line) - first)
    mask_N = np.array(
        [there for one, line in zip(lists, lines, strict=True) for there in line[: len(one)]], bool
    )
    for how in AGGREGATIONS:
        scores = aggregate(value_N, length_R, how, mask_N)
        for row, values in enumerate(lists):
            if values:
                assert scores.score_R[row] == pytest.approx(
                    plain(values, how, lines[row]), rel=1e-5, abs=1e-12
                ), how
            else:
                assert np.isnan(scores.score_R[row])
        if how == "product":
            assert scores.log_R is not None and np.exp(scores.log_R) == pytest.approx(
                scores.score_R, nan_ok=True
            )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(0.0009765625, 1, width=32), min_size=1, max_size=5),
        min_size=1,
        max_size=4,
    )
)
def test_order_of_the_aggregations(lists: list[list[float]]) -> None:
    value_N, length_R = flat(lists)
    scores = {
        how: aggregate(value_N, length_R, how, np.ones(len(value_N), bool)).score_R
        for how in AGGREGATIONS
    }
    assert np.all(scores["product"] <= scores["min"] * (1 + 1e-6)) and np.all(
        scores["min"] <= scores["mean"] * (1 + 1e-6)
    )
    alone = length_R == 1  # one token leaves nothing to put together
    for how in AGGREGATIONS:
        assert scores[how][alone] == pytest.approx(scores["last"][alone])


def test_a_nan_makes_the_whole_score_nan() -> None:
    value_N, length_R = flat([[0.5, float("nan"), 0.25], [0.5, 0.25]])
    for how in ("mean", "min", "product"):
        assert np.isnan(aggregate(value_N, length_R, how).score_R).tolist() == [True, False]


def test_products_too_small_for_a_float_still_rank_and_vote() -> None:
    """Four solutions of 4,000 tokens: as float64 their products are all 0."""
    values = [[0.5] * 4000, [0.51] * 4000, [0.5] * 3999 + [0.49], [0.5] * 3999 + [0.48]]
    score_R, log_R = aggregate(*flat(values), "product")
    assert np.all(score_R == 0)
    answers = np.array([0, 1, 2, 2])
    ranked = arrange(["p"] * 4, np.arange(4), answers, answers == 1, score_R, log_R)
    assert ranked.sample_id_C.tolist() == [1, 0, 2, 3]
    close = arrange(
        ["p"] * 3,
        np.arange(3),
        np.array([0, 2, 2]),
        np.array([False, True, True]),
        score_R[[0, 2, 3]],
        log_R[[0, 2, 3]],
    )
    assert rank.best_of_n(close).correct_P.tolist() == [False]
    # 1 against 0.98 + 0.96, in units of the best product
    assert rank.weighted_vote(close).correct_P.tolist() == [True]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.integers(0, len(PIECES) - 1), max_size=6), min_size=1, max_size=4))
def test_the_last_line_is_that_of_the_text(rows: list[list[int]]) -> None:
    length_R = np.array([len(row) for row in rows], np.int64)
    marked = in_last_line(
        np.array([token for row in rows for token in row], np.int64), length_R, Pieces()
    ).tolist()  # type: ignore[arg-type]
    for row in rows:
        mine, marked = marked[: len(row)], marked[len(row) :]
        text = "".join(PIECES[token] for token in row)
        start = text.rfind("\n", 0, len(text.rstrip())) + 1
        first, said = len(row), 0
        for index, token in enumerate(row):
            end = said + len(PIECES[token])
            if said >= start or (end > start and text[start:end].strip()):
                first = min(first, index)
            said = end
        assert mine == [index >= first for index in range(len(row))], repr(text)


def split_where(
    right: str | None,
    tokenizer: ByteTokenizer,
    columns: tuple[str, ...] = ("tokens", "token_scores"),
) -> SplitRows:
    """One problem with a sample for every aggregation; the one that `right` ranks first is right,
    and no other.
    """
    rows = []
    for sample, how in enumerate(FAVOURITE):
        text = TEXT.format(1 if how == right else 2 + sample)
        rows.append(
            {
                "problem_id": "p",
                "sample_id": sample,
                "solution": text,
                "tokens": [*tokenizer.encode(text), tokenizer.end_id],
            }
        )
    samples = pa.Table.from_pylist(rows)
    scores = samples.select(["problem_id", "sample_id"]).append_column(
        "score", pa.array([values[-1] for values in FAVOURITE.values()])
    )
    scores = scores.append_column(
        "token_scores", pa.array(list(FAVOURITE.values()), pa.list_(pa.float32()))
    )
    kept = [
        name for name in scores.column_names if name not in ("token_scores",) or name in columns
    ]
    samples = samples if "tokens" in columns else samples.drop_columns(["tokens"])
    problems = pa.table({"problem_id": ["p"], "question": ["q"], "answer": ["1"]})
    return assemble(samples, problems, "numeric", scores.select(kept))


@pytest.mark.parametrize("right", AGGREGATIONS)
def test_the_ranking_follows_the_aggregation(right: str, tmp_path: pathlib.Path) -> None:
    tokenizer = ByteTokenizer()
    split = split_where(right, tokenizer)
    for how in AGGREGATIONS:
        config = ReportConfig(ks=(1,), resamples=10, show_problems=1, aggregation=how)
        result = writing.write(
            {TEST: split}, writing.About("run", tokenizer=tokenizer), config, 0, tmp_path
        )
        test = result["splits"]["test"]
        assert test["best_of_n"]["value"] == (how == right) and result["aggregation"] == how
        assert bool(result["notes"]) == (how != "last")
        assert {
            name: figures["best_of_n"]["value"] for name, figures in test["aggregations"].items()
        } == {name: float(name == right) for name in AGGREGATIONS}
        applied = aggregation.applied(split, how, tokenizer)
        chosen = int(applied.candidates.row_C[0])
        expected = TEXT.format(1 if how == right else 2 + AGGREGATIONS.index(how))
        assert split.cells(np.array([chosen]), ["solution"])["solution"] == [expected]


def test_what_an_aggregation_lacks_is_named() -> None:
    tokenizer = ByteTokenizer()
    with pytest.raises(
        AggregationError,
        match=(
            "aggregation=mean needs `token_scores`, .*there are problem_id, sample_id, "
            "solution, tokens"
        ),
    ):
        aggregation.applied(split_where(None, tokenizer, ("tokens",)), "mean", tokenizer)
    with pytest.raises(AggregationError, match="aggregation=last_line needs `tokens`"):
        aggregation.applied(split_where(None, tokenizer, ("token_scores",)), "last_line", tokenizer)
    whole = split_where(None, tokenizer)
    with pytest.raises(AggregationError, match="last_line needs the tokenizer .* --tokenizer=PATH"):
        aggregation.applied(whole, "last_line", None)
    other = ByteTokenizer()
    other.decode = lambda ids: "something else"  # type: ignore[method-assign,assignment]
    with pytest.raises(
        AggregationError, match="tokens of row 1 read 'something else', its solution 'ab"
    ):
        aggregation.applied(whole, "last_line", other)
    small = ByteTokenizer()
    small.vocab_size = 50
    with pytest.raises(AggregationError, match=r"token \d+ is beyond this tokenizer's 50"):
        aggregation.applied(whole, "last_line", small)
    compared = aggregation.compare({TEST: whole}, None, 10, 0)[TEST]
    assert (
        compared is not None and compared["last_line"] is None and compared["product"] is not None
    )


def test_the_choice_of_an_aggregation_is_made_on_heldout_alone() -> None:
    tokenizer = ByteTokenizer()
    picks = set()
    for right in AGGREGATIONS:
        splits = {"heldout": split_where("min", tokenizer), "test": split_where(right, tokenizer)}
        compared = aggregation.compare(splits, tokenizer, 10, 0)
        chosen = aggregation.chosen(compared["heldout"], compared["test"])
        assert chosen is not None and chosen["best_of_n"]["value"] == (right == "min")
        picks.add(chosen["aggregation"])
    assert picks == {"min"}
    assert aggregation.chosen(None, compared["test"]) is None
