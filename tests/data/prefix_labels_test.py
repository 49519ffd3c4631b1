"""Labels of prefixes against counting them one by one, and what they are worth to a whole tree."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from tests.data.labelled_trees_test import LABELLED, samples_of
from verifier.data import labelled_trees, prefix_labels


def shares_of(solutions):
    return prefix_labels.shares(
        [np.array(ids, np.int32) for _, ids, _ in solutions],
        [problem for problem, _, _ in solutions],
        np.array([right for _, _, right in solutions]),
    )


def by_prefix(solutions):
    labels = shares_of(solutions)
    return samples_of([(*each[:2], own) for each, own in zip(solutions, labels, strict=True)])


@given(LABELLED)
@settings(deadline=None, max_examples=50)
def test_shares_are_counted(solutions) -> None:
    found = shares_of(solutions)
    for (problem, ids, _), shares in zip(solutions, found, strict=True):
        for length, share in enumerate(shares.tolist(), start=1):
            through = [
                right
                for other, text, right in solutions
                if other == problem and text[:length] == ids[:length]
            ]
            np.testing.assert_allclose(share, np.mean(through), rtol=1e-6)


@given(LABELLED)
@settings(deadline=None, max_examples=50)
def test_of_a_problem_in_one_tree_they_are_the_outcome(solutions) -> None:
    outcome, prefix = samples_of(solutions), by_prefix(solutions)
    one, other = (
        labelled_trees.grown(samples, [], [], group=0, row_tokens=1000)
        for samples in (outcome, prefix)
    )
    for a, b in zip(one, other, strict=True):
        assert a.tokens.tolist() == b.tokens.tolist()
        for key in ("value_weight", "value_target"):
            np.testing.assert_allclose(a.targets[key], b.targets[key], atol=1e-6)


def test_a_sample_by_itself_learns_what_others_say_of_its_beginning() -> None:
    samples = by_prefix(
        [("a", [5, 6, 7], True), ("a", [5, 6, 5], False), ("a", [5, 7], False), ("b", [5], True)]
    )
    prompt = 2
    targets = [each.targets["value_target"].tolist() for each in samples]
    np.testing.assert_allclose(targets[0][prompt:], [1 / 3, 1 / 2, 1])
    np.testing.assert_allclose(targets[1][prompt:], [1 / 3, 1 / 2, 0])
    np.testing.assert_allclose(targets[2][prompt:], [1 / 3, 0])
    assert targets[3][-1] == 1
