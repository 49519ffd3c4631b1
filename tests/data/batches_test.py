"""Masks by hand, packing without loss, and streams that any host can resume."""

from __future__ import annotations

import itertools
import json
import logging

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.config import ConfigError
from verifier.data import packing
from verifier.data.batches import (
    Batch,
    BatchStream,
    Example,
    LabelledSamples,
    encode_problem,
    lm_example,
    mix,
    pack,
    supervision,
    verifier_example,
)
from verifier.data.local_files import DataError
from verifier.text.problem import Template, make_problem


class Characters:
    """One token a character, for tests: the id is the code point; the start id is 1, the end id 0."""

    vocab_size, end_id, start_ids, reserved_id = 256, 0, (1,), 256

    def encode(self, text):
        return [ord(letter) for letter in text]

    def encode_with_spans(self, text):
        return self.encode(text), [(place, place + 1) for place in range(len(text))]


def numbered(lengths):
    """Examples that can be told apart: tokens count on through all of them."""
    examples, start = [], 1
    for place, length in enumerate(lengths):
        tokens = np.arange(start, start + length, dtype=np.int32)
        weights = np.float32([[1, 2, 3]]).T * tokens
        examples.append(Example(tokens, *weights.astype(np.float32), f"e{place}"))
        start += length
    return examples


def unpacked(batches):
    """The examples of some batches, in order, with positions checked."""
    found = []
    for batch in batches:
        for row in range(len(batch.tokens_BT)):
            segments = batch.segment_ids_BT[row]
            for segment in range(1, segments.max(initial=0) + 1):
                here = segments == segment
                assert batch.positions_BT[row][here].tolist() == list(range(here.sum()))
                found.append(tuple(tuple(field[row][here].tolist()) for field in (batch[0], *batch[3:])))
            padding = segments == 0
            assert not any(field[row][padding].any() for field in batch)
    return found


def as_tuples(examples):
    return [tuple(tuple(field.tolist()) for field in example[:4]) for example in examples]


def same(one, other):
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


# masks


@pytest.mark.parametrize(
    ("question", "forced", "expected"),
    [
        (False, True, [0, 1, 1, 1, 1, 0]),
        (True, True, [1, 1, 1, 1, 1, 0]),
        (False, False, [0, 1, 0, 1, 1, 0]),
        (True, False, [1, 1, 0, 1, 1, 0]),
    ],
)
def test_language_model_mask(question, forced, expected):
    example = lm_example([5, 6], [7, 8, 9, 2], [False, True, False, False], loss_on_question=question, loss_on_forced=forced)
    assert example.tokens.tolist() == [5, 6, 7, 8, 9, 2] and example.tokens.dtype == np.int32
    assert example.lm_weight.tolist() == expected and example.lm_weight.dtype == np.float32
    assert not example.value_weight.any() and not example.value_target.any()


@pytest.mark.parametrize(
    ("level", "normalise", "forced", "expected"),
    [
        ("token", "tokens", True, [0, 0, 1, 1, 1, 1]),
        ("token", "tokens", False, [0, 0, 1, 0, 1, 1]),
        ("token", "solutions", True, [0, 0, 0.25, 0.25, 0.25, 0.25]),
        ("solution", "tokens", True, [0, 0, 0, 0, 0, 1]),
        ("solution", "solutions", False, [0, 0, 0, 0, 0, 1]),
    ],
)
def test_value_mask(level, normalise, forced, expected):
    how = {"level": level, "normalise": normalise, "loss_on_forced": forced}
    example = verifier_example([5, 6], [7, 8, 9, 2], [False, True, False, False], True, **how)
    assert example.value_weight.tolist() == expected
    assert example.value_target.tolist() == [0, 0, 1, 1, 1, 1]
    assert not example.lm_weight.any()
    assert not verifier_example([5], [7], [False], False, **how).value_target.any()


@given(st.integers(0, 5), st.lists(st.booleans(), min_size=1, max_size=12), st.booleans(), st.booleans())
def test_masks_by_brute_force(prompt, forced, question, on_forced):
    total = prompt + len(forced)
    example = lm_example(range(prompt), range(len(forced)), forced, loss_on_question=question, loss_on_forced=on_forced)
    for t in range(total):
        following = t + 1
        if following == total:
            expected = False
        elif following < prompt:
            expected = question
        else:
            expected = on_forced or not forced[following - prompt]
        assert example.lm_weight[t] == expected
    how = {"level": "token", "normalise": "solutions", "loss_on_forced": on_forced}
    value = verifier_example(range(prompt), range(len(forced)), forced, True, **how)
    counted = [t >= prompt and (on_forced or not forced[t - prompt]) for t in range(total)]
    np.testing.assert_allclose(value.value_weight, np.array(counted) / max(sum(counted), 1), rtol=1e-6)


