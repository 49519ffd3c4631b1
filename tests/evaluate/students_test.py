"""Students beside each other: figures by hand, and only of the same problems."""

import numpy as np
import pytest

from verifier.errors import DataError
from verifier.evaluate import students


def right(*values):
    return {f"p{number}": bool(value) for number, value in enumerate(values)}


def test_figures_and_paired_differences_are_those_by_hand():
    found = students.figures(
        {
            ("multi_task", 0.5): right(1, 1, 1, 0),
            ("label_only", 0.5): right(1, 0, 0, 0),
            ("label_only", 1.0): right(1, 1, 0, 0),
        },
        "label_only",
        100,
        0,
    )
    by_name = {(each["method"], each["share"]): each for each in found["students"]}
    assert found["problems"] == 4
    assert by_name["multi_task", 0.5]["accuracy"]["value"] == 0.75
    assert by_name["multi_task", 0.5]["minus_label_only"]["value"] == 0.5
    assert by_name["label_only", 1.0]["minus_label_only"] is None
    text = students.as_text(found, "test", "label_only")
    assert "75.0" in text and "+50.0" in text and text.count("label_only") == 2


def test_a_problem_counts_that_all_were_asked():
    own = {("a", 1.0): right(1, 0, 1), ("b", 1.0): {"p2": True, "p0": False, "q": False}}
    found = students.figures(own, "a", 10, 0)
    assert found["problems"] == 2
    assert [each["accuracy"]["value"] for each in found["students"]] == [1.0, 0.5]
    with pytest.raises(DataError, match="no problem that all"):
        students.figures({("a", 1.0): right(1), ("b", 1.0): {"q": True}}, "a", 10, 0)


def test_the_order_of_problems_is_no_matter():
    rng = np.random.default_rng(0)
    own, other = right(*rng.integers(0, 2, 50)), right(*rng.integers(0, 2, 50))
    turned = dict(reversed(list(other.items())))
    one = students.figures({("a", 1.0): own, ("b", 1.0): other}, "a", 50, 0)
    assert one == students.figures({("a", 1.0): own, ("b", 1.0): turned}, "a", 50, 0)


def test_who_solves_nothing_or_everything_is_pointed_out_and_columns_stay_below_each_other():
    long = "a_method_with_a_long_name"
    own = {("a", 0.5): right(1, 0), (long, 0.5): right(0, 0), ("a", 1.0): right(1, 1)}
    found = students.figures(own, "a", 10, 0)
    assert [note.partition(";")[0] for note in found["notes"]] == [
        f"{long}, 50.0% of train, solves nothing",
        "a, 100.0% of train, solves everything",
    ]
    text = students.as_text(found, "test", "a")
    short, tall = (
        next(line for line in text.splitlines() if line.startswith(name)) for name in ("a ", long)
    )
    assert short.index("[") == tall.index("[")
    assert text.endswith("believing it")
