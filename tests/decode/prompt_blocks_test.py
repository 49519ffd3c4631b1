"""Whatever rows are there, each has a slot to itself in a block of its prompt."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.decode import prompt_blocks


@pytest.mark.parametrize(
    ("rows", "prompts", "samples"),
    [(1, 3, 1), (7, 9, 3), (40, 6, 17), (100, 4, 100), (300, 12, 64)],
)
def test_every_row_has_a_slot_of_its_own_in_a_block_of_its_prompt(
    rows: int, prompts: int, samples: int
) -> None:
    sizes = prompt_blocks.block_sizes(rows, prompts, samples)
    random = np.random.default_rng(0)
    for _ in range(50):
        crowd = np.repeat(np.arange(prompts), samples)  # no prompt has more rows than samples
        prompt_B = np.where(
            random.random(rows) < random.random(),
            random.permutation(np.resize(crowd, max(rows, len(crowd))))[:rows],
            -1,
        )
        if np.bincount(prompt_B[prompt_B >= 0], minlength=1).max() > samples:
            continue
        number = prompt_blocks.needed(prompt_B, sizes)
        block_slot_B, row_ER, prompt_E = prompt_blocks.assign(prompt_B, sizes, number)
        busy = np.flatnonzero(prompt_B >= 0)
        assert (row_ER.reshape(-1)[block_slot_B[busy]] == busy).all()
        assert (prompt_E[block_slot_B[busy] // row_ER.shape[1]] == prompt_B[busy]).all()
        assert (row_ER < rows).sum() == len(busy) and row_ER.shape == sizes.sizes[number]
        assert not sizes.own_block or (prompt_E == np.arange(prompts)).all()


def test_the_worst_crowd_still_has_room() -> None:
    sizes = prompt_blocks.block_sizes(64, 8, 40)
    prompt_B = np.concatenate([np.arange(7).repeat(1), np.full(40, 7), np.arange(7).repeat(2)])
    prompt_B = np.concatenate([prompt_B, np.full(64 - len(prompt_B), -1)])
    number = prompt_blocks.needed(prompt_B, sizes)
    row_ER = prompt_blocks.assign(prompt_B, sizes, number)[1]
    assert row_ER.shape == sizes.sizes[-1] and (row_ER < 64).sum() == (prompt_B >= 0).sum()