def test_bad_examples_are_refused():
    common = {"level": "token", "normalise": "tokens", "loss_on_forced": True}
    with pytest.raises(DataError, match="example p1 has no token"):
        verifier_example([1], [], [], True, **common, name="p1")
    with pytest.raises(DataError, match="2 entries for 1 tokens"):
        lm_example([1], [2], [True, False], loss_on_question=False, loss_on_forced=True)
    with pytest.raises(ConfigError, match="verify.level is 'word'"):
        verifier_example([1], [2], [False], True, **(common | {"level": "word"}))
    with pytest.raises(ConfigError, match="verify.normalise is 'rows'"):
        verifier_example([1], [2], [False], True, **(common | {"normalise": "rows"}))


def test_a_problem_becomes_tokens_and_the_calculators_are_marked():
    solution = "a <<1+2=3>>3 b <<x=4>>4\n#### 3"
    problem = make_problem("q?", solution, "3", "s", "train")
    prompt, target, forced = encode_problem(problem, Characters(), Template())
    assert prompt == [1, ord("q"), ord("?"), ord("\n")]
    assert target == [*map(ord, solution), 0] and len(forced) == len(target)
    first = solution.index("3>>")
    # Only what the calculator would write: nothing for `x`, which it cannot evaluate, and neither the digit behind `>>` nor the end.
    assert [place for place, written in enumerate(forced) if written] == [first, first + 1, first + 2]
    with pytest.raises(DataError, match="has no solution"):
        encode_problem(make_problem("q?", None, "3", "s", "test"), Characters(), Template())


def test_a_token_only_partly_in_a_result_is_the_models_own():
    class Merged(Characters):
        def encode_with_spans(self, text):
            """Pieces that begin before a result, or end behind it."""
            ends = [text.index("=3"), text.index("=3") + 2, text.index("5"), text.index(">>6"), text.index(">>6") + 3, len(text)]
            return list(range(2, 2 + len(ends))), list(zip([0, *ends[:-1]], ends, strict=True))

    solution = "<<1+2=3>>3 <<2+3=5>>5 <<3+3=6>>6\n#### 6"
    ids, spans = Merged().encode_with_spans(solution)
    assert [solution[start:end] for start, end in spans] == ["<<1+2", "=3", ">>3 <<2+3=", "5>>5 <<3+3=6", ">>6", "\n#### 6"]
    _, target, forced = encode_problem(make_problem("q?", solution, "6", "s", "train"), Merged(), Template())
    assert target == [*ids, 0] and not any(forced)


def test_share_of_supervised_tokens():
    examples = [
        lm_example([5, 6], [7, 2], [False] * 2, loss_on_question=False, loss_on_forced=True),
        verifier_example([5], [7, 8, 2], [False] * 3, True, level="token", normalise="solutions", loss_on_forced=True),
    ]
    for counted in (supervision(examples), supervision(next(BatchStream(examples, 0, 2, 10)))):
        assert counted == (8, 2, 3, 0.25, 0.375)


@pytest.mark.parametrize("level", ["token", "solution"])
def test_samples_of_a_table_are_the_examples_made_one_by_one(level):
    rows = {
        "problem_id": ["a", "b", "a", "a"],
        "sample_id": [0, 0, 1, 2],
        "tokens": [[5, 6, 2], [7, 2], [8], [9, 9, 9, 2]],
        "forced": [[False, True, False], [False, False], [False], [False, True, True, False]],
    }
    parts = [{name: values[part] for name, values in rows.items()} for part in (slice(0, 1), slice(1, 4))]
    table = pa.concat_tables([pa.table(part) for part in parts]).slice(0)  # chunks, as parts of a folder give them
    prompts = {"a": [1, 3], "b": [1]}
    how = {"level": level, "normalise": "solutions", "loss_on_forced": False}
    places, correct = [3, 0, 1], [True, False, True]
    found = LabelledSamples(table, places, correct, prompts, **how)
    wanted = [
        verifier_example(
            prompts[rows["problem_id"][n]],
            rows["tokens"][n],
            rows["forced"][n],
            label,
            **how,
            name=f"{rows['problem_id'][n]}/{rows['sample_id'][n]}",
        )
        for n, label in zip(places, correct, strict=True)
    ]
    assert as_tuples(found) == as_tuples(wanted) and [each.name for each in found] == ["a/2", "a/0", "b/0"]
    assert as_tuples(found[1:]) == as_tuples(wanted[1:]) and as_tuples([found[-1]]) == as_tuples(wanted[-1:])
    sliced = LabelledSamples(table.slice(2), [1], [True], prompts, **how)  # offsets that begin behind 0
    assert as_tuples(sliced) == as_tuples(wanted[:1])
    with pytest.raises(DataError, match="`forced` of another length"):
        LabelledSamples(table.set_column(3, "forced", pa.array([[True]] * 4)), places, correct, prompts, **how)


