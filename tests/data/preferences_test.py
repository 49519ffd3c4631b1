"""Pairs of right and wrong solutions, and trees that hold them."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from verifier.data import preferences
from verifier.data.preferences import Solution
from verifier.errors import DataError


def solution(problem, tokens, correct, counted=None, reference=0.0):
    tokens = np.asarray(tokens, np.int32)
    counted = np.ones(len(tokens), bool) if counted is None else np.asarray(counted, bool)
    return Solution(problem, tokens, counted, correct, reference, f"{problem}/{tokens}")


def problem(name, right, wrong, first=0):
    """Solutions of which no two read alike."""
    labels = [True] * right + [False] * wrong
    return [solution(name, [first + n, 1], label) for n, label in enumerate(labels)]


SOME = [*problem("a", 3, 4), *problem("b", 2, 2), *problem("c", 0, 3), *problem("d", 2, 0)]


def test_all_pairs_are_of_one_problem_right_before_wrong_and_none_stands_twice():
    drawn = preferences.draw(SOME, 0, 1, True)
    for right, wrong in drawn.pairs:
        assert SOME[right].problem_id == SOME[wrong].problem_id
        assert SOME[right].correct and not SOME[wrong].correct
    assert len(set(drawn.pairs)) == len(drawn.pairs) == 3 * 4 + 2 * 2
    assert drawn.counts == {
        "problems": 4,
        "with_pairs": 2,
        "no_right": 1,
        "no_wrong": 1,
        "possible": 16,
        "pairs": 16,
    }


@pytest.mark.parametrize(("right", "wrong"), [(4, 6), (3, 3), (1, 7), (5, 2)])
def test_of_any_number_of_pairs_every_solution_is_in_as_many_as_the_others_of_its_side(
    right, wrong
):
    some = problem("a", right, wrong)
    for most in range(1, right * wrong + 1):
        drawn = preferences.draw(some, most, 3, True).pairs
        assert len(set(drawn)) == len(drawn) == most
        for side, count in zip(zip(*drawn, strict=True), (right, wrong), strict=True):
            uses = collections.Counter(side)
            uses = [
                uses[index]
                for index in (
                    {*range(right)} if side[0] < right else {*range(right, right + wrong)}
                )
            ]
            assert len(uses) == count and max(uses) - min(uses) <= 1


def test_each_problem_gives_as_many_pairs_and_the_seed_says_which():
    some = [*problem("a", 6, 6), *problem("b", 6, 6)]
    drawn = preferences.draw(some, 5, 0, True).pairs
    assert collections.Counter(some[right].problem_id for right, _ in drawn) == {"a": 5, "b": 5}
    assert drawn == preferences.draw(some, 5, 0, True).pairs
    assert drawn != preferences.draw(some, 5, 1, True).pairs
    # Another problem more changes nothing about those of this one.
    assert preferences.draw([*problem("c", 2, 2), *some], 5, 0, True).counts["pairs"] == 14
    assert {
        (r - 4, w - 4)
        for r, w in preferences.draw([*problem("c", 2, 2), *some], 5, 0, True).pairs[4:]
    } == set(drawn)


def test_solutions_that_read_alike_are_one_and_never_a_pair():
    some = [*problem("a", 1, 1), *problem("a", 1, 1)]
    assert len(preferences.draw(some, 0, 0, False).pairs) == 4
    assert len(preferences.draw(some, 0, 0, True).pairs) == 1
    twice_judged = [solution("a", [5], True), solution("a", [5], False)]
    drawn = preferences.draw(twice_judged, 0, 0, True)
    assert not drawn.pairs and drawn.counts["with_pairs"] == 0


def test_a_branch_reads_as_its_text_alone_and_predicts_its_own_tokens():
    prompt, texts = [7, 8, 9], [[1, 2, 3], [4]]
    layout = preferences.branched(prompt, [np.asarray(text, np.int32) for text in texts])
    for start, text in zip(layout.starts, texts, strict=True):
        last = start + len(text)
        sees = [t for t in range(last + 1) if layout.ends[t] > last]
        assert layout.tokens[sees].tolist() == prompt + text
        assert layout.positions[sees].tolist() == list(range(len(prompt) + len(text)))
    assert len(layout.tokens) == len(prompt) - 1 + 2 + 4
    alone = preferences.branched([7], [np.asarray([1], np.int32), np.asarray([2], np.int32)])
    assert alone.ends.tolist() == [2, 2, 4, 4] and alone.positions.tolist() == [0, 1, 0, 1]
    with pytest.raises(DataError, match="empty prompt"):
        preferences.branched([], [np.asarray([1], np.int32)])


def test_the_targets_of_a_pair_leave_out_what_does_not_count():
    right = solution("a", [1, 2, 3], True, [True, False, True], -4.0)
    wrong = solution("a", [5], False, reference=-2.5)
    example = preferences.pair_example([7, 8], right, wrong)
    own = example.targets
    assert example.tokens.tolist() == [7, 8, 1, 2, 3, 8, 5]
    assert own["lm_target"].tolist() == [0, 1, 2, 3, 0, 5, 0]
    assert own["pair_sign"].tolist() == [0, 1, 0, 1, 0, -1, 0]
    assert own["pair_start"].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert own["pair_weight"].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert (own["right_reference"][-1], own["wrong_reference"][-1]) == (-4.0, -2.5)
