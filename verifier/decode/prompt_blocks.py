"""Blocks of rows that share a prompt: which row sits in which slot of the attention to prompts.

Made anew by the host when rows come and go. Numpy only.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# R, rows of a block: more would leave more slots empty, fewer would copy a prompt's keys more
# often.
BLOCK_ROWS = 32

OWN_BLOCK = 16  # samples a problem up to which every prompt slot is a block of its own


@dataclasses.dataclass(frozen=True)
class BlockSizes:
    """E blocks of R slots for rows, over P prompt slots.

    E is the smallest of `blocks` that is enough; a program is compiled once for each.
    """

    blocks: tuple[int, ...]
    block_rows: int
    own_block: bool  # every prompt slot is one block, and no prompt is looked up


def block_sizes(rows: int, prompts: int, samples: int) -> BlockSizes:
    """Blocks for B rows, of which at most `samples` have the same prompt, with P prompt slots.

    Few samples a problem: a block each, since copying the keys of every row's own prompt would cost
    more than all the rest of attention.
    """
    if samples <= OWN_BLOCK:
        return BlockSizes((prompts,), min(samples, rows), own_block=True)
    full = -(-rows // BLOCK_ROWS)
    usual = full + -(-rows // samples) + 1  # no stragglers of earlier problems
    return BlockSizes((usual, full + prompts), BLOCK_ROWS, own_block=False)


def blocks_needed(prompt_B: np.ndarray, sizes: BlockSizes) -> int:
    """The number of blocks, one of `sizes.blocks`, that holds these rows; arguments as `assign`."""
    needed = -(-np.unique(prompt_B[prompt_B >= 0], return_counts=True)[1] // sizes.block_rows)
    return next(blocks for blocks in sizes.blocks if blocks >= needed.sum())


def assign(
    prompt_B: np.ndarray, sizes: BlockSizes, blocks: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives every row a slot in a block of its prompt.

    Args:
        prompt_B: int, each row's prompt slot; -1: the row is idle.
        sizes: with room for them all (`block_sizes`).
        blocks: at least `blocks_needed` for these rows.

    Returns:
        block_slot_B, row_ER and prompt_E, int32, as in `cache.CacheIndices`; idle rows get slot 0,
        which they only look at.
    """
    rows, size = len(prompt_B), sizes.block_rows
    busy = np.flatnonzero(prompt_B >= 0)
    busy = busy[np.argsort(prompt_B[busy], kind="stable")]
    prompts, first, count = np.unique(prompt_B[busy], return_index=True, return_counts=True)
    needed = -(-count // size)
    first_block = prompts if sizes.own_block else np.cumsum(needed) - needed
    rank = np.arange(len(busy)) - np.repeat(first, count)
    block_slot_B = np.zeros(rows, np.int32)
    block_slot_B[busy] = np.repeat(first_block, count) * size + rank
    row_ER = np.full(blocks * size, rows, np.int32)
    row_ER[block_slot_B[busy]] = busy
    prompt_E = np.arange(blocks, dtype=np.int32) if sizes.own_block else np.zeros(blocks, np.int32)
    if not sizes.own_block:
        prompt_E[: needed.sum()] = np.repeat(prompts, needed)
    return block_slot_B, row_ER.reshape(blocks, size), prompt_E
