"""Packing without loss, and streams that any host can resume."""

from __future__ import annotations

import itertools
import json
import logging

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.data import packing
from verifier.data.batches import (
    BatchSpec,
    BatchStream,
    Example,
    Shard,
    mix,
    zeros,
)
from verifier.data.examples import Target
from verifier.errors import ConfigError, DataError

# One number of each position, and two of each: whatever a loss names is packed alike.
TARGETS = {"weight": Target(), "teacher_ids": Target(np.int32, (2,))}


def numbered(lengths):
    """Examples that can be told apart: tokens count on through all of them."""
    examples, start = [], 1
    for index, length in enumerate(lengths):
        tokens = np.arange(start, start + length, dtype=np.int32)
        targets = {
            "weight": 2 * tokens.astype(np.float32),
            "teacher_ids": np.stack([3 * tokens, 4 * tokens], 1),
        }
        examples.append(Example(tokens, targets, f"e{index}"))
        start += length
    return examples


def stream_of(examples, seed, batch_rows, row_tokens, *more, **named):
    return BatchStream(examples, seed, BatchSpec(batch_rows, row_tokens, TARGETS), *more, **named)


def unpacked(batches):
    """The examples of some batches, in order, with positions checked."""
    examples = []
    for batch in batches:
        for row in range(len(batch.tokens_BT)):
            ends, start = batch.ends_BT[row], 0
            while start < len(ends) and ends[start]:
                here = slice(start, ends[start])
                assert (ends[here] == here.stop).all()
                assert batch.positions_BT[row][here].tolist() == list(range(here.stop - start))
                targets = {key: array[row][here] for key, array in batch.targets.items()}
                examples.append(as_text(Example(batch.tokens_BT[row][here], targets)))
                start = here.stop
            assert not any(field[row][start:].any() for field in jax.tree.leaves(batch))
    return examples


def as_text(example):
    """Tokens and targets of an example, to be compared."""
    targets = {key: array.tolist() for key, array in sorted(example.targets.items())}
    return f"{example.tokens.tolist()} {targets}"


def as_texts(examples):
    return [as_text(example) for example in examples]


def same(one, other):
    return jax.tree.all(
        jax.tree.map(lambda a, b: np.array_equal(a, b) and a.dtype == b.dtype, one, other)
    )


def joined(parts):
    """The batch of all hosts from their parts of it."""
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def rows_of(examples, row_tokens):
    """The names of the examples of each row."""
    lengths, names = [len(each.tokens) for each in examples], [each.name for each in examples]
    kept = packing.fitting(lengths, names, row_tokens)
    rows = packing.pack_lengths([lengths[n] for n in kept], row_tokens)
    return [[names[kept[n]] for n in row] for row in rows]


# packing


@given(st.lists(st.integers(1, 12), min_size=1, max_size=200))
def test_packing_loses_and_doubles_nothing(lengths):
    rows = packing.pack_lengths(lengths, 12)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[index] for index in row) <= 12 for row in rows)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    # first fit leaves at most one row half empty (64 open rows are enough here)
    assert len(rows) <= 1 + 2 * sum(lengths) / 12


def test_rooms_are_few_and_never_a_half_larger_than_needed():
    rooms = list(itertools.takewhile(lambda room: room < 5000, packing.rooms(32)))
    assert rooms[:6] == [32, 48, 64, 96, 128, 192] and len(rooms) < 16
    assert all(after <= 1.5 * before for before, after in itertools.pairwise(rooms))


def test_packing_is_first_fit():
    assert rows_of(numbered([6, 7, 4, 3, 1]), 10) == [["e0", "e2"], ["e1", "e3"], ["e4"]]


def test_long_examples_are_left_out_and_named(caplog):
    with caplog.at_level(logging.WARNING):
        rows = rows_of(numbered([3, 11, 2, 30]), 10)
    assert rows == [["e0", "e2"]]
    (record,) = caplog.records
    assert (
        "2 of 4 examples" in record.getMessage()
        and "e1, e3" in record.getMessage()
        and "30 tokens" in record.getMessage()
    )
    with pytest.raises(DataError, match="all 2 examples are longer than row_tokens=10 .*context"):
        rows_of(numbered([11, 12]), 10)
    with pytest.raises(DataError, match="all 2 examples are longer than row_tokens=10 .*context"):
        stream_of(numbered([11, 12]), 0, 1, 10)


