"""Checkpoints are chosen by problems that no reported figure is of."""

import numpy as np
import pytest

from verifier.errors import DataError
from verifier.evaluate import choices
from verifier.text.split import Split

HELDOUT, TEST = Split("heldout", greedy=True), Split("test", greedy=True)
SVAMP, BBH = Split("test", "svamp", True), Split("test", "bbh", True)
IDS = [f"{number:016x}" for number in range(400)]


OTHERS = [f"x{number:015x}" for number in range(400)]


def solved(share, seed, ids=IDS):
    rng = np.random.default_rng(seed)
    return {key: bool(rng.random() < share) for key in ids}


def candidate(heldout, svamp, seed=0):
    shares = {HELDOUT: heldout, TEST: 0.5, SVAMP: svamp, BBH: 0.3}
    return {
        split: solved(share, seed + n, IDS if split == SVAMP else OTHERS)
        for n, (split, share) in enumerate(shares.items())
    }


def test_each_criterion_takes_its_best_and_of_equals_the_first():
    tested = [candidate(0.2, 0.9), candidate(0.8, 0.3), candidate(0.8, 0.9)]
    rows = choices.choose(tested, ["svamp"], 0.5)
    assert choices.best(rows, "ood") == 1 and choices.best(rows, "heldout") == 2
    values = [each.value for each in rows if each.criterion == "heldout"]
    assert values == [np.mean(list(each[HELDOUT].values())) for each in tested]


def test_what_chooses_is_not_reported_and_the_share_is_met():
    tested = [candidate(0.2, 0.5), candidate(0.5, 0.5)]
    chose = choices.choosing(tested, ["svamp"], 0.5)
    left = set(IDS) - chose
    assert chose <= set(IDS) and 150 < len(chose) < 250
    # Turning over every problem that is reported moves no choice.
    turned = [
        {**each, SVAMP: {key: value ^ (key in left) for key, value in each[SVAMP].items()}}
        for each in tested
    ]
    assert choices.choose(turned, ["svamp"], 0.5) == choices.choose(tested, ["svamp"], 0.5)


def test_what_chose_in_one_set_is_reported_in_no_other():
    """ASDiv and MultiArith have problems in common."""
    given = {SVAMP: solved(0.5, 0, IDS[:200]), BBH: solved(0.5, 1), TEST: solved(0.5, 2, OTHERS)}
    found = choices.figures([given, given], {"ood": 1, "heldout": 1}, ["svamp"], 0.5, (50, 0))
    left = {key for key in IDS if key in IDS[200:] or not choices.chooses(key, 0.5)}
    assert found["bbh"]["problems"] == len(left) < len(IDS)
    value = np.mean([given[BBH][key] for key in left])
    assert found["bbh"]["accuracy"][0]["value"] == pytest.approx(value, abs=1e-6)
    assert found["test"]["problems"] == len(OTHERS)


def test_figures_are_of_the_reported_problems_and_differences_are_paired():
    tested = [candidate(0.2, 0.4), candidate(0.5, 0.7, 9), candidate(0.6, 0.6, 20)]
    kept = {"ood": 1, "heldout": 2}
    found = choices.figures(tested, kept, ["svamp"], 0.5, (200, 0))
    assert list(found) == ["test", "bbh", "svamp"] or set(found) == {"test", "bbh", "svamp"}
    left = set(IDS) - choices.choosing(tested, ["svamp"], 0.5)
    means = [np.mean([each[SVAMP][key] for key in left]) for each in tested]
    own = found["svamp"]
    assert own["problems"] == len(left)
    np.testing.assert_allclose([each["value"] for each in own["accuracy"]], means, atol=1e-6)
    np.testing.assert_allclose(own["minus_before"]["ood"]["value"], means[1] - means[0], atol=1e-6)
    np.testing.assert_allclose(own["minus_heldout"]["value"], means[1] - means[2], atol=1e-6)


def test_a_set_without_a_problem_to_choose_by_is_refused():
    few = {HELDOUT: {"a": True}, SVAMP: dict.fromkeys(IDS[:1], True)}
    share = 1e-9
    with pytest.raises(DataError, match="svamp"):
        choices.choose([few], ["svamp"], share)