# packing


@given(st.lists(st.integers(1, 12), min_size=1, max_size=200))
def test_packing_loses_and_doubles_nothing(lengths):
    examples = numbered(lengths)
    rows = pack(examples, 12)
    assert sorted(example.name for row in rows for example in row) == sorted(example.name for example in examples)
    assert all(0 < sum(len(example.tokens) for example in row) <= 12 for row in rows)
    assert [row[0].tokens[0] for row in rows] == sorted(row[0].tokens[0] for row in rows)
    assert len(rows) <= 1 + 2 * sum(lengths) / 12  # first fit leaves at most one row half empty (64 open rows are enough here)


def test_rooms_are_few_and_never_a_half_larger_than_needed():
    found = list(itertools.takewhile(lambda room: room < 5000, packing.rooms(32)))
    assert found[:6] == [32, 48, 64, 96, 128, 192] and len(found) < 16
    assert all(after <= 1.5 * before for before, after in itertools.pairwise(found))


def test_packing_is_first_fit():
    assert [[example.name for example in row] for row in pack(numbered([6, 7, 4, 3, 1]), 10)] == [["e0", "e2"], ["e1", "e3"], ["e4"]]


def test_long_examples_are_left_out_and_named(caplog):
    with caplog.at_level(logging.WARNING):
        rows = pack(numbered([3, 11, 2, 30]), 10)
    assert [[example.name for example in row] for row in rows] == [["e0", "e2"]]
    (record,) = caplog.records
    assert "2 of 4 examples" in record.getMessage() and "e1, e3" in record.getMessage() and "30 tokens" in record.getMessage()
    with pytest.raises(DataError, match="all 2 examples are longer than row_tokens=10 .*context"):
        pack(numbered([11, 12]), 10)
    with pytest.raises(DataError, match="all 2 examples are longer than row_tokens=10 .*context"):
        BatchStream(numbered([11, 12]), 0, 1, 10)


# streams


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(0, 2**70), st.sampled_from([1, 2, 4]))
def test_every_epoch_has_every_example_once(lengths, seed, batch_rows):
    examples = numbered(lengths)
    stream = BatchStream(examples, seed, batch_rows, 9, epochs=2)
    batches = list(stream)
    assert len(batches) == len(stream) and all(batch.tokens_BT.shape == (batch_rows, 9) for batch in batches)
    assert all((batch.segment_ids_BT > 0).any(axis=1).all() for batch in batches[:-1])  # only the very last one lacks rows
    found = unpacked(batches)
    for epoch in (found[: len(examples)], found[len(examples) :]):
        assert sorted(epoch) == sorted(as_tuples(examples))
    first = unpacked(batches[: stream.steps_per_epoch[0]])  # an epoch ends with the step of its last row
    assert set(first) == set(found) and sum(stream.steps_per_epoch) == len(batches)
    assert set(unpacked(batches[: stream.steps_per_epoch[0] - 1])) < set(found)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), st.integers(1, 9), st.sampled_from([1, 2, 4]), st.integers(1, 2))
def test_a_number_of_steps_takes_as_many_epochs_as_it_needs(lengths, steps, batch_rows, hosts):
    examples = numbered(lengths)
    batch_rows *= hosts
    stream = BatchStream(examples, 1, batch_rows, 9, epochs=0.1, steps=steps)
    batches = list(stream)
    assert len(batches) == len(stream) == sum(stream.steps_per_epoch) == steps
    assert all((batch.segment_ids_BT > 0).any(axis=1).all() for batch in batches)
    by_epochs = unpacked(BatchStream(examples, 1, batch_rows, 9, epochs=len(stream.steps_per_epoch)))  # the same order, longer
    found = unpacked(batches)
    assert found == by_epochs[: len(found)]
    parts = [BatchStream(examples, 1, batch_rows, 9, 1.0, steps, index, hosts) for index in range(hosts)]
    for whole, *of_hosts in zip(batches, *parts, strict=True):
        assert same(whole, Batch(*(np.concatenate(fields) for fields in zip(*of_hosts, strict=True))))


def test_further_epochs_are_shuffled_anew_however_they_are_asked_for():
    examples = numbered([5] * 30)
    orders = np.reshape([batch.tokens_BT[:, 0] for batch in BatchStream(examples, 0, 4, 5, steps=30)], (4, 30))
    assert len({tuple(order) for order in orders.tolist()}) == 4 and (np.sort(orders) == np.sort(orders[0])).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 30), st.integers(0, 5), st.sampled_from([0, 17]))
