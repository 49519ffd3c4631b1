"""The cache of keys and values: every prompt once, each row's own tokens in pages.

    prompts.k[l] [PK, H, S]   a prompt slot: | q q q q . . |   right-padded, length_P count
    newest.k[l]  [BK, H, W]   a row's page:  | . . x y z _ |   newest tokens: step c writes column c
    pages.k[l]   [AK, H, W]   a page:        | m n . o p q |   what was full when flushed (`flush`)

Rows start and end at any time and may pause, so a page has holes: every entry carries its position,
or -1 where it counts for nothing. Rows of any length share one pool of pages, which is read as it
lies: no step pays for the room that the longest row needs, and a token is written by one slice, not
by a scatter. The newest pages lie apart, so that a step writes into nothing larger; indices count
the X = B + A pages of both. Keys stand with their positions last, values with their head width
last, so that both products of attention read memory in order (up to twice as fast on a CPU). K/V
heads are no dimension of their own, since XLA's CPU compiler fuses the reshape that a product needs
into what is before it: a token would be written into a second copy of the pool. One array a layer,
since a scan over a stacked one would copy it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from verifier.model.sharding import HEADS, ROWS, by_device

# W, tokens of a page: more would leave more of a page empty, fewer would make the products small.
WINDOW = 32

Blocks = tuple[jax.Array, ...]  # one array a layer
# A jax.Array in a step; where the host makes it, a numpy array or scalar of the same type.
Given = Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """What prefill read of P prompts."""

    k: Blocks  # of each layer [P, K, S, H]
    v: Blocks  # of each layer [P, K, S, H]
    length_P: jax.Array  # int32, tokens of each prompt
    # What an encoder has read of the prompts, which the decoder crosses to; its own are then what
    # it reads before a solution. None: there is no encoder.
    crossed: Prefix | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prompts:
    """P prompt slots."""

    k: Blocks  # of each layer [P*K, H, S]
    v: Blocks  # of each layer [P*K, S, H]
    length_P: jax.Array  # int32, tokens of the prompt in each
    crossed: Prompts | None = None  # as in `Prefix`


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pages:
    """N pages of W tokens."""

    k: Blocks  # of each layer [N*K, H, W]
    v: Blocks  # of each layer [N*K, W, H]
    position_NW: jax.Array  # int32, where in its text a token stands; -1: nothing is there


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """All that rows have read.

    Pages belong to nobody by themselves: a `CacheIndices` says which row owns which.
    """

    prompts: Prompts
    newest: Pages  # one a row
    pages: Pages


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CacheIndices:
    """Which rows see which prompts and pages: int32 indices, planned by the host.

    A page that several rows have, since they went the same way so far, stands in blocks too.

    Prompts are attended to in E blocks of R slots, all rows of a block having the same prompt: one
    product a block, whatever the order of the rows. An index one beyond the last means nobody or
    none.
    """

    prompt_B: Given  # prompt slot of each row
    block_slot_B: Given  # which of the E * R slots each row has
    row_ER: Given  # the row in each slot
    prompt_E: Given  # prompt slot of each block; None: block e has slot e, and nothing is looked up
    row_X: Given  # the row that alone has each page
    # the pages of each row, and behind the X pages, as X + y * R + r, those it has with others
    page_BM: Given
    # Y blocks of R rows that have a page together; None: all pages have one row
    page_Y: Given = None
    row_YR: Given = None


def empty(prefix: Prefix, prompts: int, rows: int, pages: int) -> Cache:
    """A cache of P prompt slots, of B rows and of A full pages, that hold nothing.

    prefix: arrays, or their shapes, that say how large a prompt may be.
    """
    _, kv_heads, _, head_width = prefix.k[0].shape

    def zeros(*shape: int) -> Blocks:  # a buffer for each layer: shared ones could not be donated
        return tuple(jnp.zeros(shape, prefix.k[0].dtype) for _ in prefix.k)

    def empty_prompts(like: Prefix) -> Prompts:
        room = like.k[0].shape[2]
        return Prompts(
            zeros(prompts * kv_heads, head_width, room),
            zeros(prompts * kv_heads, room, head_width),
            jnp.ones(prompts, jnp.int32),
            None if like.crossed is None else empty_prompts(like.crossed),
        )

    def empty_pages(count: int) -> Pages:
        return Pages(
            zeros(count * kv_heads, head_width, WINDOW),
            zeros(count * kv_heads, WINDOW, head_width),
            jnp.full((count, WINDOW), -1, jnp.int32),
        )

    return Cache(empty_prompts(prefix), empty_pages(rows), empty_pages(pages))


def insert(prompts: Prompts, new: Prefix, slot_N: jax.Array) -> Prompts:
    """Writes N prompts into prompt slots; a slot beyond the last: that prompt is dropped.

    Both have the same room S.
    """

    slot_NK = heads_of(slot_N, new.k[0].shape[1])

    def put(old: jax.Array, fresh_NK: jax.Array) -> jax.Array:
        return _moved(
            lambda old, fresh: old.at[slot_NK].set(fresh, mode="drop"),
            old,
            fresh_NK.reshape(-1, *old.shape[1:]).astype(old.dtype),
        )

    k = tuple(put(old, fresh.swapaxes(-1, -2)) for old, fresh in zip(prompts.k, new.k, strict=True))
    crossed = prompts.crossed
    if crossed is not None and new.crossed is not None:
        crossed = insert(crossed, new.crossed, slot_N)
    return Prompts(
        k,
        tuple(map(put, prompts.v, new.v)),
        prompts.length_P.at[slot_N].set(new.length_P, mode="drop"),
        crossed,
    )


def heads_of(index_X: jax.Array, kv_heads: int) -> jax.Array:
    """Where the K heads of some prompts, rows or pages lie: int32 [X*K]."""
    return (index_X[:, None] * kv_heads + jnp.arange(kv_heads)).reshape(-1)


def append(
    k: jax.Array, v: jax.Array, k_BKTH: jax.Array, v_BKTH: jax.Array, column: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One layer's newest pages with one more token of every row, in place.

    Args:
        k: [B*K, H, W].
        v: [B*K, W, H].
        k_BKTH: the new keys; T is 1.
        v_BKTH: the new values.
        column: of the newest pages, int32 scalar.
    """
    k_RTH, v_RTH = (x.reshape(-1, *x.shape[2:]) for x in (k_BKTH, v_BKTH))
    write = jax.lax.dynamic_update_slice
    k_new, v_new = k_RTH.swapaxes(-1, -2).astype(k.dtype), v_RTH.astype(v.dtype)
    k = _moved(lambda k, new: write(k, new, (0, 0, column)), k, k_new)
    return k, _moved(lambda v, new: write(v, new, (0, column, 0)), v, v_new)


