"""Which tokens of two sides belong together: by the walk itself, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.data import matching
from verifier.data.edit_distance import EditDistances
from verifier.data.time_warping import warped


def walked(length_S, length_T):
    """The spans of both sides by the walk itself, a token at a time."""
    spans, s, t, at_s, at_t, first = [], 0, 0, 0, 0, (0, 0)
    while s < len(length_S) or t < len(length_T):
        if at_s <= at_t and s < len(length_S):
            s, at_s = s + 1, at_s + length_S[s]
        else:
            t, at_t = t + 1, at_t + length_T[t]
        if at_s == at_t:
            spans.append((range(first[0], s), range(first[1], t)))
            first = s, t
    return spans


def cut(total, rng):
    """Lengths from 1 on that sum to a total."""
    ends = np.flatnonzero(rng.random(total - 1) < 0.5) + 1
    return np.diff([0, *ends, total])


@pytest.mark.parametrize("seed", range(20))
def test_spans_are_those_of_the_walk(seed):
    rng = np.random.default_rng(seed)
    whole = int(rng.integers(1, 30))
    length_S, length_T = cut(whole, rng), cut(whole, rng)
    found = matching.by_bytes(length_S, length_T)
    spans = walked(length_S, length_T)
    for number, (of_S, of_T) in enumerate(spans):
        assert np.flatnonzero(found.span_S == number).tolist() == list(of_S)
        assert np.flatnonzero(found.span_T == number).tolist() == list(of_T)
        alone = of_S[0] if len(of_S) == len(of_T) == 1 else matching.NONE
        assert (found.single_T[list(of_T)] == alone).all()
    assert found.span_S[-1] == found.span_T[-1] == len(spans) - 1


def test_tokens_without_bytes_stay_with_their_neighbours():
    found = matching.by_bytes(np.array([0, 2, 0, 1, 0]), np.array([1, 1, 0, 1]))
    assert found.span_S.tolist() == [0, 0, 0, 1, 1] and found.span_T.tolist() == [0, 0, 0, 1]
    assert (found.single_T == matching.NONE).all()
    found = matching.by_bytes(np.array([0, 1, 1]), np.array([0, 1, 1]))
    assert found.span_S.tolist() == found.span_T.tolist() == [0, 0, 1]
    nothing = matching.by_bytes(np.array([0]), np.array([], np.int64))
    assert nothing.span_S.tolist() == [matching.NONE] and not len(nothing.span_T)


def test_a_newline_that_falls_to_the_full_stop_makes_it_one_hot():
    words = [["she", ".", "\n", "Then"], ["she", ".", "Then"]]
    ids = np.arange(4), np.arange(3)
    (path,) = warped(EditDistances(words).of([ids]))
    found = matching.by_path(path.first_K, path.second_K)
    assert found.single_T.tolist() == [0, matching.NONE, 3]
    assert found.span_S.tolist() == [0, 1, 1, 2] and found.span_T.tolist() == [0, 1, 2]
