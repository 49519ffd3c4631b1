"""Which row sits at which place of the attention to prompts: the host's seating plan, made anew
when rows come and go. Numpy only.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# R, rows of a block: more would leave more places empty, fewer would copy a prompt's keys more
# often
BLOCK_ROWS = 32

OWN_BLOCK = 16  # samples a problem up to which every prompt slot is a block of its own


@dataclasses.dataclass(frozen=True)
class Places:
    """E blocks of R places over P prompt slots; E is the smallest of `blocks` that is enough, and
    each is compiled once.
    """

    blocks: tuple[int, ...]
    block_rows: int
    own_block: bool  # every prompt slot is one block, and no prompt is looked up


def places(rows: int, prompts: int, samples: int) -> Places:
    """Places for B rows, of which at most `samples` have the same prompt, with P prompt slots.

    Few samples a problem: a block each, since copying the keys of every row's own prompt would cost
    more than all the rest of attention.
    """
    if samples <= OWN_BLOCK:
        return Places((prompts,), min(samples, rows), own_block=True)
    full = -(-rows // BLOCK_ROWS)
    usual = full + -(-rows // samples) + 1  # no stragglers of earlier problems
    return Places((usual, full + prompts), BLOCK_ROWS, own_block=False)


def blocks_for(prompt_B: np.ndarray, among: Places) -> int:
    """The number of blocks, one of `among.blocks`, that seats these rows; arguments as `seat`."""
    needed = -(-np.unique(prompt_B[prompt_B >= 0], return_counts=True)[1] // among.block_rows)
    return next(blocks for blocks in among.blocks if blocks >= needed.sum())


def seat(
    prompt_B: np.ndarray, among: Places, blocks: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives every row a place in a block of its prompt.

    Args:
        prompt_B: int, each row's prompt slot; -1: the row is idle.
        among: with room for them all (`places`).
        blocks: at least `blocks_for` these rows.

    Returns:
        place_B, row_ER and prompt_E, int32, as in `cache.Seating`; idle rows get place 0, which
        they only look at.
    """
    rows, size = len(prompt_B), among.block_rows
    seated = np.flatnonzero(prompt_B >= 0)
    seated = seated[np.argsort(prompt_B[seated], kind="stable")]
    slots, first, count = np.unique(prompt_B[seated], return_index=True, return_counts=True)
    needed = -(-count // size)
    first_block = slots if among.own_block else np.cumsum(needed) - needed
    rank = np.arange(len(seated)) - np.repeat(first, count)
    place_B = np.zeros(rows, np.int32)
    place_B[seated] = np.repeat(first_block, count) * size + rank
    row_ER = np.full(blocks * size, rows, np.int32)
    row_ER[place_B[seated]] = seated
    prompt_E = np.arange(blocks, dtype=np.int32) if among.own_block else np.zeros(blocks, np.int32)
    if not among.own_block:
        prompt_E[: needed.sum()] = np.repeat(slots, needed)
    return place_B, row_ER.reshape(blocks, size), prompt_E
