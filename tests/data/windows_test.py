"""Windows on disk hold every document once, and their batches come in an order that can be gone on
with at any step.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from verifier.data.ahead import ahead_targets
from verifier.data.batches import BatchSpec, lm_example
from verifier.data.examples import Target
from verifier.data.row_stream import Shard
from verifier.data.window_stream import WindowStream
from verifier.data.windows import Windows, WindowWriter
from verifier.errors import DataError

T, AHEAD = 8, 3
_TARGETS = {
    "lm_weight": Target(),
    "lm_target": Target(np.int32),
    "ahead_weight": Target(np.float32, (AHEAD,)),
    "policy_weight": Target(),
}
SPEC = BatchSpec(4, T, _TARGETS)


def written(folder, documents):
    with WindowWriter(folder, T) as writer:
        for ids in documents:
            writer.add(ids, [each % 3 for each in ids])
    assert writer.documents == len(documents)
    assert writer.tokens == sum(map(len, documents))
    return Windows(folder, {"windows": writer.windows, "window_tokens": T})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Documents of 1 to 2.5 windows, and their windows."""
    rng = np.random.default_rng(0)
    documents = [rng.integers(1, 99, rng.integers(1, 21)).tolist() for _ in range(40)]
    return documents, written(tmp_path_factory.mktemp("windows"), documents)


def test_every_document_is_there_whole_and_is_cut_only_where_it_must_be(made):
    documents, windows = made
    back = {number: [] for number in range(len(documents))}
    kinds = {number: [] for number in range(len(documents))}
    cut = dict.fromkeys(back, 0)
    for index in range(len(windows)):
        ends = 0
        for piece in windows.pieces(index):
            assert piece.start == ends and piece.first == len(back[piece.document])
            ends = piece.end
            back[piece.document] += windows[index][piece.start : piece.end].tolist()
            kinds[piece.document] += windows.kinds(index)[piece.start : piece.end].tolist()
            cut[piece.document] += 1
        assert (windows[index][ends:] == 0).all()
    assert list(back.values()) == documents
    assert list(kinds.values()) == [[each % 3 for each in ids] for ids in documents]
    assert all(cut[number] == 1 for number, ids in enumerate(documents) if len(ids) <= T)
    assert max(cut.values()) > 2


def test_an_error_on_the_way_leaves_no_file(tmp_path):
    with pytest.raises(KeyError), WindowWriter(tmp_path, T) as writer:
        writer.add(list(range(20)))
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    windows = written(tmp_path, [[1, 2, 3]] * 9)
    path = tmp_path / "places.bin"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"places\.bin is not there with"):
        Windows(tmp_path, {"windows": len(windows), "window_tokens": T})


def test_some_windows_are_spread_over_all(made):
    windows = made[1]
    manifest = {"windows": len(windows), "window_tokens": T}
    few = Windows(windows.folder, manifest, most=3)
    own = [0, len(windows) // 3, 2 * len(windows) // 3]
    assert [few[index].tolist() for index in range(len(few))] == [
        windows[index].tolist() for index in own
    ]
    assert len(Windows(windows.folder, manifest, most=10_000)) == len(windows)


def alike(one, other):
    for name in ("tokens_BT", "positions_BT", "ends_BT"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for key in _TARGETS:
        np.testing.assert_array_equal(one.targets[key], other.targets[key])


def test_an_epoch_reads_every_window_once_and_the_next_one_in_another_order(made):
    windows = made[1]
    count = len(windows)
    batches = list(WindowStream(windows, 3, SPEC, epochs=2.0))
    rows = np.concatenate([batch.tokens_BT for batch in batches])[: 2 * count].tolist()
    all_of_them = sorted(windows[index].tolist() for index in range(count))
    assert sorted(rows[:count]) == sorted(rows[count:]) == all_of_them
    assert rows[:count] != rows[count:]
    stream = WindowStream(windows, 3, SPEC, epochs=2.0)
    assert len(stream) == len(batches) == sum(stream.steps_per_epoch)
    assert stream.steps_per_epoch[0] == -(-count // SPEC.batch_rows)
    by_steps = list(WindowStream(windows, 3, SPEC, steps=7))
    assert len(by_steps) == 7
    for one, other in zip(by_steps, batches, strict=False):
        alike(one, other)


@pytest.mark.parametrize("done", [0, 1, 9, 15])
def test_a_stream_goes_on_exactly_where_it_was(made, done):
    windows = made[1]
    stream = WindowStream(windows, 3, SPEC, steps=16)
    for _ in itertools.islice(stream, done):
        pass
    anew = WindowStream(windows, 3, SPEC, steps=16)
    anew.restore(stream.state())
    left, own = list(stream), list(anew)
    assert len(left) == len(own) == 16 - done
    for one, other in zip(left, own, strict=True):
        alike(one, other)
    with pytest.raises(DataError, match="seed=3, here it is 4"):
        WindowStream(windows, 4, SPEC, steps=16).restore(stream.state())


def test_hosts_share_the_rows_of_every_batch(made):
    windows = made[1]
    whole = list(WindowStream(windows, 3, SPEC, epochs=1.5))
    parts = [list(WindowStream(windows, 3, SPEC, 1.5, shard=Shard(n, 2))) for n in range(2)]
    for batch, *own in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(
            batch.tokens_BT, np.concatenate([each.tokens_BT for each in own])
        )


def test_each_document_of_a_window_is_a_text_of_its_own(made):
    """Against the example that it would be by itself."""
    windows = made[1]
    (batch,) = itertools.islice(WindowStream(windows, 0, SPEC), 1)
    everything = {tuple(windows[n].tolist()): n for n in range(len(windows))}
    for row in range(SPEC.batch_rows):
        pieces = list(windows.pieces(everything[tuple(batch.tokens_BT[row].tolist())]))
        for start, end, *_ in pieces:
            ids = batch.tokens_BT[row, start:end].tolist()
            own = lm_example(
                [], ids, [False] * len(ids), loss_on_question=True, loss_on_forced=True
            )
            weight_T = own.targets["lm_weight"]
            for key, target in (own.targets | ahead_targets(weight_T, AHEAD)).items():
                np.testing.assert_array_equal(batch.targets[key][row, start:end], target)
            assert batch.positions_BT[row, start:end].tolist() == list(range(len(ids)))
            assert (batch.ends_BT[row, start:end] == end).all()
        assert (batch.ends_BT[row, pieces[-1].end :] == 0).all()


def test_rows_of_another_length_are_refused(made):
    with pytest.raises(DataError, match="windows of 8 tokens; expected some of row_tokens=9"):
        WindowStream(made[1], 0, SPEC._replace(row_tokens=9))
