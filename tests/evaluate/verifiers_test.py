"""Verifiers of the same samples: best-of-k by counting, differences, and whose samples they are."""

import itertools

import numpy as np
import pytest

from verifier.errors import DataError
from verifier.evaluate import verifiers
from verifier.evaluate.candidates import arrange
from verifier.report import verifiers_page

PROBLEMS, SAMPLES = 12, 5
RNG = np.random.default_rng(0)
IDS = [f"p{problem:02}" for problem in range(PROBLEMS) for _ in range(SAMPLES)]
NUMBERS = np.tile(np.arange(SAMPLES), PROBLEMS)
ANSWERS = RNG.integers(0, 3, len(IDS))
RIGHT = ANSWERS == 1
SCORES = {"one": RNG.normal(size=len(IDS)), "two": RIGHT + RNG.normal(size=len(IDS))}


def ranked(scores, rows=slice(None), right=RIGHT):
    return arrange(IDS[rows], NUMBERS[rows], ANSWERS[rows], right[rows], scores[rows])


def found(ks=(1, 2, 4)):
    return verifiers.figures({n: ranked(own) for n, own in SCORES.items()}, ks, 50, 0)


def by_counting(choose, k):
    """Mean over problems and all subsets of k of whether what is chosen is right."""
    each = []
    for first in range(0, len(IDS), SAMPLES):
        for subset in itertools.combinations(range(first, first + SAMPLES), k):
            each.append(RIGHT[choose(subset)])
    return np.mean(each)


def most_frequent(subset):
    """The first sample of the most frequent answer, the earliest of those that are as frequent."""
    counts = [sum(ANSWERS[other] == ANSWERS[row] for other in subset) for row in subset]
    return subset[int(np.argmax(counts))]


def test_each_figure_is_the_mean_over_all_subsets():
    own = found()
    for k in own["ks"]:
        for name, scores in SCORES.items():
            wanted = by_counting(lambda subset, by=scores: max(subset, key=by.__getitem__), k)
            value = own["verifiers"][name]["verifier_at_k"][str(k)]["value"]
            assert value == pytest.approx(wanted)
        majority = own["majority_at_k"][str(k)]["value"]
        assert majority == pytest.approx(by_counting(most_frequent, k))
    assert own["ks"] == [1, 2, 3, 4, 5]
    assert own["verifiers"]["two"]["auroc"] > own["verifiers"]["one"]["auroc"]


def test_differences_are_of_the_same_problems():
    own = found()
    lines = verifiers.methods(own)
    assert list(own["differences"]) == ["one-majority", "two-majority", "two-one"]
    for pair, line in own["differences"].items():
        a, b = pair.split("-")
        for k, each in line.items():
            assert each["value"] == pytest.approx(lines[a][k]["value"] - lines[b][k]["value"])
    same = verifiers.figures({n: ranked(SCORES["one"]) for n in ("one", "two")}, (4,), 50, 0)
    assert same["differences"]["two-one"]["4"]["ci95"][1] >= 0
    assert same["differences"]["two-one"]["4"]["value"] == 0


def test_a_majority_does_not_ask_who_scores():
    own = ranked(SCORES["one"]), ranked(-SCORES["one"])
    one, other = (verifiers.figures({"one": each}, (4,), 50, 0) for each in own)
    assert one["majority_at_k"] == other["majority_at_k"]
    assert one["verifiers"] != other["verifiers"]


@pytest.mark.parametrize(
    "other",
    [
        ranked(SCORES["two"], slice(0, -1)),
        ranked(SCORES["two"], slice(0, -SAMPLES)),
        ranked(SCORES["two"], right=~RIGHT),
    ],
)
def test_other_samples_are_refused(other):
    with pytest.raises(DataError, match="two has scores of"):
        verifiers.figures({"one": ranked(SCORES["one"]), "two": other}, (1,), 50, 0)


def test_the_table_and_the_page_show_a_few_sizes_of_each():
    own = {"test": found()}
    text = verifiers.as_text(own["test"], "test")
    assert [f"k = {k}" in text for k in (1, 2, 3, 5)] == [True, True, False, True]
    assert "two - one" in text and "12 problems, 60 samples" in text
    counts = dict.fromkeys(
        ("pairs", "possible", "problems", "with_pairs", "no_wrong", "no_right"), 1_234
    )
    page = verifiers_page.render(own, {"train": counts}, "a run", "today", {"dpo.beta": 0.1})
    assert "two − one" in page and "1,234" in page and "Problems solved: test" in page
