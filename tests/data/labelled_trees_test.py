"""Trees of samples and worked solutions against the examples that they are made of."""

from __future__ import annotations

import collections
import logging

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.data import labelled_trees, order
from verifier.data.batches import BatchSpec, BatchStream
from verifier.data.examples import LabelledSamples, lm_example
from verifier.train.losses import value

PROMPTS = {"a": [1, 3], "b": [1], "c": [1, 4, 4], "d": [2]}
HOW = {"level": "token", "normalise": "tokens", "loss_on_forced": True}
SOLUTION = st.lists(st.integers(5, 7), min_size=1, max_size=5)


def samples_of(solutions, prompts=PROMPTS, **how):
    """Labelled samples of a table: (problem, tokens, correct) each."""
    table = pa.table(
        {
            "problem_id": [problem for problem, _, _ in solutions],
            "sample_id": list(range(len(solutions))),
            "tokens": pa.array([ids for _, ids, _ in solutions], pa.list_(pa.int32())),
            "forced": [[n % 3 == 1 for n in range(len(ids))] for _, ids, _ in solutions],
        }
    )
    correct = [right for _, _, right in solutions]
    return LabelledSamples(table, range(len(solutions)), correct, prompts, **(HOW | how))


def worked(problems="abcd", **how):
    """A worked solution of each problem."""
    asked = {"loss_on_question": False, "loss_on_forced": True} | how
    return [
        lm_example(
            PROMPTS[name], [5, 6, 5, 7 + "abcd".index(name)], [False, True] * 2, **asked, name=name
        )
        for name in problems
    ]


LABELLED = st.lists(
    st.tuples(st.sampled_from("abc"), SOLUTION, st.booleans()), min_size=1, max_size=20
).map(lambda solutions: sorted(solutions, key=lambda each: each[0]))


def sums(examples):
    """Of every prefix that a weight stands at: the weights and the weighted targets, by key."""
    found = collections.defaultdict(lambda: np.zeros(2))
    for each in examples:
        depth = np.arange(len(each.tokens)) if each.positions is None else each.positions
        text: list[int] = []
        for node, token in enumerate(each.tokens.tolist()):
            text = [*text[: depth[node]], token]
            for kind in ("value", "lm"):
                weight = each.targets.get(f"{kind}_weight")
                if weight is not None and weight[node]:
                    target = each.targets[f"{kind}_target"][node]
                    found[kind, tuple(text)] += weight[node] * np.array([1, target])
    return found


def same_sums(one, other):
    one, other = sums(one), sums(other)
    assert one.keys() == other.keys()
    for key, each in one.items():
        np.testing.assert_allclose(each, other[key], rtol=1e-5, err_msg=str(key))


@settings(deadline=None)
@given(
    LABELLED,
    st.sampled_from([0, 1, 2, 3, 8]),
    st.integers(1, 3),
    st.sampled_from([7, 10, 100]),
    st.booleans(),
    st.booleans(),
)
def test_trees_teach_what_the_mix_of_their_examples_does(
    solutions, group, passes, row_tokens, question, by_solutions
):
    """Every prefix has the weight and the mean target of all that reach it, in all passes."""
    samples = samples_of(solutions, normalise="solutions" if by_solutions else "tokens")
    truth = worked(loss_on_question=question)
    readings = np.bincount(
        order.partners(passes * len(samples), len(truth), 0), minlength=len(truth)
    )
    grown = labelled_trees.grown(samples, truth, readings, group, row_tokens, passes)
    same_sums(grown, order.mix(samples, truth, 0, passes))
    for each in grown:
        is_text = each.ends[0] == len(each.tokens) and (np.diff(each.positions) == 1).all()
        assert len(each.tokens) <= row_tokens or is_text  # too long by itself


@settings(deadline=None)
@given(LABELLED, st.sampled_from([0, 1, 3, 8]))
def test_a_tree_is_of_one_problem_and_of_one_group_where_it_has_room(solutions, group):
    truth = worked()
    grown = labelled_trees.grown(samples_of(solutions), truth, [7] * 4, group, 1000)
    sizes, heaviest = collections.defaultdict(list), 0.0
    for each in grown:
        assert (each.positions == 0).sum() == 1
        (problem,) = {each.name.partition("/")[0]}
        here = each.positions == len(PROMPTS[problem])  # the first token of each solution
        if "value_weight" in each.targets:
            sizes[problem].append(each.targets["value_weight"][here].sum())
        else:
            heaviest = max(heaviest, each.targets["lm_weight"].max())
    ids = [problem for problem, _, _ in solutions]
    names = {f"{problem}/{n}": problem for n, problem in enumerate(ids)}
    assert {names.get(each.name, each.name) for each in grown} == set("abcd")
    for problem, count in collections.Counter(ids).items():
        assert sum(sizes[problem]) == count
        assert max(sizes[problem]) <= (group or count)
        assert max(sizes[problem]) - min(sizes[problem]) <= 1
    assert heaviest <= (group or 7)


def test_a_tree_by_hand():
    samples = samples_of([("b", [5, 6], True), ("b", [5, 6, 7], False), ("b", [5], True)])
    (made,) = labelled_trees.grown(samples, worked("b"), [6], 0, 20)
    # the prompt, what all share, what two and the worked solution share, their ends
    assert made.tokens.tolist() == [1, 5, 6, 5, 8, 7]
    assert made.positions.tolist() == [0, 1, 2, 3, 4, 3] and made.ends.tolist() == [
        6,
        6,
        6,
        5,
        5,
        6,
    ]
    targets = {key: target.tolist() for key, target in made.targets.items()}
    assert targets == {
        "value_weight": [0, 3, 2, 0, 0, 1],
        "value_target": [0, pytest.approx(2 / 3), 0.5, 0, 0, 0],
        "lm_weight": [6, 6, 6, 6, 0, 0],
        "lm_target": [5, 6, 5, 8, 0, 0],
    }
    assert {made.targets[key].dtype for key in targets if key != "lm_target"} == {np.dtype("f4")}


def test_what_is_too_long_alone_is_left_out_by_name(caplog):
    samples = samples_of([("a", [5, 6], True), ("a", [5] * 9, True), ("b", [7], False)])
    grown = labelled_trees.grown(samples, worked(), [1] * 4, 0, 8)
    targets = value.loss(300).targets
    with caplog.at_level(logging.WARNING):
        (batch,) = BatchStream(grown, 0, BatchSpec(8, 8, targets))
    assert "1 of 5 examples are left out" in caplog.text and ": a/1" in caplog.text
    assert batch.targets["value_weight"].sum() == 3 and (batch.targets["lm_weight"] > 0).sum() == 16


def test_ground_truth_that_has_no_turn_is_not_read():
    """As where samples are fewer than worked solutions."""
    samples = samples_of([("a", [5, 6], True)])
    (made,) = labelled_trees.grown(samples, worked(), [0, 0, 0, 0], 0, 20)
    assert made.targets.keys() == {"value_weight", "value_target"}
