"""Forests of texts against sets of prefixes, which say in brute force what is shared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.data import trees

# Few ids, so that much is shared; one of two bytes, the lower of which is the least of all.
TEXT = st.lists(st.sampled_from([0, 1, 2, 256]), min_size=1, max_size=7)
TEXTS = st.lists(TEXT, min_size=1, max_size=8)


def prefixes(texts):
    """The distinct prefixes of some texts."""
    return {tuple(text[:end]) for text in texts for end in range(1, len(text) + 1)}


def arrays(texts):
    return [np.asarray(text, np.int32) for text in texts]


@given(TEXTS)
def test_a_forest_has_a_node_for_each_prefix_and_subtrees_that_end_where_they_do(texts):
    tokens, positions, ends, paths = trees.forest(texts)
    prefix_of = {}
    for text, path in zip(texts, paths, strict=True):
        assert tokens[path].tolist() == text and positions[path].tolist() == [*range(len(text))]
        for end, node in enumerate(path.tolist(), start=1):
            assert prefix_of.setdefault(node, tuple(text[:end])) == tuple(text[:end])
    assert len(prefix_of) == len(tokens) == len(prefixes(texts)) == len({*prefix_of.values()})
    for i, prefix in prefix_of.items():
        for j, other in prefix_of.items():  # j <= i < end_j: the one goes on from the other
            assert (j <= i < ends[j]) == (prefix[: len(other)] == other)
    assert {array.dtype for array in (tokens, positions, ends, *paths)} == {np.dtype(np.int32)}


@given(TEXTS)
def test_texts_that_begin_alike_stand_together(texts):
    order, common = trees.alike(arrays(texts))
    assert [texts[n] for n in order] == sorted(texts)
    for place, n in enumerate(order):
        earlier = prefixes(texts[other] for other in order[:place])
        assert common[place] == len(prefixes([texts[n]]) & earlier)
    assert trees.distinct(texts) == len(prefixes(texts))


@settings(deadline=None)
@given(st.lists(TEXT, max_size=20), st.integers(7, 12))
def test_texts_are_packed_the_longest_first_and_then_what_shares_most(texts, row_tokens):
    """Which of equal ones comes first is nobody's concern."""
    left = list(range(len(texts)))
    for row in trees.packed(texts, row_tokens):
        inside: set = set()
        for n in row:
            size = {m: len(prefixes([texts[m]])) for m in left}
            shared = {m: len(prefixes([texts[m]]) & inside) for m in left}
            room = row_tokens - len(inside)
            rank = {m: (shared[m], size[m]) for m in left if size[m] - shared[m] <= room}
            assert rank[n] == max(rank.values())
            inside |= prefixes([texts[n]])
            left.remove(n)
        assert len(inside) <= row_tokens
        assert all(len(prefixes([texts[m]]) - inside) > row_tokens - len(inside) for m in left)
    assert not left


def test_a_text_that_no_row_holds_is_refused():
    with pytest.raises(ValueError, match=r"texts \[1\] do not fit rows of 3"):
        trees.packed([[1, 2], [1, 2, 3, 4]], 3)
