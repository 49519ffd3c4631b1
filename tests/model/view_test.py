"""What a token sees, against the texts that go through it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.trees_test import TEXTS
from verifier.data import trees
from verifier.model import view

WINDOW = st.sampled_from([None, 1, 3])
LONGEST, MOST = 7, 116  # tokens of a text and of a row, at most, so that all rows share programs


def test_the_picture_is_true():
    """The one that the module shows, by its columns."""
    lines = (view.__doc__ or "").splitlines()
    first = next(n for n, line in enumerate(lines) if "seen by a" in line)
    positions, ends = (
        np.array([next(line for line in lines if f"    {name} " in line)[16:36].split()], np.int32)
        for name in ("position", "end")
    )
    drawn = np.zeros((10, 10), bool)
    for t, line in enumerate(lines[first : first + 10]):
        seen = line[16:36].split()
        drawn[t, : len(seen)] = np.array(seen, int)
    np.testing.assert_array_equal(view.seen(positions, ends)[0], drawn)


def row_of(texts, others):
    """Two forests and at least two tokens of padding in a row: positions and ends."""
    row, start = np.zeros((2, MOST), np.int32), 0
    for forest in map(trees.forest, (texts, others)):
        here = slice(start, start + len(forest.tokens))
        row[:, here] = forest.positions, forest.ends + start
        start = here.stop
    assert start <= MOST - 2
    return row


@settings(deadline=None, max_examples=50)
@given(TEXTS, TEXTS, WINDOW)
def test_a_token_sees_those_before_it_in_its_own_text(texts, others, window):
    """A window counts tokens of the text."""
    row = row_of(texts, others)
    wanted, start = np.zeros((row.shape[1],) * 2, bool), 0
    for forest in map(trees.forest, (texts, others)):
        for path in forest.paths:
            for place, node in enumerate(path + start):
                first = 0 if window is None else max(0, place + 1 - window)
                wanted[node, path[first : place + 1] + start] = True
        start += len(forest.tokens)
    seen = view.seen(jnp.asarray(row[:1]), jnp.asarray(row[1:]), window)
    np.testing.assert_array_equal(seen[0], wanted)


def test_a_row_without_ends_is_one_text():
    positions = jnp.arange(6)[None]
    assert view.seen(positions, None) is None
    whole = jnp.full((1, 6), 6)
    for window in (None, 2):
        expected = np.tri(6, dtype=bool) & ~np.tri(6, k=-(window or 6), dtype=bool)
        seen = view.seen(positions, whole, window)
        np.testing.assert_array_equal(seen[0], expected)
        if window:
            np.testing.assert_array_equal(view.seen(positions, None, window), seen)


@settings(deadline=None, max_examples=50)
@given(TEXTS, TEXTS, WINDOW)
def test_blocks_see_what_the_row_does(texts, others, window):
    """Each key of a block stands for a token of the row, none twice."""
    block = 4
    row = row_of(texts, others)
    positions, ends = jnp.asarray(row[:1]), jnp.asarray(row[1:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view, "BLOCK", block)
        before = view.before(ends, LONGEST)
        seen = np.asarray(view.seen_by_blocks(positions, ends, before, window))
    T = row.shape[1]
    own = np.arange(T).reshape(1, -1, block)
    keys = np.concatenate([own, np.asarray(before)], axis=2)[0]
    found = np.zeros((T, T + 1), int)
    for queries, key, sees in zip(own[0], keys, seen, strict=True):
        np.add.at(found, (queries[:, None], key), sees)
    np.testing.assert_array_equal(found[:, :T], view.seen(positions, ends, window)[0])
    assert not found[:, T].any()
