"""Votes of problems that are unlike in size, against the rules as one reads them, and memory that
grows with the samples alone.
"""

from __future__ import annotations

import collections
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.held import by_problem
from verifier.evaluate import curves, elections, metrics, rank, subsets
from verifier.evaluate.candidates import Candidates, arrange
from verifier.text.split import TEST


def skewed(counts: list[int], seed: int, answers: int = 4, tied: bool = True) -> Candidates:
    """Problems of these sizes; one sample in eight has no answer, and scores tie where asked
    for.
    """
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{n:04d}" for n in range(len(counts))], counts)
    ids = np.concatenate([np.arange(count) for count in counts])
    answer = rng.integers(0, answers, len(names))
    answer[rng.random(len(names)) < 1 / 8] = -1
    score = rng.integers(-3, 4, len(names)) / 4 if tied else rng.normal(size=len(names))
    order = rng.permutation(len(names))
    return arrange(names[order], ids[order], answer[order], answer[order] % 3 == 0, score[order])


def elected(answers: list[int], weights: list[float] | None) -> int | None:
    """Place of the sample that a vote hands in, samples in order of rank; None: nobody voted."""
    total: dict[int, float] = collections.defaultdict(float)
    for index, answer in enumerate(answers):
        if answer >= 0:
            total[answer] += weights[index] if weights else 1
    best = max(total.values(), default=0)
    return next(
        (index for index, answer in enumerate(answers) if answer >= 0 and total[answer] == best),
        None,
    )


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.sampled_from([1, 3, 30]),
)
def test_votes_over_problems_of_any_sizes_equal_the_rules(
    counts: list[int], seed: int, k: int, answers: int
) -> None:
    ranked = skewed(counts, seed, answers)
    assert (
        by_problem(ranked, "column_C")[0].tolist() == list(range(counts[0]))
        and ranked.count_P.tolist() == counts
    )
    columns = zip(
        *(by_problem(ranked, name) for name in ("answer_C", "score_C", "correct_C")), strict=True
    )
    choices = [rank.majority(ranked), rank.top_k_vote(ranked, k), rank.weighted_vote(ranked)]
    for index, (answer, score, right) in enumerate(columns):
        answered = [one for one in dict.fromkeys(answer.tolist()) if one >= 0]
        assert answered == list(range(len(answered)))  # numbered by the best-ranked
        expected = [
            elected(answer.tolist(), None),
            elected(answer[:k].tolist(), None),
            elected(answer.tolist(), score.tolist()),
        ]
        for choice, column in zip(choices, expected, strict=True):
            assert choice.column_P[index] == (-1 if column is None else column)
            assert choice.answer_P[index] == (-1 if column is None else answer[column])
            assert choice.correct_P[index] == (column is not None and right[column])


@pytest.mark.parametrize("answers", [2, 6, 40])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_table_and_sorting_elect_the_same(
    monkeypatch: pytest.MonkeyPatch, answers: int, weighted: bool
) -> None:
    """And pieces of any size draw the same subsets."""
    ranked = skewed([1, 60, 7, 7, 33, 60], answers, answers)
    ways = {}
    for name, roomy, chunk in (
        ("table", 10**9, 100_000),
        ("sorting", 0, 100_000),
        ("in small pieces", 4, 50),
    ):
        monkeypatch.setattr(elections, "_ROOMY", roomy)
        monkeypatch.setattr(subsets, "_CHUNK", chunk)
        some = ranked.of_problems(ranked.count_P > 6)
        cells = [
            (size, k)
            for size in (1, 2, 5, 7)
            for k in (1, 2, 5, 7)
            if k == size or (k < size and not weighted)
        ]
        ways[name] = subsets.vote_shares(
            some, cells, 0, subsets=30, weight_C=some.score_C if weighted else None
        )
    for cell in cells:
        assert all(np.array_equal(shares[cell], ways["table"][cell]) for shares in ways.values()), (
            cell
        )


def test_votes_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for trial in range(60):
        voters, slots = int(rng.integers(1, 12)), int(rng.integers(3, 8))
        slot, turn = rng.integers(0, slots, (2, voters)), rng.permutation(voters)
        weight = rng.integers(-2, 3, (2, voters)) / 2
        ends = sorted({*rng.integers(1, voters + 1, 3).tolist()})
        for roomy in (0, 10**9):
            monkeypatch.setattr(elections, "_ROOMY", roomy)
            most = elections.most_votes(slot[:, turn], np.tile(turn, (2, 1)), ends, voters)
            apart = np.where(slot == 1, 0, slot)
            largest = elections.largest_sum(
                apart, np.tile(np.arange(voters), (2, 1)), weight, voters
            )
            for one in range(2):
                # who shares is alone
                answers = np.where(
                    slot[one] == 0, -1, np.where(slot[one] == 1, 100 + np.arange(voters), slot[one])
                )
                expected = [
                    elected(np.where(np.argsort(turn) < end, answers, -1).tolist(), None)
                    for end in ends
                ]
                assert most[one].tolist() == [
                    voters if column is None else column for column in expected
                ], (trial, roomy)
                column = elected(
                    np.where(apart[one] == 0, -1, apart[one]).tolist(), weight[one].tolist()
                )
                assert largest[one].tolist() == [voters if column is None else column], (
                    trial,
                    roomy,
                )


def test_memory_grows_with_the_samples_and_not_with_the_largest_problem_or_the_answers() -> None:
    """Padded to the largest problem these rows would be 3 * 10^8, and every answer of each 2 *
    10^10.
    """
    rng = np.random.default_rng(0)
    counts = [30_000, *rng.integers(3, 9, 5_000).tolist()]
    ranked = skewed(counts, 0, answers=20_000, tied=False)
    rows = sum(counts)
    tracemalloc.start()
    try:
        rank.weighted_vote(ranked)
        ranked.mixed_groups()
        curves.verifier_at_k(ranked, 3)
        curves.majority_at_k(ranked, [1, 2, 3], 0)
        curves.weighted_vote_at_k(ranked, [1, 3], 0)
        assert tracemalloc.get_traced_memory()[1] < 400 * rows
        alone = ranked.of_problems(ranked.count_P == 30_000)
        curves.majority_at_k(alone, [1, 3, 1_000, 30_000], 0, subsets=3)
        curves.weighted_vote_at_k(alone, [1, 3, 1_000, 30_000], 0, subsets=3)
        assert tracemalloc.get_traced_memory()[1] < 400 * rows
    finally:
        tracemalloc.stop()


def test_figures_of_a_skewed_set_are_those_of_its_problems() -> None:
    """What every problem contributes does not change with the company that it is in."""
    ranked = skewed([400, 5, 3, 12, 3], 1, answers=200)
    for name, of in (
        ("majority", lambda some: rank.majority(some).correct_P),
        ("pass@3", lambda some: curves.pass_at_k(some, 3)),
        ("verifier@3", lambda some: curves.verifier_at_k(some, 3)),
    ):
        alone = [float(of(ranked.of_problems(np.arange(5) == index))[0]) for index in range(5)]
        assert of(ranked).astype(float) == pytest.approx(alone), name
    split = metrics.summarise({TEST: ranked}, [1, 3, 10, 400], 20, 0)["test"]
    assert split["samples_per_problem"] == {"min": 3, "max": 400} and split["n_samples"] == 423
