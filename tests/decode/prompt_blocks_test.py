"""Places: every row sits alone in a block of its prompt, whatever rows are there, and there is
always room.
"""

from __future__ import annotations

import numpy as np
import pytest

from verifier.decode import prompt_blocks


@pytest.mark.parametrize(
    ("rows", "prompts", "samples"),
    [(1, 3, 1), (7, 9, 3), (40, 6, 17), (100, 4, 100), (300, 12, 64)],
)
def test_every_row_has_a_place_of_its_own_in_a_block_of_its_prompt(
    rows: int, prompts: int, samples: int
) -> None:
    plan = prompt_blocks.places(rows, prompts, samples)
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
        place_B, row_ER, prompt_E = prompt_blocks.seat(
            prompt_B, plan, prompt_blocks.blocks_for(prompt_B, plan)
        )
        seated = np.flatnonzero(prompt_B >= 0)
        assert (row_ER.reshape(-1)[place_B[seated]] == seated).all()
        assert (prompt_E[place_B[seated] // plan.block_rows] == prompt_B[seated]).all()
        assert (row_ER < rows).sum() == len(seated) and row_ER.shape[0] in plan.blocks
        assert not plan.own_block or (prompt_E == np.arange(prompts)).all()


def test_the_worst_crowd_still_has_room() -> None:
    plan = prompt_blocks.places(64, 8, 40)
    prompt_B = np.concatenate([np.arange(7).repeat(1), np.full(40, 7), np.arange(7).repeat(2)])
    prompt_B = np.concatenate([prompt_B, np.full(64 - len(prompt_B), -1)])
    place_B, row_ER, _ = prompt_blocks.seat(
        prompt_B, plan, prompt_blocks.blocks_for(prompt_B, plan)
    )
    assert row_ER.shape[0] == max(plan.blocks) and (row_ER < 64).sum() == (prompt_B >= 0).sum()