def test_restored_equals_uninterrupted(stop, seed, steps):
    examples = numbered([1 + place * 5 % 9 for place in range(41)])
    whole = list(BatchStream(examples, seed, 4, 12, 2.5, steps))
    stop = min(stop, len(whole))
    before = BatchStream(examples, seed, 4, 12, 2.5, steps)
    for _ in range(stop):
        next(before)
    after = BatchStream(examples, seed, 4, 12, 2.5, steps)
    after.restore(json.loads(json.dumps(before.state())))
    rest = list(after)
    assert len(rest) == len(whole) - stop and all(same(a, b) for a, b in zip(rest, whole[stop:], strict=True))


def test_a_position_of_other_data_is_refused():
    state = BatchStream(numbered([3, 4]), 0, 2, 8).state()
    for other in (BatchStream(numbered([3, 4]), 1, 2, 8), BatchStream(numbered([3, 4]), 0, 4, 8), BatchStream(numbered([3, 5]), 0, 2, 8)):
        with pytest.raises(DataError, match=r"saved position has (seed=0|batch_rows=2|tokens=7)"):
            other.restore(state)
    with pytest.raises(DataError, match="saved position has tokens=None, here it is 7"):
        BatchStream(numbered([3, 4]), 0, 2, 8).restore({name: value for name, value in state.items() if name != "tokens"})


def test_hosts_together_give_the_whole():
    examples = numbered([1 + place * 7 % 9 for place in range(50)])
    whole = list(BatchStream(examples, 3, 4, 12))
    hosts = [list(BatchStream(examples, 3, 4, 12, process_index=index, process_count=2)) for index in range(2)]
    for batch, *parts in zip(whole, *hosts, strict=True):
        assert same(batch, Batch(*(np.concatenate(fields) for fields in zip(*parts, strict=True))))
    with pytest.raises(ConfigError, match="batch_rows=3 cannot be shared by 2"):
        BatchStream(examples, 0, 3, 12, process_index=0, process_count=2)


def test_order_depends_on_seed_and_epoch_alone():
    examples = numbered([5] * 30)
    orders = [[tuple(batch.tokens_BT[:, 0]) for batch in BatchStream(examples, seed, 1, 5, epochs=2)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:30] != orders[0][30:]
    large = [[batch.tokens_BT[0, 0] for batch in BatchStream(examples, seed, 1, 5)] for seed in (2**63, 2**63 + 1, -1, 2**64 - 1)]
    assert large[0] != large[1] and large[2] == large[3]
    # Written down: another version of numpy must not draw another order in the middle of a run.
    assert [int(tokens[0]) // 5 for tokens in orders[0][:6]] == [0, 21, 2, 11, 20, 17]


def test_fractions_of_an_epoch():
    examples = numbered([5] * 30)
    assert [len(BatchStream(examples, 0, 1, 5, epochs)) for epochs in (0, 0.1, 0.5, 0.51, 1, 1.1, 2)] == [0, 3, 15, 16, 30, 33, 60]
    assert list(BatchStream(examples, 0, 1, 5, 0)) == []
    with pytest.raises(DataError, match="no examples"):
        BatchStream([], 0, 1, 5)
    with pytest.raises(ConfigError, match="epochs=-1 is negative"):
        BatchStream(examples, 0, 1, 5, -1)


def test_mix_is_one_to_one_and_even():
    samples, truth = numbered([2] * 10), [example._replace(name=f"g{place}") for place, example in enumerate(numbered([3] * 4))]
    mixed = list(mix(samples, truth, seed=0))
    assert mixed[::2] == samples
    used = [example.name for example in mixed[1::2]]
    assert sorted(used[:4]) == sorted(used[4:8]) == ["g0", "g1", "g2", "g3"] and len(set(used[8:])) == 2
    assert used[:4] != used[4:8]
    assert [example.name for example in mix(samples, truth, seed=0)[1::2]] == used
    assert list(mix([], truth, 0)) == [] == list(mix([], [], 0))
    few = list(mix(samples[:2], truth, 0, passes=2))  # two samples beside all four of the ground truth
    assert few[::2] == [*samples[:2], *samples[:2]] and [example.name for example in few[1::2]] == used[:4]
    assert mix(samples, truth, 0)[-1] is mixed[-1] and mix(samples, truth, 0)[2:5] == mixed[2:5]
    with pytest.raises(DataError, match="no ground truth.*lm_weight=0"):
        mix(samples, [], 0)
