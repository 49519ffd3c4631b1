"""Variances over the draw of the samples against all pairs of subsets, and intervals against
simulations whose truth is known.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.evaluate.held import by_problem
from verifier.evaluate import curves, nested, subsets
from verifier.evaluate.candidates import Candidates, arrange
from verifier.evaluate.intervals import Bootstrap


def from_verdicts(right_PJ: np.ndarray, score_PJ: np.ndarray | None = None) -> Candidates:
    """Answer 0 is right, answer 1 wrong."""
    problems, samples = right_PJ.shape
    names = np.repeat([f"p{n:04d}" for n in range(problems)], samples)
    ids = np.tile(np.arange(samples), problems)
    return arrange(
        names,
        ids,
        (~right_PJ).astype(int).ravel(),
        right_PJ.ravel(),
        None if score_PJ is None else score_PJ.ravel(),
    )


@pytest.mark.parametrize("k", [1, 2, 3])
def test_closed_forms_equal_all_pairs_of_disjoint_subsets(k: int) -> None:
    rng = np.random.default_rng(k)
    candidates = from_verdicts(rng.random((8, 7)) < 0.5, rng.integers(0, 4, (8, 7)).astype(float))
    passed, best = nested.pass_variance(candidates, k), nested.verifier_variance(candidates, k)
    for p in range(8):
        # in order of rank, so that a subset's lowest column is its best
        right = by_problem(candidates, "correct_C")[p]
        pairs = [
            (one, other)
            for one in itertools.combinations(range(7), k)
            for other in itertools.combinations(range(7), k)
            if not {*one} & {*other}
        ]
        for variance_P, verdict in (
            (passed, lambda part, right=right: right[list(part)].any()),
            (best, lambda part, right=right: right[min(part)]),
        ):
            mean = np.mean([verdict(part) for part in itertools.combinations(range(7), k)])
            assert variance_P[p] == pytest.approx(
                mean**2 - np.mean([verdict(one) * verdict(other) for one, other in pairs])
            )
    if k == 1:
        share = candidates.right_P / candidates.count_P
        assert passed == pytest.approx(share * (1 - share) / 6) and best == pytest.approx(passed)


def test_too_few_samples_are_refused_and_left_out() -> None:
    candidates = from_verdicts(np.random.default_rng(0).random((5, 7)) < 0.5)
    for ask in (
        nested.pass_variance,
        nested.verifier_variance,
        lambda c, k: nested.half_variance(c, curves.majority_at_k, [k], 0),
    ):
        with pytest.raises(ValueError, match="k=4 of 7 samples: expected 1 <= k, and 2k <="):
            ask(candidates, 4)
    intervals = nested.intervals(
        candidates,
        {"majority": 0.5, "pass_at_k/3": 0.5, "pass_at_k/4": 0.6, "majority_at_k/2": 0.5},
        {},
        0,
    )
    assert set(intervals) == {"pass_at_k"} and set(intervals["pass_at_k"]) == {"3"}


def test_halves_share_no_sample_and_repeat_with_the_seed() -> None:
    rng = np.random.default_rng(3)
    candidates = from_verdicts(rng.random((20, 9)) < 0.5, rng.random((20, 9)))
    one, other = nested._halves(candidates, np.random.default_rng(0))
    assert one.count_P.tolist() == other.count_P.tolist() == [4] * 20
    for mine, others in zip(
        by_problem(one, "sample_id_C"), by_problem(other, "sample_id_C"), strict=True
    ):
        assert not {*mine.tolist()} & {*others.tolist()}
    variances = [
        nested.half_variance(candidates, curves.majority_at_k, [1, 2], seed)[2]
        for seed in (5, 5, 6)
    ]
    assert np.array_equal(variances[0], variances[1]) and not np.array_equal(
        variances[0], variances[2]
    )


def simulated_coverage(trials: int, problems: int, samples: int, k: int) -> dict[str, float]:
    """Problems of ability p ~ Beta(1, 1.5), n samples each: how often intervals hold what is known
    to be true.

    pass@k is the mean of 1 - (1-p)^k for these problems, and 1 - 1.5 / (1.5 + k) for all there
    might be.
    """
    held = dict.fromkeys(("same problems", "new problems", "same for new"), 0)
    for trial in range(trials):
        rng = np.random.default_rng(1000 * k + trial)
        ability = rng.beta(1, 1.5, problems)
        candidates = from_verdicts(rng.random((problems, samples)) < ability[:, None])
        passed, here, everywhere = (
            curves.pass_at_k(candidates, k),
            np.mean(1 - (1 - ability) ** k),
            1 - 1.5 / (1.5 + k),
        )
        low, high = nested.interval(passed.mean(), nested.pass_variance(candidates, k))
        held["same problems"] += low <= here <= high
        held["same for new"] += low <= everywhere <= high
        low, high = Bootstrap.draw(problems, 300, trial).estimates({"": passed})[""]["ci95"]
        held["new problems"] += low <= everywhere <= high
    return {name: count / trials for name, count in held.items()}


@pytest.mark.parametrize("k", [1, 3])
def test_intervals_cover_the_truth_as_often_as_they_say(k: int) -> None:
    """Of 200 trials an interval of 95% holds the truth in 182 to 197 but for a chance of about 1 in
    70.
    """
    covered = simulated_coverage(200, 80, 12, k)
    assert 0.91 <= covered["same problems"] <= 0.985
    assert 0.91 <= covered["new problems"] <= 0.985
    assert covered["same for new"] < 0.8  # the one is not the other


def test_intervals_of_votes_cover_the_truth() -> None:
    """Two answers: of three samples the majority is right with p^3 + 3 p^2 (1-p)."""
    covered = 0
    for trial in range(60):
        rng = np.random.default_rng([1, trial])  # not the draws that make the halves
        ability = rng.beta(1, 1.5, 80)
        # 120 subsets: all of them
        candidates = from_verdicts(rng.random((80, 10)) < ability[:, None])
        votes = curves.majority_at_k(candidates, [3], trial)[3]
        low, high = nested.interval(
            votes.mean(), nested.half_variance(candidates, curves.majority_at_k, [3], trial)[3]
        )
        covered += low <= np.mean(ability**3 + 3 * ability**2 * (1 - ability)) <= high
    assert covered / 60 >= 0.9


@pytest.mark.parametrize("scored", [False, True])
def test_intervals_of_votes_count_the_drawing_of_subsets_once(scored: bool) -> None:
    """Eight subsets a problem: their drawing is most of the error, which more samples would not
    make smaller.
    """
    ability = np.random.default_rng(0).uniform(0.3, 0.7, 40)
    shares, claimed = [], []
    for trial in range(120):
        rng = np.random.default_rng([1, trial])
        right_PJ = rng.random((40, 40)) < ability[:, None]
        # ranks tell which are right
        candidates = from_verdicts(right_PJ, right_PJ + rng.random((40, 40)) if scored else None)
        shares.append(curves.majority_at_k(candidates, [3], trial, 8)[3])
        claimed.append(nested.half_variance(candidates, curves.majority_at_k, [3], trial, 8)[3])
    assert np.mean(claimed) == pytest.approx(np.var(shares, axis=0).mean(), rel=0.12)


def test_subsets_are_drawn_where_that_is_said() -> None:
    candidates = from_verdicts(np.random.default_rng(0).random((6, 12)) < 0.5)
    shares = np.array(
        [curves.majority_at_k(candidates, [1, 3, 12], seed, 20)[3] for seed in range(400)]
    )
    exact_P = curves.majority_at_k(candidates, [3], 0, 220)[3]
    assert shares.var(axis=0) == pytest.approx(
        exact_P * (1 - exact_P) / subsets.drawn(candidates.count_P, 3, 20), rel=0.3
    )
    for size, most in ((12, 20), (1, 20), (3, 220)):
        assert np.isinf(subsets.drawn(candidates.count_P, size, most)).all()


def test_resampling_inside_as_well_would_count_the_samples_twice() -> None:
    rng = np.random.default_rng(0)
    problems, samples, trials = 100, 4, 400
    drawn = rng.random((trials, problems, samples)) < rng.beta(1, 1.5, (trials, problems, 1))
    true = drawn.mean(axis=(1, 2)).var()
    right_PJ = drawn[0]
    over_problems, both = [], []
    for _ in range(2000):
        rows = rng.integers(problems, size=problems)
        over_problems.append(right_PJ[rows].mean())
        both.append(right_PJ[rows[:, None], rng.integers(samples, size=(problems, samples))].mean())
    assert np.var(over_problems) == pytest.approx(true, rel=0.25)
    assert np.var(both) > 1.15 * np.var(over_problems)  # 1.29 expected
