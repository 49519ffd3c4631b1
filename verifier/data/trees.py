"""Texts that begin alike as one forest: what they have in common stands there once.

The forest lies in depth-first order, as `model.view` draws it; texts of the same tokens end in the
same node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Forest(NamedTuple):
    """The distinct prefixes of some texts, N of them: a node each."""

    tokens: np.ndarray  # int32 [N]
    positions: np.ndarray  # int32 [N], 0 for the first token of a text
    ends: np.ndarray  # int32 [N], one beyond the last node of each one's subtree
    paths: list[np.ndarray]  # of each text, in the order given: int32, the nodes of its tokens


def forest(texts: Sequence[Sequence[int] | np.ndarray]) -> Forest:
    """The forest of texts, none of which is empty."""
    arrays = [np.asarray(text, np.int32) for text in texts]
    order, common = alike(arrays)
    paths: list[np.ndarray] = [np.zeros(0, np.int32)] * len(arrays)
    ends = np.zeros(sum(len(text) for text in arrays), np.int32)
    tokens, positions = np.zeros((2, len(ends)), np.int32)
    size, path = 0, np.zeros(0, np.int32)
    for index, shared in zip(order, common, strict=True):
        text = arrays[index]
        here = slice(size, size + len(text) - shared)
        ends[path[shared:]] = size  # what the last text had for itself goes no further
        tokens[here], positions[here] = text[shared:], np.arange(shared, len(text))
        path = np.append(path[:shared], np.arange(here.start, here.stop, dtype=np.int32))
        paths[index], size = path, here.stop
    ends[path] = size
    return Forest(tokens[:size], positions[:size], ends[:size], paths)


def alike(texts: Sequence[np.ndarray]) -> tuple[list[int], list[int]]:
    """Texts in the order of their tokens, so that those that begin alike stand together.

    Args:
        texts: of int32 ids from 0 on.

    Returns:
        The indices in that order, and how many tokens each text has in common with the one before
        it: no earlier one has more.
    """
    # Bytes with the highest first are ordered as the numbers are.
    order = sorted(range(len(texts)), key=lambda index: texts[index].astype(">i4").tobytes())
    common = [0] * len(order)
    for place in range(1, len(order)):
        common[place] = _common(texts[order[place - 1]], texts[order[place]])
    return order, common


def distinct(texts: Sequence[Sequence[int] | np.ndarray]) -> int:
    """How many distinct prefixes texts have."""
    arrays = [np.asarray(text, np.int32) for text in texts]
    return sum(len(text) for text in arrays) - sum(alike(arrays)[1])


def packed(texts: Sequence[Sequence[int] | np.ndarray], row_tokens: int) -> list[list[int]]:
    """Puts texts into rows that hold a forest each, of at most row_tokens nodes.

    A row is begun with the longest text that is left, and goes on with what has most in common with
    it, of such texts with the longest, until none has room. What a text has in common with one of
    another row stands in both. Where nothing is shared, this is first fit of the longest first.

    Args:
        texts: none longer than row_tokens.
        row_tokens: nodes of a row.

    Returns:
        The indices of the texts of each row.

    Raises:
        ValueError: a text that no row holds.
    """
    arrays = [np.asarray(text, np.int32) for text in texts]
    if longer := [index for index, text in enumerate(arrays) if len(text) > row_tokens]:
        raise ValueError(
            f"texts {longer[:5]} do not fit rows of {row_tokens} tokens; leave them out"
        )
    order, common = alike(arrays)
    common_N = np.array(common)  # of each text with the one before it
    length_N = np.array([len(arrays[index]) for index in order])
    left_N = np.ones(len(order), bool)
    rows: list[list[int]] = []
    while left_N.any():
        row: list[int] = []
        room, shared_N = row_tokens, np.zeros_like(length_N)  # of each text with the row
        while (fits_N := left_N & (length_N - shared_N <= room)).any():
            best = int(np.where(fits_N, shared_N * (row_tokens + 1) + length_N, -1).argmax())
            row.append(order[best])
            left_N[best] = False
            room -= int(length_N[best] - shared_N[best])
            # Two texts have in common what all have between them.
            before, after = common_N[best:0:-1], common_N[best + 1 :]
            alike_N = np.concatenate(
                [
                    np.minimum.accumulate(before)[::-1],
                    length_N[best : best + 1],
                    np.minimum.accumulate(after),
                ]
            )
            shared_N = np.maximum(shared_N, alike_N)
        rows.append(row)
    return rows


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """How many tokens two texts have in common from their first on."""
    least = min(len(one), len(other))
    apart = np.flatnonzero(one[:least] != other[:least])
    return int(apart[0]) if len(apart) else least
