"""Forests of texts against sets of prefixes, which say in brute force what is shared."""

from __future__ import annotations

import numpy as np
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
def test_texts_are_packed_where_they_add_least(texts, row_tokens):
    rows: list[list[int]] = []
    for n in trees.alike(arrays(texts))[0]:
        sizes = [len(prefixes(texts[other] for other in row)) for row in rows]
        grown = [len(prefixes(texts[other] for other in [*row, n])) for row in rows]
        fits = [place for place, size in enumerate(grown) if size <= row_tokens]
        if fits:
            rows[min(fits, key=lambda place: (grown[place] - sizes[place], -sizes[place]))].append(
                n
            )
        else:
            rows.append([n])
    assert trees.packed(texts, row_tokens) == rows
