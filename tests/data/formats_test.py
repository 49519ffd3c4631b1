"""Which solution is learned in which format: shares are met, every pool is gone through evenly."""

import collections

import pytest

from verifier.data import formats
from verifier.errors import DataError
from verifier.text.few_shot import FORMATS

NAMES = list(FORMATS)
ROWS = {"a": [0, 1, 2], "b": [3], "c": [4, 5, 6, 7]}


@pytest.mark.parametrize(
    ("mix", "wanted"),
    [
        ((1, 1, 1, 1), [2, 2, 2, 2]),
        ((0, 1, 0, 1), [0, 4, 0, 4]),
        ((3, 0, 0, 1), [6, 0, 0, 2]),
        ((0, 0, 0, 7), [0, 0, 0, 8]),
        ((1, 1, 1, 0), [3, 2, 3, 0]),
    ],
)
def test_formats_have_their_shares_of_as_many_examples_as_there_are_solutions(mix, wanted):
    plan, counts = formats.planned(ROWS, mix, seed=0)
    assert list(counts.values()) == wanted and sum(wanted) == len(plan) == 8
    assert collections.Counter(each.format for each in plan) == {
        name: count for name, count in zip(NAMES, wanted, strict=True) if count
    }


def test_worked_formats_learn_every_solution_and_answers_one_of_each_problem():
    plan, _ = formats.planned(ROWS, (0, 0, 0, 1), seed=3)
    assert sorted(each.row for each in plan) == list(range(8))
    plan, _ = formats.planned(ROWS, (1, 0, 0, 0), seed=3)
    assert {each.row for each in plan} == {0, 3, 4}  # the first of each problem
    # Where there are more examples than rows, one is repeated only when all have been.
    turns = collections.Counter((each.row, each.repeat) for each in plan)
    assert set(turns.values()) == {1} and max(each.repeat for each in plan) == 2


def test_the_seed_orders_and_nothing_else_does():
    assert formats.planned(ROWS, (1, 1, 1, 1), 5) == formats.planned(ROWS, (1, 1, 1, 1), 5)
    orders = {
        tuple(each.row for each in formats.planned(ROWS, (0, 1, 0, 0), seed)[0])
        for seed in range(5)
    }
    assert len(orders) > 1


def test_nothing_right_is_an_error_that_says_where_to_look():
    with pytest.raises(DataError, match="tables/samples"):
        formats.planned({}, (1, 1, 1, 1), 0)
