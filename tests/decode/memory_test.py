"""The planner: what it chooses fits, more memory never gives less, and what cannot fit is refused
with the numbers.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import pytest

from verifier.decode import memory
from verifier.errors import UserError
from verifier.model.arch import Arch

ARCH = Arch(
    1000, layers=4, width=64, heads=4, kv_heads=2, head_width=16, mlp_width=128, context=512
)
WEIGHTS = [jnp.zeros((1000, 64))] * 4
JOB = memory.SamplingJob(prompt_tokens=90, problems=50, samples=100, max_new_tokens=200)
GIB = 2**30


def test_no_more_slots_than_solutions_and_no_fewer_than_were_asked_for() -> None:
    assert (
        memory.job_sizes(
            ARCH, WEIGHTS, dataclasses.replace(JOB, problems=1, samples=3), 0, 1.0
        ).rows
        == 3
    )
    assert memory.job_sizes(ARCH, WEIGHTS, JOB, 37, 1.0).rows == 37


def test_all_slots_are_full_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(memory.MOST_ROWS, "cpu", 128)
    sizes = memory.job_sizes(ARCH, WEIGHTS, dataclasses.replace(JOB, problems=2), 0, 1.0)
    assert sizes.rows == 100  # 200 solutions: two rounds of 100, not 128 and 72


@pytest.mark.parametrize("gib", [0.004, 0.008, 0.02, 0.05])
def test_what_is_planned_fits_and_one_slot_more_would_not(gib: float) -> None:
    sizes = memory.job_sizes(ARCH, WEIGHTS, JOB, 0, gib)
    # with room for what the estimate of a step misses
    assert sizes.total_bytes <= memory.CHOSEN * gib * GIB
    if sizes.rows < 100:
        with pytest.raises(UserError, match="does not fit into memory"):
            memory.job_sizes(ARCH, WEIGHTS, JOB, sizes.rows + 1, memory.CHOSEN * gib)


def test_more_memory_never_gives_fewer_slots() -> None:
    rows = [memory.job_sizes(ARCH, WEIGHTS, JOB, 0, 0.003 * 1.3**n).rows for n in range(12)]
    assert rows == sorted(rows) and rows[0] < rows[-1]


def test_a_budget_too_small_for_one_slot_is_refused_with_its_parts() -> None:
    with pytest.raises(
        UserError,
        match=(
            r"1 slots; weights 0\.000954.*of 0\.001 GiB\. Raise sample\.memory_gib.*smaller "
            r"model"
        ),
    ):
        memory.job_sizes(ARCH, WEIGHTS, JOB, 0, 0.001)
    with pytest.raises(UserError, match=r"500 slots.*lower sample\.rows"):
        memory.job_sizes(ARCH, WEIGHTS, JOB, 500, 0.01)


def test_the_pool_holds_every_slots_longest_solution() -> None:
    sizes = memory.job_sizes(ARCH, WEIGHTS, JOB, 64, 1.0)
    assert sizes.pages[-1] * memory.cache_lib.WINDOW >= 64 * JOB.max_new_tokens
    assert list(sizes.pages) == sorted(set(sizes.pages)) and len(sizes.pages) < 12


@pytest.mark.parametrize("rows", [64, 66, 100, 115, 126])
def test_the_pool_fits_rows_that_began_together(rows: int) -> None:
    sizes = memory.job_sizes(ARCH, WEIGHTS, dataclasses.replace(JOB, max_new_tokens=128), rows, 1.0)
    assert all(
        memory.pool_size(sizes.pages, pages * rows) == pages * rows for pages in (1, 2, 3, 4, 6)
    )


def test_prompts_are_padded_to_few_rooms_and_never_beyond_the_context() -> None:
    assert [memory.prompt_room(tokens) for tokens in (1, 64, 65, 96, 97, 129, 200, 500)] == [
        64,
        64,
        128,
        128,
        128,
        256,
        256,
        512,
    ]
    assert memory.prompt_room(500, 510) == 510
    assert len({memory.prompt_room(tokens) for tokens in range(1, 2000)}) <= 11


def test_a_device_without_a_limit_of_its_own_has_what_the_machine_has_free() -> None:
    sizes = memory.job_sizes(ARCH, WEIGHTS, JOB, 0, 0.0)
    assert 0 < sizes.budget_bytes < 2**45


@pytest.mark.parametrize("samples", [1, 8, 100])
def test_no_more_prompts_are_held_than_there_are(samples: int) -> None:
    sizes = memory.job_sizes(
        ARCH, WEIGHTS, dataclasses.replace(JOB, problems=1, samples=samples), 0, 1.0
    )
    assert sizes.prompts == sizes.prompts_at_once == 1


def test_the_pool_grows_on_beyond_its_plan_in_few_steps() -> None:
    sizes = {memory.pool_size((4, 6, 9), wanted) for wanted in range(1, 200)}
    assert sizes >= {4, 6, 9} and len(sizes) < 14
    assert all(memory.pool_size((4, 6, 9), wanted) >= wanted for wanted in range(1, 200))
