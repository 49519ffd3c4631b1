"""Blocks of rows that share a prompt: which row sits in which slot of the attention to prompts.

Made anew by the host when rows come and go. Numpy only.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# R, rows of a block: more would leave more slots empty, fewer would copy a prompt's keys more
# often. The smaller blocks are for many prompts with few rows each.
BLOCK_ROWS = 32
SMALL_BLOCK_ROWS = 8

OWN_BLOCK = 16  # samples a problem up to which every prompt slot is a block of its own


@dataclasses.dataclass(frozen=True)
class BlockSizes:
    """E blocks of R slots for rows, over P prompt slots.

    The first of `sizes` that is enough is taken; a program is compiled once for each.
    """

    sizes: tuple[tuple[int, int], ...]  # E and R
    own_block: bool  # every prompt slot is one block, and no prompt is looked up


def block_sizes(rows: int, prompts: int, samples: int, few_programs: bool = False) -> BlockSizes:
    """Blocks for B rows, of which at most `samples` have the same prompt, with P prompt slots.

    Few samples a problem: a block each, since copying the keys of every row's own prompt would cost
    more than all the rest of attention. With few programs, those are given up whose steps are not
    so much cheaper that they are worth a compilation.
    """
    if samples <= OWN_BLOCK:
        return BlockSizes(((prompts, min(samples, rows)),), own_block=True)
    full = -(-rows // BLOCK_ROWS)
    usual = full + -(-rows // samples) + 1  # no stragglers of earlier problems
    small = -(-rows // SMALL_BLOCK_ROWS) + prompts
    sizes = ((usual, BLOCK_ROWS), (small, SMALL_BLOCK_ROWS))
    return BlockSizes(sizes[1:] if few_programs else sizes, own_block=False)


def needed(prompt_B: np.ndarray, sizes: BlockSizes) -> int:
    """Which of `sizes.sizes` holds these rows, the first that does; arguments as `assign`."""
    count = np.unique(prompt_B[prompt_B >= 0], return_counts=True)[1]
    enough = ((-(-count // R)).sum() <= E for E, R in sizes.sizes)
    return 0 if sizes.own_block else next(n for n, each in enumerate(enough) if each)


def assign(
    prompt_B: np.ndarray, sizes: BlockSizes, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives every row a slot in a block of its prompt.

    Args:
        prompt_B: int, each row's prompt slot; -1: the row is idle.
        sizes: with room for them all (`block_sizes`).
        number: which of them; at least `needed` for these rows.

    Returns:
        block_slot_B, row_ER and prompt_E, int32, as in `cache.CacheIndices`; idle rows get slot 0,
        which they only look at.
    """
    rows, (blocks, size) = len(prompt_B), sizes.sizes[number]
    busy = np.flatnonzero(prompt_B >= 0)
    busy = busy[np.argsort(prompt_B[busy], kind="stable")]
    prompts, first, count = np.unique(prompt_B[busy], return_index=True, return_counts=True)
    of_prompt = -(-count // size)
    first_block = prompts if sizes.own_block else np.cumsum(of_prompt) - of_prompt
    rank = np.arange(len(busy)) - np.repeat(first, count)
    block_slot_B = np.zeros(rows, np.int32)
    block_slot_B[busy] = np.repeat(first_block, count) * size + rank
    row_ER = np.full(blocks * size, rows, np.int32)
    row_ER[block_slot_B[busy]] = busy
    prompt_E = np.arange(blocks, dtype=np.int32) if sizes.own_block else np.zeros(blocks, np.int32)
    if not sizes.own_block:
        prompt_E[: of_prompt.sum()] = np.repeat(prompts, of_prompt)
    return block_slot_B, row_ER.reshape(blocks, size), prompt_E
