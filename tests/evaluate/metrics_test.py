"""Curves against exhaustive subsets, intervals against simulation, AUROC against pairs, and the
shape of metrics.json.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.evaluate import curves, metrics, rank
from verifier.evaluate.calibration import auroc, calibration
from verifier.evaluate.candidates import Candidates, arrange
from verifier.evaluate.intervals import Bootstrap
from verifier.evaluate.results_table import results_table
from verifier.tables.own_likelihood import RANKS
from verifier.text.split import HELDOUT, TEST, Split

GREEDY = Split("test", greedy=True)


def simulated(
    problems: int, samples: int, seed: int = 0, scored: bool = True, skill: float = 1.0
) -> Candidates:
    rng = np.random.default_rng(seed)
    ability = rng.beta(1, 1.5, problems)[:, None]
    right = rng.random((problems, samples)) < ability
    answer = np.where(right, 0, rng.integers(1, 6, (problems, samples)))
    answer[rng.random((problems, samples)) < 0.05] = -1
    score = np.round(1 / (1 + np.exp(-(skill * (right - 0.5) + rng.normal(size=right.shape)))), 2)
    names = np.repeat([f"p{n:05d}" for n in range(problems)], samples)
    ids = np.tile(np.arange(samples), problems)
    return arrange(
        names, ids, answer.ravel(), (answer == 0).ravel(), score.ravel() if scored else None
    )


def subset(candidates: Candidates, row: int, columns: tuple[int, ...]) -> Candidates:
    """Some of one problem's samples as a problem of its own, with the verdict that each answer
    group has in the whole.
    """
    index = candidates.start_P[row] + list(columns)
    score = None if candidates.score_C is None else candidates.score_C[index]
    of = candidates.sample_id_C[index], candidates.answer_C[index], candidates.correct_C[index]
    return arrange(["x"] * len(columns), *of, score)


@pytest.mark.parametrize("scored", [True, False])
def test_curves_equal_the_mean_over_all_subsets(scored: bool) -> None:
    candidates = simulated(6, 7, seed=3, scored=scored)
    majority = curves.majority_at_k(candidates, range(1, 8), seed=0)
    for k, row in itertools.product(range(1, 8), range(6)):
        parts = [
            subset(candidates, row, columns) for columns in itertools.combinations(range(7), k)
        ]
        assert curves.pass_at_k(candidates, k)[row] == pytest.approx(
            np.mean([part.correct_C.any() for part in parts])
        )
        assert curves.verifier_at_k(candidates, k)[row] == pytest.approx(
            np.mean([part.correct_C[0] for part in parts])
        )
        assert majority[k][row] == pytest.approx(
            np.mean([rank.majority(part).correct_P[0] for part in parts])
        )


def test_ends_of_the_curves() -> None:
    candidates = simulated(40, 30)
    mean = candidates.right_P / candidates.count_P
    assert curves.verifier_at_k(candidates, 1) == pytest.approx(mean)
    assert curves.verifier_at_k(candidates, 30) == pytest.approx(
        rank.best_of_n(candidates).correct_P.astype(float)
    )
    assert curves.pass_at_k(candidates, 1) == pytest.approx(mean)
    ends = curves.majority_at_k(candidates, [1, 30], seed=1)
    assert ends[1] == pytest.approx(mean) and ends[30] == pytest.approx(
        rank.majority(candidates).correct_P.astype(float)
    )
    passed = np.array([curves.pass_at_k(candidates, k) for k in range(1, 31)])
    assert np.all(np.diff(passed, axis=0) > -1e-12)


def test_problems_with_different_numbers_of_samples() -> None:
    whole, small = simulated(5, 9, seed=1), simulated(5, 4, seed=2)
    parts = {"w": whole, "s": small}
    names = [
        prefix + name
        for prefix, part in parts.items()
        for name in np.repeat(part.problem_id_P, part.count_P)
    ]
    columns = ("sample_id_C", "answer_C", "correct_C", "score_C")
    both = arrange(
        names,
        *(np.concatenate([getattr(part, name) for part in parts.values()]) for name in columns),
    )
    assert both.smallest == 4 and both.count_P.tolist() == [4] * 5 + [9] * 5
    for k in (1, 3, 4):
        for curve in (
            curves.pass_at_k,
            curves.verifier_at_k,
            lambda c, size: curves.majority_at_k(c, [size], 0)[size],
        ):
            assert curve(both, k) == pytest.approx(
                np.concatenate([curve(small, k), curve(whole, k)])
            )
    with pytest.raises(ValueError, match="k=5 of 4 samples"):
        curves.pass_at_k(both, 5)
    out = metrics.summarise({TEST: both}, [1, 3, 9], 50, 0)["test"]
    assert sorted(map(int, out["pass_at_k"])) == [1, 2, 3, 4] and sorted(
        map(int, out["top_k_vote"])
    ) == [1, 3, 9]
    assert out["samples_per_problem"] == {"min": 4, "max": 9}


def test_drawn_subsets_come_near_the_exact_value_and_repeat() -> None:
    candidates = simulated(30, 12, seed=5)
    drawn = curves.majority_at_k(candidates, [5], seed=0, subsets=300)[5]  # 792 subsets: drawn
    exact = curves.majority_at_k(candidates, [5], seed=0, subsets=math.comb(12, 5))[5]
    assert not np.array_equal(drawn, exact)
    assert abs(drawn.mean() - exact.mean()) < 0.01 and np.max(np.abs(drawn - exact)) < 0.15
    assert np.array_equal(drawn, curves.majority_at_k(candidates, [5], seed=0, subsets=300)[5])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([0.1, 0.2, 0.3]), st.booleans()),
        min_size=1,
        max_size=14,
    )
)
def test_auroc_counts_pairs(rows: list[tuple[int, float, bool]]) -> None:
    group, score, right = (np.array(column) for column in zip(*rows, strict=True))
    areas = auroc(score, right, group)
    for g in range(group.max() + 1):
        mask = group == g
        pairs = [
            (a > b) + 0.5 * (a == b) for a in score[mask & right] for b in score[mask & ~right]
        ]
        assert areas[g] == pytest.approx(np.mean(pairs)) if pairs else np.isnan(areas[g])


def test_calibration_figures_by_hand() -> None:
    score, right = np.array([0.9, 0.8, 0.25, 1.4]), np.array([True, False, False, True])
    out = calibration(
        arrange(["a", "a", "b", "b"], np.array([0, 1, 0, 1]), np.arange(4), right, score)
    )
    assert out["brier"] == pytest.approx((0.01 + 0.64 + 0.0625 + 0) / 4)
    assert out["ece"] == pytest.approx((2 * abs(0.95 - 1) + 0.8 + 0.25) / 4)
    assert (
        out["auroc"] == 1.0 and out["auroc_within_problem"] == 1.0 and out["clipped_share"] == 0.25
    )
    assert sum(row["count"] for row in out["reliability"]) == 4
    only_right = calibration(
        arrange(["a"], np.array([0]), np.array([0]), np.array([True]), np.array([0.5]))
    )
    assert only_right["auroc"] is None and only_right["auroc_within_problem"] is None


def test_intervals_repeat_pair_and_cover() -> None:
    one, other = Bootstrap.draw(50, 300, seed=1), Bootstrap.draw(50, 300, seed=1)
    assert np.array_equal(one.times_RL, other.times_RL) and np.all(one.times_RL.sum(axis=1) == 50)
    values = np.random.default_rng(0).random(50)
    together = one.estimates({"a": values, "b": values + 0.25, "difference": np.full(50, 0.25)})
    assert together["difference"] == {"value": 0.25, "ci95": [0.25, 0.25]}
    assert together["b"]["ci95"][0] == pytest.approx(together["a"]["ci95"][0] + 0.25)
    covered = 0
    for trial in range(120):
        drawn = (np.random.default_rng(trial).random(80) < 0.3).astype(float)
        low, high = Bootstrap.draw(80, 400, seed=trial).estimates({"a": drawn})["a"]["ci95"]
        covered += low <= 0.3 <= high
    assert 0.88 <= covered / 120 <= 0.99


def test_metrics_hold_what_is_promised() -> None:
    splits = {
        HELDOUT: simulated(60, 12, seed=7),
        TEST: simulated(80, 12, seed=8),
        GREEDY: simulated(80, 1, seed=9, scored=False),
    }
    out = metrics.summarise(splits, [1, 3, 5, 50], 200, seed=0)
    assert set(out) == {"heldout", "test"}
    test = out["test"]
    assert (
        test["greedy_accuracy"]["value"] == pytest.approx(splits[GREEDY].correct_C.mean())
        and out["heldout"]["greedy_accuracy"] is None
    )
    assert set(test["top_k_vote"]) == {"1", "3", "5", "12"}
    assert test["top_k_vote"]["1"] == test["best_of_n"] == test["verifier_at_k"]["12"]
    assert test["top_k_vote"]["12"] == test["majority"] == test["majority_at_k"]["12"]
    assert test["mean_sample_accuracy"] == test["pass_at_k"]["1"] == test["verifier_at_k"]["1"]
    assert test["oracle_pass_at_n"] == test["pass_at_k"]["12"]
    votes = {int(k): one["value"] for k, one in out["heldout"]["top_k_vote"].items()}
    chosen = test["top_k_vote_chosen"]
    assert chosen["k"] == min(k for k, value in votes.items() if value == max(votes.values()))
    assert chosen["value"] == test["top_k_vote"][str(chosen["k"])]["value"]
    gap = test["best_of_n"]["value"] - test["majority"]["value"]
    assert test["differences"]["best_of_n-majority"]["value"] == pytest.approx(gap)
    best = test["best_method_on_heldout"]
    rivals = [
        max(votes.values()),
        *(out["heldout"][method]["value"] for method in ("best_of_n", "weighted_vote")),
    ]
    assert best["heldout_accuracy"] == pytest.approx(max(rivals))
    assert (
        out["heldout"]["top_k_vote_chosen"] is None
        and out["heldout"]["best_method_on_heldout"] is None
    )
    table = results_table({"splits": out})
    assert (
        "best-of-n" in table
        and f"top-k vote (k={chosen['k']})" in table
        and f"{100 * test['majority']['value']:.1f}" in table
    )


def test_every_difference_is_that_of_the_two_figures() -> None:
    splits = {
        HELDOUT: simulated(30, 8, seed=1),
        TEST: simulated(50, 8, seed=2),
        GREEDY: simulated(50, 1, seed=3, scored=False),
    }
    ranks = dict(zip(RANKS, np.random.default_rng(0).normal(size=(2, 400)), strict=True))
    test = metrics.summarise(splits, [1, 3, 5], 100, 0, {TEST: ranks})["test"]
    assert len(test["differences"]) == 17
    for pair, estimate in test["differences"].items():
        one, other = pair.split("-")
        assert estimate["value"] == pytest.approx(test[one]["value"] - test[other]["value"]), pair
        widths = [test[name]["ci95"][1] - test[name]["ci95"][0] for name in (one, other)]
        assert estimate["ci95"][1] - estimate["ci95"][0] < sum(widths)
    # no likelihood known: nothing of it
    plain = metrics.summarise(splits, [1, 3, 5], 100, 0)["test"]
    assert plain["likeliest"] is None and plain["differences"]["best_of_n-likeliest"] is None
    # of other problems: nothing to pair
    elsewhere = splits | {GREEDY: simulated(20, 1, seed=3, scored=False)}
    test = metrics.summarise(elsewhere, [1, 3, 5], 100, 0)["test"]
    assert test["greedy_accuracy"] and test["differences"]["best_of_n-greedy_accuracy"] is None


def test_the_gap_closed_is_a_ratio_of_means() -> None:
    splits = {HELDOUT: simulated(30, 8, seed=1), TEST: simulated(60, 8, seed=2)}
    test = metrics.summarise(splits, [1, 3], 200, 0)["test"]
    for method in ("best_of_n", "top_k_vote_chosen", "weighted_vote"):
        gained = test[method]["value"] - test["majority"]["value"]
        gap = test["oracle_gap_closed"][method]
        assert gap["value"] == pytest.approx(
            gained / (test["oracle_pass_at_n"]["value"] - test["majority"]["value"])
        )
        assert gap["ci95"][0] <= gap["value"] <= gap["ci95"][1]
    answer = np.array([0, 0, 1, 1])
    alike = arrange(
        ["a", "a", "b", "b"],
        np.array([0, 1, 0, 1]),
        answer,
        answer == 0,
        np.array([0.1, 0.2, 0.3, 0.4]),
    )
    # pass@n is the majority
    assert set(
        metrics.summarise({TEST: alike}, [1], 20, 0)["test"]["oracle_gap_closed"].values()
    ) == {None}


def test_ratios_leave_out_resamples_without_one() -> None:
    bootstrap = Bootstrap.draw(3, 500, 0)
    # 8 of 27 resamples lack the only problem with a gap
    ratio = bootstrap.ratio(np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    assert ratio == {"value": 1.0, "ci95": [1.0, 1.0]}
    assert bootstrap.ratio(np.ones(3), np.zeros(3)) is None


def test_weighted_votes_at_k_equal_the_mean_over_all_subsets() -> None:
    candidates = simulated(6, 7, seed=4)
    shares = curves.weighted_vote_at_k(candidates, range(1, 8), seed=0)
    for k, row in itertools.product(range(1, 8), range(6)):
        parts = [
            subset(candidates, row, columns) for columns in itertools.combinations(range(7), k)
        ]
        assert shares[k][row] == pytest.approx(
            np.mean([rank.weighted_vote(part).correct_P[0] for part in parts])
        )
    with pytest.raises(ValueError, match="no scores"):
        curves.weighted_vote_at_k(simulated(3, 4, scored=False), [1], 0)


def test_figures_do_not_depend_on_the_order_of_samples() -> None:
    rng = np.random.default_rng(0)
    names, ids = np.repeat([f"p{n}" for n in range(20)], 9), np.tile(np.arange(9), 20)
    answer, score = rng.integers(-1, 3, 180), rng.random(180)
    order = rng.permutation(180)
    plain = metrics.summarise(
        {TEST: arrange(names, ids, answer, answer == 0, score)}, [1, 3], 50, 0
    )
    assert plain == metrics.summarise(
        {
            TEST: arrange(
                names[order], ids[order], answer[order], (answer == 0)[order], score[order]
            )
        },
        [1, 3],
        50,
        0,
    )


def test_the_test_split_decides_nothing() -> None:
    heldout = simulated(60, 12, seed=7)
    picks = {
        metrics.summarise(
            {HELDOUT: heldout, TEST: simulated(40, 12, seed=s)}, [1, 3, 5, 12], 20, 0
        )["test"]["top_k_vote_chosen"]["k"]
        for s in range(5)
    }
    assert len(picks) == 1
    assert (
        metrics.summarise({TEST: simulated(40, 12)}, [1, 3], 20, 0)["test"]["top_k_vote_chosen"]
        is None
    )


def test_without_scores_all_else_works() -> None:
    test = metrics.summarise(
        {TEST: simulated(30, 8, scored=False), HELDOUT: simulated(30, 8, scored=False)},
        [1, 3],
        50,
        0,
    )["test"]
    for key in (
        "best_of_n",
        "top_k_vote",
        "top_k_vote_chosen",
        "weighted_vote",
        "verifier",
        "best_method_on_heldout",
        "verifier_at_k",
    ):
        assert test[key] is None, key
    known = {pair for pair, estimate in test["differences"].items() if estimate}
    assert test["majority"]["value"] > 0 and known == {"majority-mean_sample_accuracy"}
    assert set(test["oracle_gap_closed"].values()) == {None} and test["weighted_vote_at_k"] is None
    both = {"heldout": test, "test": test}
    first = results_table({"splits": both, "seconds": {}}).split()
    assert first.index("test") < first.index("heldout")  # what is held out stands last
    table = results_table({"splits": {"test": test}, "seconds": {"sample": 1234.5, "score": 6.0}})
    assert "majority" in table and "seconds, of all starts together: sample 1,234, score 6" in table
