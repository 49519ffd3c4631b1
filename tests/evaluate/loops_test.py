"""Loops of a model that learns from itself: when they are over, and what each has brought."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import ComparisonError, DataError
from verifier.evaluate import loops

LEARNED = {"own": 3, "hinted": 1, "used": 0.8, "used_without_hints": 0.6, "steps": 5}


def test_loops_are_over_after_so_many_without_a_rise():
    rising = [0.1, 0.2, 0.2, 0.19, 0.3]
    assert loops.over_after(rising, 1) == 2
    assert loops.over_after(rising, 2) == 3
    assert loops.over_after(rising, 3) is None
    assert loops.over_after(rising, 0) is None
    assert loops.over_after([], 1) is None


@given(st.lists(st.floats(0, 1), max_size=12), st.integers(1, 4))
def test_what_comes_later_does_not_change_the_end(accuracies, plateau):
    end = loops.over_after(accuracies, plateau)
    for more in range(len(accuracies) + 1):
        found = loops.over_after(accuracies[:more], plateau)
        assert found == (end if end is not None and end < more else None)
    if end is not None:  # none of the last so many exceeds the best before them
        last = accuracies[end - plateau + 1 : end + 1]
        assert max(last) <= max(accuracies[: end - plateau + 1])


def test_every_problem_is_first_solved_once_or_never():
    train = [{"a": True, "b": False, "c": False}, {"a": False, "b": True, "c": False}]
    sources = {"a": "x", "b": "y", "c": "y", "t": "x", "u": "x"}
    tests = {"test": [{"t": False, "u": True}, {"t": True, "u": True}]}
    written = [
        {"train": loops.Written(9, 0.5), "test": loops.Written(8 - n, n / 2)} for n in (0, 1)
    ]
    found = loops.figures(train, tests, [LEARNED], written, sources, 50, 0)
    assert [each["first_solved"] for each in found["loops"]] == [{"x": 1, "y": 0}, {"x": 0, "y": 1}]
    assert found["unsolved"] == {"x": 0, "y": 1}
    assert found["loops"][1]["sets"]["test"]["minus_base"]["value"] == pytest.approx(0.5)
    text = loops.as_text(found)
    assert "base" in text and "never solved: 1 of train" in text
    assert [line.split()[-2:] for line in text.splitlines()[1:3]] == [["8", "0.0"], ["7", "50.0"]]
    with pytest.raises(DataError, match="sampled from"):
        loops.accuracy_of({})


def test_kinds_of_a_set_make_up_the_whole_and_stand_in_the_order_of_their_numbers():
    sources = {str(n): f"sums/{length}" for n, length in enumerate([10, 2, 2, 10, 10, 3])}
    base = dict.fromkeys(sources, False)
    learned = base | {"1": True, "3": True, "5": True}
    right, written = [base, learned], [dict.fromkeys(("train", "test"), loops.Written(8, 0))] * 2
    found = loops.figures(right, {"test": right}, [LEARNED], written, sources, 50, 0)
    assert list(found["kinds"].items()) == [("sums/2", 2), ("sums/3", 1), ("sums/10", 3)]
    one = found["loops"][1]
    own = {kind: each["accuracy"]["value"] for kind, each in one["by_kind"]["test"].items()}
    assert own == pytest.approx({"sums/2": 1 / 2, "sums/3": 1, "sums/10": 1 / 3})
    whole = sum(own[kind] * count for kind, count in found["kinds"].items()) / len(sources)
    assert whole == pytest.approx(one["sets"]["test"]["accuracy"]["value"])
    assert one["by_kind"]["test"]["sums/3"]["minus_base"]["value"] == 1
    lines = loops.as_text(found).splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["sums/2", "sums/3", "sums/10"]


def test_runs_beside_each_other_are_compared_on_problems_that_all_were_asked():
    one = [{"a": False, "b": False, "c": True}, {"a": True, "b": False, "c": True}]
    other = [{"a": False, "b": False}, {"a": True, "b": True}, {"a": True, "b": True}]
    found = loops.beside({"one": one, "other": other}, 50, 0)
    assert found["shared_problems"] == 2
    first, second = ([each["accuracy"]["value"] for each in run["loops"]] for run in found["runs"])
    assert (first, second) == ([0, 0.5], [0, 1, 1])
    apart = [each["minus_first"] for each in found["runs"][1]["loops"]]
    assert apart[1]["value"] == 0.5 and apart[2] is None
    with pytest.raises(ComparisonError, match="share no problem"):
        loops.beside({"one": one, "other": [{"d": True}]}, 50, 0)