# streams


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
    st.integers(0, 2**70),
    st.sampled_from([1, 2, 4]),
)
def test_every_epoch_has_every_example_once(lengths, seed, batch_rows):
    examples = numbered(lengths)
    stream = stream_of(examples, seed, batch_rows, 9, epochs=2)
    batches = list(stream)
    assert len(batches) == len(stream) and all(
        batch.tokens_BT.shape == (batch_rows, 9) for batch in batches
    )
    # only the very last one lacks rows
    assert all((batch.ends_BT > 0).any(axis=1).all() for batch in batches[:-1])
    read = unpacked(batches)
    for epoch in (read[: len(examples)], read[len(examples) :]):
        assert sorted(epoch) == sorted(as_texts(examples))
    # an epoch ends with the step of its last row
    first = unpacked(batches[: stream.steps_per_epoch[0]])
    assert set(first) == set(read) and sum(stream.steps_per_epoch) == len(batches)
    assert set(unpacked(batches[: stream.steps_per_epoch[0] - 1])) < set(read)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
    st.integers(1, 9),
    st.sampled_from([1, 2, 4]),
    st.integers(1, 2),
)
def test_a_number_of_steps_takes_as_many_epochs_as_it_needs(lengths, steps, batch_rows, hosts):
    examples = numbered(lengths)
    batch_rows *= hosts
    stream = stream_of(examples, 1, batch_rows, 9, epochs=0.1, steps=steps)
    batches = list(stream)
    assert len(batches) == len(stream) == sum(stream.steps_per_epoch) == steps
    assert all((batch.ends_BT > 0).any(axis=1).all() for batch in batches)
    # the same order, longer
    by_epochs = unpacked(stream_of(examples, 1, batch_rows, 9, epochs=len(stream.steps_per_epoch)))
    by_steps = unpacked(batches)
    assert by_steps == by_epochs[: len(by_steps)]
    parts = [
        stream_of(examples, 1, batch_rows, 9, 1.0, steps, Shard(index, hosts))
        for index in range(hosts)
    ]
    for whole, *of_hosts in zip(batches, *parts, strict=True):
        assert same(whole, joined(of_hosts))


def test_further_epochs_are_shuffled_anew_however_they_are_asked_for():
    examples = numbered([5] * 30)
    orders = np.reshape(
        [batch.tokens_BT[:, 0] for batch in stream_of(examples, 0, 4, 5, steps=30)], (4, 30)
    )
    assert (
        len({tuple(order) for order in orders.tolist()}) == 4
        and (np.sort(orders) == np.sort(orders[0])).all()
    )


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 30), st.integers(0, 5), st.sampled_from([0, 17]))
def test_restored_equals_uninterrupted(stop, seed, steps):
    examples = numbered([1 + n * 5 % 9 for n in range(41)])
    whole = list(stream_of(examples, seed, 4, 12, 2.5, steps))
    stop = min(stop, len(whole))
    before = stream_of(examples, seed, 4, 12, 2.5, steps)
    for _ in range(stop):
        next(before)
    after = stream_of(examples, seed, 4, 12, 2.5, steps)
    after.restore(json.loads(json.dumps(before.state())))
    rest = list(after)
    assert len(rest) == len(whole) - stop and all(
        same(a, b) for a, b in zip(rest, whole[stop:], strict=True)
    )


def test_a_position_of_other_data_is_refused():
    state = stream_of(numbered([3, 4]), 0, 2, 8).state()
    for other in (
        stream_of(numbered([3, 4]), 1, 2, 8),
        stream_of(numbered([3, 4]), 0, 4, 8),
        stream_of(numbered([3, 5]), 0, 2, 8),
    ):
        with pytest.raises(DataError, match=r"saved position has (seed=0|batch_rows=2|tokens=7)"):
            other.restore(state)
    with pytest.raises(DataError, match="saved position has tokens=None, here it is 7"):
        stream_of(numbered([3, 4]), 0, 2, 8).restore(
            {name: value for name, value in state.items() if name != "tokens"}
        )