def _moved(move: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """`move`, which only puts numbers elsewhere, of arrays of one type.

    XLA's CPU compiler writes into an array of bfloat16 by way of a float32 copy of the whole; what
    it takes for whole numbers it writes where they lie.
    """
    dtype = arrays[0].dtype
    if dtype != jnp.bfloat16 or jax.default_backend() != "cpu":
        return move(*arrays)
    bits = (jax.lax.bitcast_convert_type(array, jnp.uint16) for array in arrays)
    return jax.lax.bitcast_convert_type(move(*bits), dtype)


def copy_newest(
    newest: Pages, source_N: jax.Array, target_N: jax.Array, before_N: jax.Array
) -> Pages:
    """Copies some rows' newest pages into those of others, all at once, as far as they agree.

    Args:
        newest: of all rows.
        source_N: int32, the row that is copied.
        target_N: int32, the row that gets the copy; beyond the last one: that one is dropped.
        before_N: int32, of positions before this one; 0: the target's page is emptied.
    """
    kv_heads = newest.k[0].shape[0] // len(newest.position_NW)
    source_NK, target_NK = heads_of(source_N, kv_heads), heads_of(target_N, kv_heads)

    def put(array: jax.Array) -> jax.Array:
        return _moved(lambda bits: bits.at[target_NK].set(bits[source_NK], mode="drop"), array)

    position_NW = newest.position_NW[source_N]
    kept_NW = jnp.where(position_NW < before_N[:, None], position_NW, -1)
    position_BW = newest.position_NW.at[target_N].set(kept_NW, mode="drop")
    return Pages(tuple(map(put, newest.k)), tuple(map(put, newest.v)), position_BW)


def flush(
    newest: Pages, pages: Pages, page_B: jax.Array, before_B: jax.Array | None = None
) -> tuple[Pages, Pages]:
    """Copies rows' newest pages to pages `page_B` of all, as far as positions are below `before_B`
    where that is given, and empties them; X: that row's stays as it is.
    """
    rows = len(page_B)
    kv_heads = newest.k[0].shape[0] // rows
    page_BK = heads_of(page_B - rows, kv_heads)

    def put(array: jax.Array, full: jax.Array) -> jax.Array:
        return _moved(lambda old, new: old.at[page_BK].set(new, mode="drop"), array, full)

    k, v = tuple(map(put, pages.k, newest.k)), tuple(map(put, pages.v, newest.v))
    flushed_B1 = (page_B < rows + len(pages.position_NW))[:, None]
    position_BW = newest.position_NW
    if before_B is not None:
        position_BW = jnp.where(position_BW < before_B[:, None], position_BW, -1)
    position_AW = pages.position_NW.at[page_B - rows].set(position_BW, mode="drop")
    emptied_BW = jnp.where(flushed_B1, -1, newest.position_NW)
    return Pages(newest.k, newest.v, emptied_BW), Pages(k, v, position_AW)


def take_pages(pages: Pages, page_N: np.ndarray, mesh: Mesh | None = None) -> Pages:
    """Some of the pages (of each group of devices), in a new order.

    The old arrays are freed one by one.
    """
    kv_heads = _own_heads(pages, mesh)
    k = tuple([take(array, page_N, HEADS, mesh, kv_heads) for array in pages.k])
    v = tuple([take(array, page_N, HEADS, mesh, kv_heads) for array in pages.v])
    return Pages(k, v, take(pages.position_NW, page_N, ROWS, mesh))


def resize_pages(pages: Pages, count: int, mesh: Mesh | None = None) -> Pages:
    """The first `count` pages (of each group of devices), or as many with empty ones behind them.

    The old arrays are freed one by one.
    """
    fitting = _Fitting(0, count * _own_heads(pages, mesh), 0)
    k = tuple([_fit(array, fitting, HEADS, mesh) for array in pages.k])
    v = tuple([_fit(array, fitting, HEADS, mesh) for array in pages.v])
    return Pages(k, v, _fit(pages.position_NW, _Fitting(0, count, -1), ROWS, mesh))


def resize_prompts(prompts: Prompts, room: int, mesh: Mesh | None = None) -> Prompts:
    """Prompt slots of `room` tokens; prompts that are longer must not be read any more.

    The old arrays are freed one by one.
    """
    if prompts.crossed is not None:  # there the prompts are
        crossed = resize_prompts(prompts.crossed, room, mesh)
        return dataclasses.replace(prompts, crossed=crossed)
    k = tuple([_fit(array, _Fitting(2, room, 0), HEADS, mesh) for array in prompts.k])
    v = tuple([_fit(array, _Fitting(1, room, 0), HEADS, mesh) for array in prompts.v])
    return Prompts(k, v, prompts.length_P)


def take(
    array: jax.Array, index: np.ndarray, parts: PartitionSpec, mesh: Mesh | None, kv_heads: int = 1
) -> jax.Array:
    """Some of what an array's first dimension has; the array itself is gone afterwards.

    `index` counts within a group's own part.
    """
    taken = _taken(array, index, parts, mesh, kv_heads)
    array.delete()
    return taken


@functools.partial(jax.jit, static_argnames=("parts", "mesh", "kv_heads"))
def _taken(
    array: jax.Array, index: jax.Array, parts: PartitionSpec, mesh: Mesh | None, kv_heads: int
) -> jax.Array:
    return by_device(lambda own, index: own[heads_of(index, kv_heads)], mesh, (parts, ROWS), parts)(
        array, index
    )


class _Fitting(NamedTuple):
    """One axis of an array is to have another size; what is new is filled."""

    axis: int
    size: int
    fill: int


def _fit(array: jax.Array, wanted: _Fitting, parts: PartitionSpec, mesh: Mesh | None) -> jax.Array:
    """Cut or padded at the end of one axis (of each device's own part).

    The array itself is gone afterwards.
    """
    own = array.shape if mesh is None else array.sharding.shard_shape(array.shape)
    if wanted.size == own[wanted.axis]:
        return array
    fitted = _fitted(array, wanted, parts, mesh)
    array.delete()
    return fitted


@functools.partial(jax.jit, static_argnames=("wanted", "parts", "mesh"))
def _fitted(
    array: jax.Array, wanted: _Fitting, parts: PartitionSpec, mesh: Mesh | None
) -> jax.Array:
    def fit(own: jax.Array) -> jax.Array:
        if wanted.size < own.shape[wanted.axis]:
            return jax.lax.slice_in_dim(own, 0, wanted.size, axis=wanted.axis)
        widths = [(0, 0)] * own.ndim
        widths[wanted.axis] = (0, wanted.size - own.shape[wanted.axis])
        return jnp.pad(own, widths, constant_values=wanted.fill)

    return by_device(fit, mesh, parts, parts)(array)


def _own_heads(pages: Pages, mesh: Mesh | None) -> int:
    """K/V heads of each device."""
    kv_heads = pages.k[0].shape[0] // len(pages.position_NW)
    return kv_heads if mesh is None else kv_heads // mesh.shape["tensor"]
