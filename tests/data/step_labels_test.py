"""Labels of steps, worked out by hand, and what holds of any counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.data import step_labels
from verifier.data.examples import verifier_example

NAN = float("nan")


@pytest.mark.parametrize(
    "kind, hits, correct, wanted",
    [
        ("hard", [8, 2, 0], True, [1, 1, 0, 1]),
        ("soft", [8, 2, 0], True, [1, 0.25, 0, 1]),
        ("soft", [8, 2, 0], False, [1, 0.25, 0, 0]),
        ("first_error", [8, 2, 0], True, [1, 1, 1, 1]),
        # the third is the first error; of the two before it one is worth half of the accuracy .5
        ("first_error", [8, 2, 0, 4], False, [1, 0.5, 0, NAN, NAN]),
        # all but the last step may still come right: the last is the error
        ("first_error", [8, 8, 8, 1], False, [1, 1, 1, 0.25, 0]),
        ("first_error", [0], False, [0, NAN]),
        ("hard", [], False, [0]),
    ],
)
def test_by_hand(kind: str, hits: list[int], correct: bool, wanted: list[float]) -> None:
    labels = step_labels.of_steps(kind, [8] * len(hits), hits, correct, 0.5)
    np.testing.assert_allclose(labels, wanted)


@given(st.lists(st.integers(0, 4), max_size=6), st.booleans(), st.sampled_from([0, 0.1, 0.5, 1]))
def test_of_any_counts(hits: list[int], correct: bool, accuracy: float) -> None:
    rollouts = [4] * len(hits)
    hard, soft, first = (
        step_labels.of_steps(kind, rollouts, hits, correct, accuracy) for kind in step_labels.KINDS
    )
    assert (hard >= soft).all() and hard[-1] == soft[-1] == correct
    known = first[~np.isnan(first)]
    assert ((known >= 0) & (known <= 1)).all()
    # of a wrong solution exactly one known step is worth nothing, the last that is known
    assert correct or (np.flatnonzero(known == 0) == len(known) - 1).all()


def test_tokens_have_the_labels_of_their_steps() -> None:
    labels = np.array([1, 0.5, NAN], np.float32)
    np.testing.assert_array_equal(
        step_labels.of_tokens(labels, [1, 4, 5], False, 6), [1, 1, 0.5, 0.5, 0.5, NAN]
    )
    np.testing.assert_array_equal(
        step_labels.of_tokens(labels, [1, 4, 5], True, 6), [NAN, 1, NAN, NAN, 0.5, NAN]
    )


def test_what_has_no_label_does_not_count() -> None:
    label = np.array([1, NAN, 0.25], np.float32)
    how = {"level": "token", "normalise": "tokens", "loss_on_forced": True}
    example = verifier_example([3, 4], [5, 6, 7], [False] * 3, label, **how)
    assert example.targets["value_weight"].tolist() == [0, 0, 1, 0, 1]
    assert example.targets["value_target"].tolist() == [0, 0, 1, 0, 0.25]
    halved = verifier_example(
        [3], [5, 6, 7], [False] * 3, label, **how | {"normalise": "solutions"}
    )
    assert halved.targets["value_weight"].tolist() == [0, 0.5, 0, 0.5]


def test_unknown_kinds_and_steps_without_rollouts_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one of hard"):
        step_labels.of_steps("best", [1], [0], True, 0.5)
    with pytest.raises(ValueError, match="at least 1"):
        step_labels.of_steps("soft", [0], [0], True, 0.5)