def test_a_batch_has_the_targets_of_its_loss_alone():
    examples = numbered([3, 4])
    part = [example._replace(targets={"weight": example.targets["weight"]}) for example in examples]
    batch = next(stream_of(part, 0, 1, 8))
    assert batch.targets.keys() == TARGETS.keys() and not batch.targets["teacher_ids"].any()
    assert batch.targets["teacher_ids"].shape == (1, 8, 2) and batch.targets["weight"].any()
    assert same(zeros(BatchSpec(1, 8, TARGETS)), jax.tree.map(np.zeros_like, batch))
    with pytest.raises(
        DataError, match="example e0 has targets weight, teacher_ids; the loss reads weight"
    ):
        BatchStream(examples, 0, BatchSpec(1, 8, {"weight": Target()}))


def test_hosts_together_give_the_whole():
    examples = numbered([1 + n * 7 % 9 for n in range(50)])
    whole = list(stream_of(examples, 3, 4, 12))
    hosts = [list(stream_of(examples, 3, 4, 12, shard=Shard(index, 2))) for index in range(2)]
    for batch, *parts in zip(whole, *hosts, strict=True):
        assert same(batch, joined(parts))
    with pytest.raises(ConfigError, match="batch_rows=3 cannot be shared by 2"):
        stream_of(examples, 0, 3, 12, shard=Shard(0, 2))


def test_order_depends_on_seed_and_epoch_alone():
    examples = numbered([5] * 30)
    orders = [
        [tuple(batch.tokens_BT[:, 0]) for batch in stream_of(examples, seed, 1, 5, epochs=2)]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:30] != orders[0][30:]
    large = [
        [batch.tokens_BT[0, 0] for batch in stream_of(examples, seed, 1, 5)]
        for seed in (2**63, 2**63 + 1, -1, 2**64 - 1)
    ]
    assert large[0] != large[1] and large[2] == large[3]
    # Written down: another version of numpy must not draw another order in the middle of a run.
    assert [int(tokens[0]) // 5 for tokens in orders[0][:6]] == [0, 21, 2, 11, 20, 17]


def test_fractions_of_an_epoch():
    examples = numbered([5] * 30)
    assert [
        len(stream_of(examples, 0, 1, 5, epochs)) for epochs in (0, 0.1, 0.5, 0.51, 1, 1.1, 2)
    ] == [0, 3, 15, 16, 30, 33, 60]
    assert list(stream_of(examples, 0, 1, 5, 0)) == []
    with pytest.raises(DataError, match="no examples"):
        stream_of([], 0, 1, 5)
    with pytest.raises(ConfigError, match="epochs=-1 is negative"):
        stream_of(examples, 0, 1, 5, -1)


def test_mix_is_one_to_one_and_even():
    samples, truth = (
        numbered([2] * 10),
        [example._replace(name=f"g{n}") for n, example in enumerate(numbered([3] * 4))],
    )
    mixed = list(mix(samples, truth, seed=0))
    assert mixed[::2] == samples
    used = [example.name for example in mixed[1::2]]
    assert (
        sorted(used[:4]) == sorted(used[4:8]) == ["g0", "g1", "g2", "g3"]
        and len(set(used[8:])) == 2
    )
    assert used[:4] != used[4:8]
    assert [example.name for example in mix(samples, truth, seed=0)[1::2]] == used
    assert list(mix([], truth, 0)) == [] == list(mix([], [], 0))
    # two samples beside all four of the ground truth
    few = list(mix(samples[:2], truth, 0, passes=2))
    assert (
        few[::2] == [*samples[:2], *samples[:2]]
        and [example.name for example in few[1::2]] == used[:4]
    )
    assert mix(samples, truth, 0)[-1] is mixed[-1] and mix(samples, truth, 0)[2:5] == mixed[2:5]
    with pytest.raises(DataError, match="no ground truth.*lm_weight=0"):
        mix(samples, [], 0)
