"""Paths of time warping against all paths there are, and distances against the recursion."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from verifier.data import edit_distance
from verifier.data.edit_distance import EditDistances
from verifier.data.time_warping import warped

MOVES = ((1, 1), (1, 0), (0, 1))  # back from a pair: diagonal, up, left


@functools.cache
def all_paths(rows, columns):
    """Every monotone path through a matrix as its moves, read from the end, and its pairs."""
    if (rows, columns) == (1, 1):
        return [((), ((0, 0),))]
    return [
        ((move, *moves), (*pairs, (rows - 1, columns - 1)))
        for move, (down, right) in enumerate(MOVES)
        if rows > down and columns > right
        for moves, pairs in all_paths(rows - down, columns - right)
    ]


def first_best(costs):
    """Of all paths the cheapest; of equal ones the one whose moves come first in their order."""
    return min(
        (sum(costs[pair] for pair in pairs), moves, pairs)
        for moves, pairs in all_paths(*costs.shape)
    )


@pytest.mark.parametrize("largest", [1, 3, 50])  # small costs make many ties
def test_paths_are_the_first_of_the_cheapest(largest):
    rng = np.random.default_rng(largest)
    matrices = [
        rng.integers(0, largest + 1, (rows, columns))
        for rows in range(1, 7)
        for columns in range(1, 7)
    ]
    for matrix, path in zip(matrices, warped(matrices), strict=True):
        cost, _, pairs = first_best(matrix)
        assert path.cost == cost
        assert tuple(zip(path.first_K.tolist(), path.second_K.tolist(), strict=True)) == pairs


def test_every_token_of_both_sides_is_matched_in_order():
    rng = np.random.default_rng(0)
    matrices = [rng.integers(0, 9, rng.integers(1, 40, 2)) for _ in range(20)]
    for matrix, path in zip(matrices, warped(matrices), strict=True):
        steps = np.diff([path.first_K, path.second_K])
        assert ((steps >= 0) & (steps <= 1)).all() and steps.any(axis=0).all()
        assert [path.first_K[0], path.second_K[0]] == [0, 0]
        assert (path.first_K[-1] + 1, path.second_K[-1] + 1) == matrix.shape
        assert path.cost == matrix[path.first_K, path.second_K].sum()


def test_equal_words_cost_nothing_and_match_one_by_one():
    words = ["she", "has", "3", "eggs", ",", "3", "eggs", "."]
    ids = np.arange(len(words))
    (path,) = warped(EditDistances([words, words]).of([(ids, ids)]))
    assert path.cost == 0
    assert (path.first_K == ids).all() and (path.second_K == ids).all()


def naive(one, other):
    """The distance of two words by its recursion."""
    if not one or not other:
        return len(one) + len(other)
    replaced = naive(one[:-1], other[:-1]) + (one[-1] != other[-1])
    return min(replaced, naive(one[:-1], other) + 1, naive(one, other[:-1]) + 1)


def random_words(seed, count=12):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ab\U0001f600"), rng.integers(0, 6))) for _ in range(count)]


@pytest.mark.parametrize("largest", [8192, 4])  # the last forgets what it knows at every turn
def test_distances_are_those_of_the_recursion(monkeypatch, largest):
    monkeypatch.setattr(edit_distance, "_LARGEST", largest)
    monkeypatch.setattr(edit_distance, "_FIRST", 2)
    words, others = random_words(1), random_words(2)
    distances, rng = EditDistances([words, others]), np.random.default_rng(0)
    wanted = np.array([[naive(one, other) for other in others] for one in words])
    for _ in range(5):
        pairs = [(rng.integers(0, 12, 7), rng.integers(0, 12, size)) for size in (1, 5)]
        for (one, other), found in zip(pairs, distances.of(pairs), strict=True):
            assert (found == wanted[np.ix_(one, other)]).all()


def test_long_words_are_told_apart():
    long = "=" * 300
    (found,) = EditDistances([["", long], [long[:-1], "x" * 299, long]]).of(
        [(np.arange(2), np.arange(3))]
    )
    assert found.tolist() == [[299, 299, 300], [1, 300, 0]]
