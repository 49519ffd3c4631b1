"""Exact intervals by adding up all that can happen; where they stand in for the bootstrap; what is
said of too few problems.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from verifier.evaluate import caveats, comparison, exact, metrics, nested
from verifier.evaluate.candidates import Candidates, arrange
from verifier.evaluate.intervals import FEWEST, RARE, Bootstrap
from verifier.evaluate.results_table import EXACT, results_table
from verifier.report import comparison_page, page, variants
from verifier.text.split import TEST


def tail(n: int, least: int, rate: float) -> float:
    """Chance of `least` or more successes."""
    return sum(
        math.comb(n, hits) * rate**hits * (1 - rate) ** (n - hits) for hits in range(least, n + 1)
    )


@pytest.mark.parametrize("n", [1, 2, 5, 10, 23])
def test_a_rates_interval_holds_it_in_95_of_100_cases(n: int) -> None:
    ends = [exact.rate(np.arange(n) < hits) for hits in range(n + 1)]
    for hits, (low, high) in enumerate(ends):
        assert low <= hits / n <= high
        assert (low == 0) == (hits == 0) and (high == 1) == (hits == n)
        if hits:
            assert tail(n, hits, low) == pytest.approx(0.025)
        if hits < n:
            assert 1 - tail(n, hits + 1, high) == pytest.approx(0.025)
    for rate in np.linspace(0, 1, 101).tolist():
        covered = sum(
            math.comb(n, hits) * rate**hits * (1 - rate) ** (n - hits)
            for hits, (low, high) in enumerate(ends)
            if low <= rate <= high
        )
        assert covered >= 0.95


def chances(n: int, shares: tuple[float, ...]):
    """How often each outcome comes up in n problems, and how likely that is."""
    for counts in itertools.product(range(n + 1), repeat=len(shares)):
        if sum(counts) == n:
            ways = math.factorial(n) // math.prod(math.factorial(count) for count in counts)
            yield (
                counts,
                ways * math.prod(share**count for share, count in zip(shares, counts, strict=True)),
            )


@pytest.mark.parametrize("n", [1, 4, 9])
def test_a_differences_interval_holds_it_in_95_of_100_cases(n: int) -> None:
    known = {
        counts: exact.difference(np.repeat([1.0, -1.0, 0.0], counts))
        for counts, _ in chances(n, (1.0, 1.0, 1.0))
    }
    for first, second in itertools.product((0.0, 0.05, 0.2, 0.5, 0.9, 1.0), repeat=2):
        if first + second <= 1:
            truth = first - second
            cases = chances(n, (first, second, 1 - first - second))
            assert (
                sum(
                    chance
                    for counts, chance in cases
                    if known[counts][0] <= truth + 1e-12 and known[counts][1] >= truth - 1e-12
                )
                >= 0.95
            )
    for (wins, losses, _), (low, high) in known.items():
        assert -1 <= low <= (wins - losses) / n <= high <= 1
        if low > 0 or high < 0:  # no difference is claimed that McNemar's exact test does not find
            told = wins + losses
            assert 2 * tail(told, max(wins, losses), 0.5) < 0.05


@pytest.mark.parametrize("of", [exact.rate, exact.difference])
def test_a_mean_of_shares_is_held_too(of) -> None:
    """Values of 0, 1/3 and 1 (or of a difference -1/3, 0 and 2/3) on seven problems."""
    values = (0.0, 1 / 3, 1.0) if of is exact.rate else (-1 / 3, 0.0, 2 / 3)
    known = {counts: of(np.repeat(values, counts)) for counts, _ in chances(7, (1.0, 1.0, 1.0))}
    for shares in (
        (0.9, 0.05, 0.05),
        (0.1, 0.8, 0.1),
        (0.3, 0.3, 0.4),
        (0.0, 0.02, 0.98),
        (0.0, 1.0, 0.0),
    ):
        truth = sum(share * value for share, value in zip(shares, values, strict=True))
        held = (
            chance
            for counts, chance in chances(7, shares)
            if known[counts][0] - 1e-9 <= truth <= known[counts][1] + 1e-9
        )
        assert sum(held) >= 0.95


def test_exact_intervals_stand_where_resamples_are_alike_and_nowhere_else() -> None:
    few, some = Bootstrap.draw(FEWEST - 1, 50, 0), Bootstrap.draw(60, 200, 0)
    for ask in (few.estimates, few.differences):
        assert ask({"": np.ones(FEWEST - 1)})[""]["interval"] == "exact"
    right = np.arange(60)
    for hits, kind in (
        (0, "exact"),
        (RARE - 1, "exact"),
        (RARE, None),
        (60 - RARE, None),
        (60 - RARE + 1, "exact"),
        (60, "exact"),
    ):
        estimate = some.estimates({"": right < hits})[""]
        assert estimate.get("interval") == kind and estimate["ci95"][0] < estimate["ci95"][1], hits
    apart = some.differences(
        {"none": np.zeros(60), "one": -1.0 * (right < 1), "many": 1.0 * (right < 30)}
    )
    assert [one.get("interval") for one in apart.values()] == ["exact", "exact", None]
    assert apart["none"]["ci95"][0] == -apart["none"]["ci95"][1] < 0 and apart["one"]["ci95"][1] > 0
    assert Bootstrap.draw(1, 20, 0).estimates({"": np.ones(1)})[""] == {
        "value": 1.0,
        "ci95": [0.025, 1.0],
        "interval": "exact",
    }
    assert Bootstrap.draw(10, 20, 0).estimates({"": np.zeros(10)})[""]["ci95"] == pytest.approx(
        [0, 1 - 0.025**0.1]
    )


def test_many_problems_are_resampled_in_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifier.evaluate.intervals._LOTS", 500)
    values = np.random.default_rng(0).random(2_345)
    bootstrap = Bootstrap.draw(2_345, 800, 0)
    low, high = bootstrap.estimates({"": values})[""]["ci95"]
    assert bootstrap.times_RL.shape == (800, 500) and bootstrap.estimates(
        {"": np.full(2_345, 0.5)}
    )[""]["ci95"] == [0.5, 0.5]
    assert (
        high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(2_345), rel=0.15)
        and low < values.mean() < high
    )


def solved(problems: int, right: float, samples: int = 6, equal: bool = False) -> Candidates:
    rng = np.random.default_rng(0)
    names, ids = (
        np.repeat([f"p{n:03d}" for n in range(problems)], samples),
        np.tile(np.arange(samples), problems),
    )
    verdict = rng.random(len(ids)) < right
    return arrange(
        names,
        ids,
        np.where(verdict, 0, 1 + ids),
        verdict,
        np.full(len(ids), 0.5) if equal else rng.random(len(ids)),
    )


@pytest.mark.parametrize(
    ("problems", "right", "equal", "said"),
    [
        (2, 1.0, False, ["2 problems: too few", "every one of the 12"]),
        (8, 0.5, False, ["8 problems: too few"]),
        (30, 1.0, False, ["every one of the 180"]),
        (30, 0.5, True, ["the scores of every problem's solutions are equal"]),
        (30, 0.5, False, []),
    ],
)
def test_what_makes_figures_mean_little_is_said_first(
    problems: int, right: float, equal: bool, said: list[str]
) -> None:
    ranked = solved(problems, right, equal=equal)
    figures = metrics.summarise({TEST: ranked}, [1, 3], 60, 0)
    lines = caveats.caveats({"test": ranked})
    assert len(lines) == len(said) and all(
        words in line for words, line in zip(said, lines, strict=True)
    )
    table = results_table({"splits": figures, "warnings": lines})
    assert all(
        line == f"warning: {words}" for line, words in zip(table.splitlines(), lines, strict=False)
    )
    about = {
        "name": "x",
        "date": "",
        "grader": "numeric",
        "warnings": lines,
        "notes": [],
        "settings": {},
        "facts": {},
    }
    html = page.render({"splits": figures}, {}, {"scored": True, "problems": []}, about)
    concluding = ("points, 95% interval", "better</span>", "worse</span>", "within noise")
    assert any(words in html for words in concluding) == (problems >= FEWEST)
    positions = [html.index(words.replace("'", "&#39;")) for words in lines]
    assert positions == sorted(positions) and all(
        position < html.index('class="headline"') for position in positions
    )
    for estimate in (
        figures["test"]["majority"],
        figures["test"]["differences"]["best_of_n-majority"],
    ):
        assert estimate["ci95"][0] < estimate["ci95"][1]
    assert (EXACT in table) == (EXACT in html) == ("]*" in table) and (
        problems >= FEWEST or "]*" in table
    )


def test_comparisons_of_few_problems_conclude_nothing() -> None:
    runs = [
        comparison.Contestant(name, solved(8, right), None, "numeric")
        for name, right in (("one", 0.1), ("other", 0.9))
    ]
    compared = comparison.compare(runs, 50, 0)
    html, table = comparison_page.render(compared, "", {}), comparison_page.table(compared)
    assert (
        "8 problems: too few" in html
        and 'apart better"' not in html
        and table.startswith("warning: 8 problems: too few")
    )
    runs = [
        comparison.Contestant(name, solved(60, right), None, "numeric")
        for name, right in (("one", 0.1), ("other", 0.9))
    ]
    html = comparison_page.render(comparison.compare(runs, 50, 0), "", {})
    assert "too few problems for a conclusion" not in html and 'apart better"' in html
    assert variants._peak(Bootstrap.draw(8, 20, 0), {1: np.ones(8), 2: np.zeros(8)}) is None


def test_without_a_variance_no_interval_is_claimed() -> None:
    ranked = solved(30, 1.0)
    assert nested.intervals(ranked, {"pass_at_k/1": 1.0, "verifier_at_k/2": 1.0}, {}, 0) == {
        "pass_at_k": {},
        "verifier_at_k": {},
    }


def test_labels_of_one_kind_are_told_before_a_training() -> None:
    assert caveats.of_labels("train", np.array([True, False])) is None
    assert "none of the 3 train samples is right" in str(
        caveats.of_labels("train", np.zeros(3, bool))
    )
    assert "all of the 3 heldout samples are right" in str(
        caveats.of_labels("heldout", np.ones(3, bool))
    )


def test_a_generator_that_knows_its_training_problems_by_heart_is_named():
    heldout = np.arange(100) < 60
    said = caveats.of_memory(np.arange(100) < 95, heldout)
    assert said is not None and said.startswith("95% of the train samples are right, 60% of the")
    assert "sample.folds" in said
    assert caveats.of_memory(np.arange(100) < 75, heldout) is None  # a gap as chance may give it
    assert caveats.of_memory(np.zeros(3, bool), np.ones(3, bool)) is None
