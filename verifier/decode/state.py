"""What decoding holds: all that is static, all that changes, and the state in other sizes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from verifier.decode.split_model import GraphDef, Weights
from verifier.decode.thinking import Thinking, backbone_of
from verifier.model import cache as cache_lib
from verifier.model import sharding
from verifier.model.cache import Given
from verifier.model.sharding import HEADS, ROWS


@dataclasses.dataclass(frozen=True)
class DecodeStatic:
    """All that cannot change while decoding without compiling anew."""

    graphdef: GraphDef
    vocab_size: int  # ids below it may be written
    end_id: int
    top_k: int
    top_p: float
    # rows of several groups of devices, one group's behind the other's; None: the default device
    mesh: Mesh | None = None
    parts: tuple[PartitionSpec, ...] = ()  # how the weights are divided over it
    top_logprobs: int = 0  # U, how many of the likeliest ids of every token are told
    thinking: Thinking | None = None  # None: rows are written without a thought
    # Ids that have any chance at all, which sum to 1; the others are neither drawn nor likely.
    # None: all below vocab_size
    among: tuple[int, ...] = ()

    def by_device(self, function: Callable[..., Any], given: Any, gives: Any) -> Callable[..., Any]:
        """`function`, which takes weights and what `given` says, on every device's own part."""
        return sharding.by_device(function, self.mesh, (self.parts, *given), gives)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecodeState:
    """What B rows (slots) have read, and what the next token of each is drawn from.

    A row is idle, runs, or waits for the host's word after a token that the calculator may answer.
    Only running rows read and write. Samples that have the same tokens so far follow the same row;
    each has a lane of its own, Q in all, and leaves the row when it draws another token.
    """

    cache: cache_lib.Cache
    prompt_hidden_PD: jax.Array  # after each prompt's last token: what first tokens are drawn from
    hidden_BD: jax.Array  # after each row's newest token
    written_B: jax.Array  # int32, tokens of the solution so far
    runs_B: jax.Array  # bool
    waits_B: jax.Array  # bool
    where_B: jax.Array  # int32: OUTSIDE an annotation, maybe INSIDE one, or BEHIND its first `=`
    follows_Q: jax.Array  # bool: has drawn what its row has written, ever since it joined


# How a state is divided: each group of devices has its own rows, prompts and pages, each device its
# heads of them.
_DIVIDED: Any = HEADS, HEADS, ROWS
_ROWS: Any = [ROWS] * 7
STATE_PARTS = DecodeState(
    cache_lib.Cache(
        cache_lib.Prompts(*_DIVIDED), cache_lib.Pages(*_DIVIDED), cache_lib.Pages(*_DIVIDED)
    ),
    *_ROWS,
)


class Sizes(NamedTuple):
    """What a group of devices has room for."""

    rows: int
    lanes: int
    pages: int  # beside the rows' newest
    prompts: int
    prompt_tokens: int


class Copies(NamedTuple):
    """What `copy_newest` copies; see `cache.copy_newest`. Rows count within a group of devices."""

    source_N: Given
    target_N: Given
    before_N: Given


@functools.partial(jax.jit, static_argnames=("static", "sizes"))
def empty_state(static: DecodeStatic, weights: Weights, sizes: Sizes) -> DecodeState:
    """Idle rows, empty pages and empty prompt slots."""
    return static.by_device(functools.partial(_empty_state, static, sizes), (), STATE_PARTS)(
        weights
    )


def _empty_state(static: DecodeStatic, sizes: Sizes, weights: Weights) -> DecodeState:
    one = (
        jax.ShapeDtypeStruct((1, sizes.prompt_tokens), jnp.int32),
        jax.ShapeDtypeStruct((1,), jnp.int32),
    )
    hidden, prefix = jax.eval_shape(backbone_of(static.graphdef.merge(weights)).prefill, *one)
    hidden_BD, hidden_PD = (
        jnp.zeros((count, hidden.shape[-1]), hidden.dtype) for count in (sizes.rows, sizes.prompts)
    )
    off_B = jnp.zeros(sizes.rows, bool)
    cache = cache_lib.empty(prefix, sizes.prompts, sizes.rows, sizes.pages)
    zeros_B = jnp.zeros(sizes.rows, jnp.int32)
    off_Q = jnp.zeros(sizes.lanes, bool)
    return DecodeState(cache, hidden_PD, hidden_BD, zeros_B, off_B, off_B, zeros_B, off_Q)


def state_shapes(
    static: DecodeStatic, weights: tuple[jax.ShapeDtypeStruct, ...], sizes: Sizes
) -> DecodeState:
    """What `empty_state` gives, as shapes, types and shardings."""
    state = jax.eval_shape(functools.partial(empty_state, static, sizes=sizes), weights)
    if (mesh := static.mesh) is None:
        return state

    def divided(parts: PartitionSpec, under: Any) -> Any:
        where = NamedSharding(mesh, parts)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), under
        )

    return jax.tree.map(divided, STATE_PARTS, state)


@functools.partial(jax.jit, static_argnames=("mesh",), donate_argnames=("state",))
def flush(
    state: DecodeState, page_B: Given, before_B: Given, mesh: Mesh | None = None
) -> DecodeState:
    """Moves rows' newest pages to `page_B`: after every W-th step all, for then they are full."""
    parts = STATE_PARTS.cache.newest, STATE_PARTS.cache.pages
    newest, pages = sharding.by_device(cache_lib.flush, mesh, (*parts, ROWS, ROWS), parts)(
        state.cache.newest, state.cache.pages, page_B, before_B
    )
    cache = dataclasses.replace(state.cache, newest=newest, pages=pages)
    return dataclasses.replace(state, cache=cache)


@functools.partial(jax.jit, static_argnames=("mesh",), donate_argnames=("state",))
def copy_newest(state: DecodeState, copies: Copies, mesh: Mesh | None = None) -> DecodeState:
    """Gives rows what others have in their newest pages; a flush later these are pages as any."""
    parts = STATE_PARTS.cache.newest
    given = (parts, ROWS, ROWS, ROWS)
    newest = sharding.by_device(cache_lib.copy_newest, mesh, given, parts)(
        state.cache.newest, *copies
    )
    return dataclasses.replace(state, cache=dataclasses.replace(state.cache, newest=newest))


def resize_pages(state: DecodeState, count: int, mesh: Mesh | None = None) -> DecodeState:
    """The same state with `count` full pages (of each group).

    Layer by layer: never are two pools held at once.
    """
    pages = cache_lib.resize_pages(state.cache.pages, count, mesh)
    return dataclasses.replace(state, cache=dataclasses.replace(state.cache, pages=pages))


def resize_prompts(state: DecodeState, room: int, mesh: Mesh | None = None) -> DecodeState:
    """The same state with prompt slots of another room."""
    prompts = cache_lib.resize_prompts(state.cache.prompts, room, mesh)
    return dataclasses.replace(state, cache=dataclasses.replace(state.cache, prompts=prompts))


def take_rows(state: DecodeState, row_B: np.ndarray, mesh: Mesh | None = None) -> DecodeState:
    """The same state with the rows `row_B` only, in that order; layer by layer, too.

    The rows are those of each group, one group's behind the other's.
    """
    by_row = ("hidden_BD", "written_B", "runs_B", "waits_B", "where_B")
    newest = cache_lib.take_pages(state.cache.newest, row_B, mesh)
    cache = dataclasses.replace(state.cache, newest=newest)
    taken = {name: cache_lib.take(getattr(state, name), row_B, ROWS, mesh) for name in by_row}
    return dataclasses.replace(state, cache=cache, **taken)
