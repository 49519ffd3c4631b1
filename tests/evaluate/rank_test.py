"""Rankings and votes against a plain reading of the rules, and the identities that tie them
together.
"""

from __future__ import annotations

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import CandidatesError
from verifier.evaluate import rank
from verifier.evaluate.candidates import Candidates, arrange

Row = tuple[str, int, int, float]  # problem, sample, answer (-1: none), score


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Up to four problems with one to seven samples each, few answers and few scores so that ties
    abound.
    """
    out = []
    for problem in draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True)):
        for sample in draw(st.lists(st.integers(0, 99), min_size=1, max_size=7, unique=True)):
            out.append(
                (
                    problem,
                    sample,
                    draw(st.integers(-1, 3)),
                    draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])),
                )
            )
    return draw(st.permutations(out))


def candidates(given_rows: list[Row], scored: bool = True) -> Candidates:
    """Answer 0 is the right one."""
    names, samples, answers, scores = (list(column) for column in zip(*given_rows, strict=True))
    correct = np.array(answers) == 0
    return arrange(
        names, np.array(samples), np.array(answers), correct, np.array(scores) if scored else None
    )


def plain_vote(
    samples: list[tuple[int, int, float]], weigh: bool = False
) -> tuple[int, int] | None:
    """The rule as one reads it: sample and answer handed in; samples come in order of rank."""
    totals: dict[int, float] = collections.defaultdict(float)
    for _, answer, score in samples:
        if answer >= 0:
            totals[answer] += score if weigh else 1
    best = None
    for sample, answer, _ in samples:
        if answer >= 0 and (best is None or totals[answer] > totals[best[1]]):
            best = sample, answer
    return best


def by_problem(
    given_rows: list[Row], scored: bool = True
) -> dict[str, list[tuple[int, int, float]]]:
    ordered = sorted(given_rows, key=lambda row: (row[0], -row[3] if scored else 0, row[1]))
    out: dict[str, list[tuple[int, int, float]]] = collections.defaultdict(list)
    for problem, sample, answer, score in ordered:
        out[problem].append((sample, answer, score))
    return dict(out)


def check(choice: rank.Choice, ranked: Candidates, expected: list[tuple[int, int] | None]) -> None:
    chosen = [
        int(ranked.sample_id_C[ranked.start_P[p] + column]) if column >= 0 else None
        for p, column in enumerate(choice.column_P)
    ]
    assert chosen == [one[0] if one else None for one in expected]
    assert choice.correct_P.tolist() == [bool(one and one[1] == 0) for one in expected]


@settings(max_examples=150, deadline=None)
@given(rows(), st.integers(1, 8))
def test_votes_equal_the_rules_as_one_reads_them(given_rows: list[Row], k: int) -> None:
    ranked, groups = candidates(given_rows), by_problem(given_rows)
    check(rank.best_of_n(ranked), ranked, [(group[0][0], group[0][1]) for group in groups.values()])
    check(rank.majority(ranked), ranked, [plain_vote(group) for group in groups.values()])
    check(rank.top_k_vote(ranked, k), ranked, [plain_vote(group[:k]) for group in groups.values()])
    check(
        rank.weighted_vote(ranked),
        ranked,
        [plain_vote(group, weigh=True) for group in groups.values()],
    )
    unscored = candidates(given_rows, scored=False)
    check(
        rank.majority(unscored),
        unscored,
        [plain_vote(group) for group in by_problem(given_rows, scored=False).values()],
    )


@settings(max_examples=60, deadline=None)
@given(rows(), st.randoms(use_true_random=False))
def test_identities(given_rows: list[Row], random) -> None:
    ranked = candidates(given_rows)
    most = int(ranked.count_P.max())
    answered = rank.best_of_n(ranked).answer_P >= 0
    one = rank.top_k_vote(ranked, 1)
    assert one.correct_P.tolist() == rank.best_of_n(ranked).correct_P.tolist()
    assert one.column_P[answered].tolist() == rank.best_of_n(ranked).column_P[answered].tolist()
    for mine, other in zip(rank.top_k_vote(ranked, most), rank.majority(ranked), strict=True):
        assert mine.tolist() == other.tolist()
    scaled = [(*row[:3], 4 * row[3]) for row in given_rows]
    assert (
        rank.weighted_vote(candidates(scaled)).column_P.tolist()
        == rank.weighted_vote(ranked).column_P.tolist()
    )
    shuffled = list(given_rows)
    random.shuffle(shuffled)
    again = candidates(shuffled)
    assert (
        again.sample_id_C.tolist() == ranked.sample_id_C.tolist()
        and again.answer_C.tolist() == ranked.answer_C.tolist()
    )
    equal = candidates([(*row[:3], 0.5) for row in given_rows])
    lowest = [min(sample for sample, *_ in group) for group in by_problem(given_rows).values()]
    assert equal.sample_id_C[equal.start_P].tolist() == lowest
    assert rank.weighted_vote(equal).column_P.tolist() == rank.majority(equal).column_P.tolist()


@settings(max_examples=100, deadline=None)
@given(rows(), st.randoms(use_true_random=False))
def test_ranked_anew_is_as_if_ranked_so_from_the_start(given_rows: list[Row], random) -> None:
    scores = [random.choice([0.0, 0.25, 0.5]) for _ in given_rows]
    fresh = candidates([(*row[:3], score) for row, score in zip(given_rows, scores, strict=True)])
    again = candidates(given_rows).reranked(np.array(scores))
    for name in (
        "problem_id_P",
        "count_P",
        "row_C",
        "sample_id_C",
        "answer_C",
        "correct_C",
        "score_C",
    ):
        assert np.array_equal(getattr(again, name), getattr(fresh, name)), name
    with pytest.raises(CandidatesError, match="of .* scores are NaN"):
        fresh.reranked(np.full(len(scores), np.nan))


@settings(max_examples=60, deadline=None)
@given(rows(), st.randoms(use_true_random=False))
def test_some_samples_are_as_if_there_were_no_others(given_rows: list[Row], random) -> None:
    whole = candidates(given_rows)
    kept_C = np.array([random.random() < 0.6 or not column for column in whole.column_C.tolist()])
    some, rows_kept = whole.some(kept_C), sorted(whole.row_C[kept_C].tolist())
    alone = candidates([given_rows[row] for row in rows_kept])
    for name in ("problem_id_P", "count_P", "sample_id_C", "answer_C", "correct_C", "score_C"):
        assert np.array_equal(getattr(some, name), getattr(alone, name)), name


def test_samples_without_an_answer_cast_no_vote() -> None:
    ranked = candidates(
        [
            ("a", 0, -1, 0.9),
            ("a", 1, -1, 0.8),
            ("a", 2, -1, 0.7),
            ("a", 3, 0, 0.1),
            ("b", 0, -1, 0.5),
        ]
    )
    assert rank.majority(ranked).correct_P.tolist() == [True, False]
    assert rank.majority(ranked).column_P.tolist() == [3, -1]
    assert rank.weighted_vote(ranked).correct_P.tolist() == [True, False]
    assert rank.top_k_vote(ranked, 3).column_P.tolist() == [-1, -1]
    nobody = candidates([("a", 0, -1, 0.9)])
    assert (
        not rank.majority(nobody).correct_P.any() and not rank.weighted_vote(nobody).correct_P.any()
    )


def test_an_answer_group_is_right_as_its_best_ranked_sample_is() -> None:
    mixed = arrange(
        ["a"] * 3,
        np.arange(3),
        np.array([5, 5, 7]),
        np.array([False, True, True]),
        np.array([0.1, 0.9, 0.5]),
    )
    assert rank.majority(mixed).correct_P.tolist() == [True] and mixed.mixed_groups() == 1
    other = arrange(
        ["a"] * 3,
        np.arange(3),
        np.array([5, 5, 7]),
        np.array([False, True, True]),
        np.array([0.9, 0.1, 0.5]),
    )
    assert rank.majority(other).correct_P.tolist() == [False]


def test_negative_scores_count_as_they_stand() -> None:
    ranked = candidates([("a", 0, 0, -3.0), ("a", 1, 1, -2.0), ("a", 2, 1, -2.0)])
    assert rank.weighted_vote(ranked).correct_P.tolist() == [True]


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(
        CandidatesError, match=r"1 of 2 scores are NaN, such as row 1 \(problem a, sample 7\)"
    ):
        candidates([("a", 3, 0, 0.5), ("a", 7, 0, float("nan"))])
    with pytest.raises(
        CandidatesError, match=r"2 of 2 scores are inf, such as row 0 \(problem a, sample 3\)"
    ):
        candidates([("a", 3, 0, float("-inf")), ("a", 7, 0, float("inf"))])
    with pytest.raises(
        CandidatesError, match="1 samples are there twice, such as problem a, sample 3"
    ):
        candidates([("a", 3, 0, 0.5), ("b", 3, 0, 0.5), ("a", 3, 1, 0.6)])
    with pytest.raises(CandidatesError, match="no samples"):
        arrange([], np.array([]), np.array([]), np.array([]), None)
    unscored = candidates([("a", 3, 0, 0.5)], scored=False)
    with pytest.raises(ValueError, match="no scores"):
        rank.weighted_vote(unscored)
    with pytest.raises(ValueError, match="k=0"):
        rank.top_k_vote(unscored, 0)
