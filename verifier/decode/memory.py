"""How much of everything a sampling job holds at once, within the device's memory.

Sizes are decided before anything is made; nothing is run.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from verifier.data.packing import doubled_room, rooms
from verifier.decode.prompt_blocks import OWN_BLOCK
from verifier.decode.row_indices import most_pages
from verifier.errors import UserError
from verifier.model import attention
from verifier.model import cache as cache_lib
from verifier.model.arch import Arch

PROMPT_ROOM = 64  # prompts are padded to 64, 128, 256, ... tokens: every room is compiled once
# More slots make no step cheaper a row: the processor's products are at their best.
MOST_ROWS = {"cpu": 128}
MOST_ROWS_ELSEWHERE = 1024
FEWEST_PAGES = 32  # of a pool: fewer would save nothing
# Where solutions share what they begin with: samples to a row, on average over all rows;
LANES_A_ROW = 8
# rows that a problem has at least, on average, which decides how many prompts are held;
ROWS_A_PROBLEM = 4
MOST_SHARED_PROMPTS = 32  # but no more than these for that reason alone, for they take memory;
# and one more prompt is read at once for so many rows, which all begin empty.
ROWS_A_PROMPT = 32
MOST_AT_ONCE = 4
# Operations of a CPU's step below which the last solutions may as well idle in all slots.
WORTH_FEWER_ROWS = 4e9
# Share of the budget that a chosen number of slots may fill: what a step holds is an estimate,
# within 1% of the whole.
CHOSEN = 0.99
# Share of the device's memory: the rest is for what compilers and allocators leave unused.
USABLE = 0.9


@dataclasses.dataclass(frozen=True)
class SamplingJob:
    """What is to be done."""

    prompt_tokens: int  # of the longest prompt
    problems: int
    samples: int  # solutions a problem
    max_new_tokens: int  # of a solution
    groups: int = 1  # of devices, in all processes, each with slots, prompts and pages of its own
    share: bool = True  # solutions of a problem share what they begin with
    thought_tokens: int = 0  # before every token


@dataclasses.dataclass(frozen=True)
class JobSizes:
    """Sizes of a sampling job; on a mesh, of each group of devices, and bytes of each device.

    A run stores them beside an unfinished table, field by field (`dataclasses.asdict`).
    """

    rows: int  # B, slots
    lanes: int  # Q, samples that are drawn for at once
    share: bool  # whether samples may have a row together
    fewer_rows: tuple[int, ...]  # numbers of slots to fall back to when less work is left
    few_programs: bool  # steps are so cheap that compiling one for each case is not
    samples: int  # most rows of one prompt
    prompts: int  # P, prompt slots
    prompts_at_once: int  # read together
    prompt_tokens: int  # S at first
    # Sizes of the pool, rising; the last one holds every slot's longest solution, but for rows that
    # wait often.
    pages: tuple[int, ...]
    weight_bytes: int
    prompt_bytes: int
    page_bytes: int  # of the largest pool
    # The rows' newest pages, and what a step or the reading of prompts computes on the way.
    step_bytes: int
    budget_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.prompt_bytes + self.page_bytes + self.step_bytes

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> JobSizes:
        """What `dataclasses.asdict` made plain, and JSON perhaps made lists of."""
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**tuples)

    def __str__(self) -> str:
        parts = {
            "weights": self.weight_bytes,
            f"{self.prompts} prompts of {self.prompt_tokens} tokens": self.prompt_bytes,
            "the longest solutions": self.page_bytes,
            "a step": self.step_bytes,
        }
        listed = ", ".join(f"{name} {_gib(size)}" for name, size in parts.items())
        total = f"{_gib(self.total_bytes)} of {_gib(self.budget_bytes)} GiB"
        return f"{self.rows} slots; {listed}; {total}"


def job_sizes(
    arch: Arch,
    weights: Sequence[jax.Array | jax.ShapeDtypeStruct],
    job: SamplingJob,
    rows: int,
    memory_gib: float,
    platform: str | None = None,
) -> JobSizes:
    """Chooses slots and cache sizes.

    Args:
        arch: of the generator; on a mesh, of the part that a device has.
        weights: as the steps take them, or their shapes; their type is that of the cache. On a
            mesh, the shapes of a device's parts.
        job: what is to be done.
        rows: slots of all groups together; 0: as many as fit and help.
        memory_gib: for weights, caches and steps together; 0: what the device has.
        platform: "cpu", "cuda" or "tpu", where the sizes are for another device than the default
            one.

    Raises:
        UserError: not even one slot fits, or not the `rows` that were asked for; with the sizes of
            the parts.
    """
    weight_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in weights)
    if memory_gib:
        budget = int(memory_gib * 2**30)
    else:
        budget = usable(sum(leaf.nbytes for leaf in weights if isinstance(leaf, jax.Array)))
    sizes = functools.partial(
        _sizes,
        arch,
        job,
        weight_bytes=weight_bytes,
        itemsize=max((leaf.dtype.itemsize for leaf in weights if leaf.ndim > 1), default=4),
        budget=budget,
        platform=platform,
    )
    most = _most_rows(job, rows, platform or jax.default_backend())
    fitting = sizes(most) if rows else _largest(sizes, most, CHOSEN * budget)
    if fitting.total_bytes > budget:
        smaller = "use a smaller model or model.dtype=bfloat16"
        way_out = "lower sample.rows" if fitting.rows > 1 else smaller
        raise UserError(
            f"sampling does not fit into memory: {fitting}. Raise sample.memory_gib (0: what "
            f"the device has), lower sample.max_new_tokens={job.max_new_tokens}, or {way_out}."
        )
    return fitting


def _most_rows(job: SamplingJob, rows: int, platform: str) -> int:
    """Slots of a group, if memory is no matter: those that were asked for, or all that help."""
    total = math.ceil(job.problems * job.samples / job.groups)
    asked = math.ceil(rows / job.groups)
    most = min(asked or MOST_ROWS.get(platform, MOST_ROWS_ELSEWHERE), total)
    # where none were asked for: the same number of rounds with fewer slots, all of them full
    return most if rows else math.ceil(total / math.ceil(total / most))


def _largest(sizes: Callable[[int], JobSizes], most: int, budget: float) -> JobSizes:
    """The sizes of as many slots as fit; of one where none fits."""
    if (fitting := sizes(most)).total_bytes <= budget:
        return fitting
    low, high = 1, most
    while low < high:  # sizes rise with the rows: find the last that fits
        middle = (low + high + 1) // 2
        fits = sizes(middle).total_bytes <= budget
        low, high = (middle, high) if fits else (low, middle - 1)
    return sizes(low)


def pool_size(sizes: Sequence[int], wanted: int) -> int:
    """The smallest size of the pool that holds `wanted` pages.

    Beyond `sizes` it grows on in the same steps.
    """
    return next(size for size in itertools.chain(sizes, _pools(sizes[0])) if size >= wanted)


def _pools(first: int) -> Iterator[int]:
    """Sizes of a pool.

    There are few, since a program is compiled for each: with 30 layers that takes 4 s and 45 MB on
    a CPU.
    """
    return itertools.chain([first], rooms(2 * first))


def prompt_room(tokens: int, most: int | None = None) -> int:
    """What prompts of up to `tokens` tokens are padded to; no more than `most`."""
    room = doubled_room(PROMPT_ROOM, tokens)
    return room if most is None else min(room, most)


def _sizes(
    arch: Arch,
    job: SamplingJob,
    rows: int,
    *,
    weight_bytes: int,
    itemsize: int,
    budget: int,
    platform: str | None,
) -> JobSizes:
    share = job.share and job.samples > 1
    at_once = max(
        math.ceil(OWN_BLOCK / job.samples), min(rows // ROWS_A_PROMPT, MOST_AT_ONCE) if share else 1
    )
    at_once = min(at_once, math.ceil(job.problems / job.groups))
    # A problem lives until its longest solution has ended, some 2.5 times as long as the mean one
    # where it has many. Where its solutions are alike it has few rows.
    live = math.ceil(rows / job.samples * (2.5 - 1.5 / job.samples))
    live = max(live, min(math.ceil(rows / ROWS_A_PROBLEM), MOST_SHARED_PROMPTS)) if share else live
    prompts = min(live + 2 * at_once, job.problems)
    own = math.ceil(job.problems / job.groups) * job.samples
    lanes = max(rows, min(LANES_A_ROW * rows, own)) if share else rows
    prompt_tokens = prompt_room(job.prompt_tokens, arch.context)
    token_bytes = 2 * arch.layers * arch.kv_heads * arch.head_width * itemsize
    most = rows * most_pages(job.max_new_tokens)
    # So that 1, 2, 3, 4, 6, 8, ... pages of every row fit a size: rows that began together are
    # flushed together.
    sizes = itertools.takewhile(lambda size: size < most, _pools(max(rows, FEWEST_PAGES)))
    activations = 4 * (3 * arch.mlp_width + 6 * arch.width)
    of = ("bfloat16" if itemsize == 2 else "float32", arch.head_width, prompt_tokens, prompt_tokens)
    kernel = attention.choose(platform, *of) if platform else attention.kernel(*of)
    # Of a prompt token: before and after the softmax.
    plain = kernel == "plain" or arch.encoder_layers  # an encoder has no kernel of its own
    scores = 2 * 4 * arch.heads * prompt_tokens if plain else 0
    prefill_bytes = at_once * prompt_tokens * (token_bytes + activations + scores)
    return JobSizes(
        rows=rows,
        lanes=lanes,
        share=share,
        fewer_rows=_fewer(rows, weight_bytes // itemsize, platform or jax.default_backend()),
        few_programs=_cheap(rows, weight_bytes // itemsize, platform or jax.default_backend()),
        samples=min(job.samples, rows),
        prompts=prompts,
        prompts_at_once=at_once,
        prompt_tokens=prompt_tokens,
        pages=(*sizes, most),
        weight_bytes=weight_bytes,
        prompt_bytes=prompts * prompt_tokens * token_bytes,
        page_bytes=most * cache_lib.WINDOW * token_bytes,
        step_bytes=rows * (cache_lib.WINDOW + job.thought_tokens) * token_bytes
        + max(rows * (3 * 4 * arch.vocab_size + activations), prefill_bytes),
        budget_bytes=budget,
    )


def _fewer(rows: int, parameters: int, platform: str) -> tuple[int, ...]:
    """Halves of the rows whose steps are still worth a program of their own.

    None where a step of few rows takes as long as one of many.
    """
    if platform != "cpu":
        return ()
    halves = (rows >> n for n in range(1, rows.bit_length()))
    return tuple(half for half in halves if not _cheap(half, parameters, platform))


def _cheap(rows: int, parameters: int, platform: str) -> bool:
    """Whether a step of so many rows takes a CPU next to no time."""
    return platform == "cpu" and 2.0 * parameters * rows < WORTH_FEWER_ROWS


def usable(weight_bytes: int = 0) -> int:
    """Bytes that the device has for us, `weight_bytes` of weights that lie there included."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        others = stats.get("bytes_in_use", 0) - weight_bytes
        return int(stats["bytes_limit"] * USABLE - max(others, 0))
    return int(_host_bytes() * USABLE) // len(jax.local_devices()) + weight_bytes


def _host_bytes() -> int:
    """Free memory of this machine, or of the container where that has less."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = pathlib.Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    group = pathlib.Path("/sys/fs/cgroup")
    if (group / "memory.max").exists() and (
        text := (group / "memory.max").read_text().strip()
    ) != "max":
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Files that were read are given up for whoever needs room.
        used = int((group / "memory.current").read_text()) - int(stat["file"])
        free = min(free, int(text) - used)
    return max(free, 0)


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}"
