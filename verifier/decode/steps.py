"""The device's verbs of decoding: prefill, generate, flush, and other sizes.

Knows no text, no calculator and no problem.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from verifier.model import cache as cache_lib
from verifier.model import sampling, sharding
from verifier.model.cache import Given
from verifier.model.names import path_name
from verifier.model.sharding import HEADS, ROWS, WHOLE
from verifier.model.transformer import Transformer, narrow

Weights = tuple[jax.Array, ...]


class Frame:
    """A model without its numbers.

    Hashed once: hashing the graph of 24 layers takes 2 ms, as long as a small model's step.
    """

    def __init__(self, graph: nnx.GraphDef[Transformer], tree: Any) -> None:
        self._graph, self._tree = graph, tree
        self._hash = hash((graph, tree))

    def model(self, weights: Weights) -> Transformer:
        """The model with `weights` in it (inside a jitted function: traced ones)."""
        return nnx.merge(self._graph, self.state(weights))

    def state(self, weights: Weights) -> nnx.State:
        """The model's state with `weights` in it."""
        return jax.tree.unflatten(self._tree, list(weights))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Frame) and (self._graph, self._tree) == (other._graph, other._tree)
        )


def take_apart(
    model: Transformer, vocab_size: int, mesh: Mesh | None = None
) -> tuple[Frame, Weights]:
    """What is static about a model and its numbers, made ready for the verbs below once, so that no
    step has to.

    Matrices come in the activations' type. Embeddings lose their rows behind `vocab_size` (the
    reserved id, padding), which are never written: cutting the logits instead would copy all of
    them in every step. What is ready already is shared with the model, not copied. On a mesh every
    group of devices gets all of them, divided by `sharding.DECODING`.
    """
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten_with_path(narrow(state, model.dtype))
    return _frame(graph, tree), tuple(
        _ready(path_name(path), leaf, vocab_size, mesh) for path, leaf in leaves
    )


@functools.lru_cache(maxsize=8)
def _frame(graph: nnx.GraphDef[Transformer], tree: Any) -> Frame:
    """The same object for equal models: to find its compiled step, JAX would else compare two
    graphs every time.
    """
    return Frame(graph, tree)


def make_ready(model: Transformer, vocab_size: int, mesh: Mesh | None = None) -> None:
    """Does in place what `take_apart` does to its copies: for a model that is used for nothing else
    and need not lie in memory twice.
    """
    frame, weights = take_apart(model, vocab_size, mesh)
    nnx.update(model, frame.state(weights))


def shapes(
    model: Transformer, vocab_size: int, mesh: Mesh | None = None
) -> tuple[Frame, tuple[jax.ShapeDtypeStruct, ...]]:
    """What `take_apart` gives, without the numbers: shapes, types and places; the model may be one
    of shapes (`nnx.eval_shape`).
    """
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten_with_path(
        jax.eval_shape(lambda state: narrow(state, model.dtype), state)
    )
    found = []
    for path, leaf in leaves:
        name = path_name(path)
        shape = (
            (_kept(name, leaf.shape[0], vocab_size, mesh), *leaf.shape[1:]) if leaf.shape else ()
        )
        place = (
            None
            if mesh is None
            else sharding.parameter_sharding(name, shape, mesh, sharding.DECODING)
        )
        found.append(jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=place))
    return _frame(graph, tree), tuple(found)


def outline(
    model: Transformer, vocab_size: int, mesh: Mesh | None = None
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes and types of what one device holds of `shapes`."""
    found = shapes(model, vocab_size, mesh)[1]
    return tuple(
        jax.ShapeDtypeStruct(
            leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape, leaf.dtype
        )
        for leaf in found
    )


def _ready(name: str, leaf: jax.Array, vocab_size: int, mesh: Mesh | None) -> jax.Array:
    """A parameter, cut and where it is needed."""
    if leaf.shape and (rows := _kept(name, leaf.shape[0], vocab_size, mesh)) < leaf.shape[0]:
        leaf = leaf[:rows]
    return (
        leaf
        if mesh is None
        else jax.device_put(
            leaf, sharding.parameter_sharding(name, leaf.shape, mesh, sharding.DECODING)
        )
    )


def _kept(name: str, rows: int, vocab_size: int, mesh: Mesh | None) -> int:
    """Rows of a parameter that are kept: of an embedding or output matrix `vocab_size`, where the
    mesh divides that.
    """
    cut = (
        name.endswith("embed")
        and vocab_size < rows
        and not (mesh and vocab_size % mesh.shape["tensor"])
    )
    return vocab_size if cut else rows


@dataclasses.dataclass(frozen=True)
class DecodeStatic:
    """All that cannot change while decoding without compiling anew."""

    frame: Frame
    vocab_size: int  # ids below it may be written
    end_id: int
    top_k: int
    top_p: float
    # rows of several groups of devices, one group's behind the other's; None: the default device
    mesh: Mesh | None = None
    parts: tuple[PartitionSpec, ...] = ()  # how the weights are divided over it

    def by_device(self, function: Callable[..., Any], given: Any, found: Any) -> Callable[..., Any]:
        """`function`, which takes weights and what `given` says, on every device's own part."""
        return sharding.by_device(function, self.mesh, (self.parts, *given), found)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecodeState:
    """All that changes while B rows (slots) are decoded, each on its own: what they have read, and
    what the next token is drawn from.

    A row is idle, runs, or waits for the host's word after a token that the calculator may answer.
    Only running rows read and write.
    """

    cache: cache_lib.Cache
    prompt_hidden_PD: jax.Array  # after each prompt's last token: what first tokens are drawn from
    hidden_BD: jax.Array  # after each row's newest token
    written_B: jax.Array  # int32, tokens of the solution so far
    runs_B: jax.Array  # bool
    waits_B: jax.Array  # bool
    where_B: jax.Array  # int32: OUTSIDE an annotation, maybe INSIDE one, or BEHIND its first `=`


class Orders(NamedTuple):
    """What the host says about one step."""

    start_B: Given  # bool: a new solution of prompt `seating.prompt_B` begins in this slot
    go_B: Given  # bool: stop waiting
    forced_B: Given  # int32: write this token instead of a drawn one; -1: draw
    keys_B2: Given  # uint32, one raw key a sample; token t is drawn with fold_in(key, t)
    column: Given  # int32, the column of the newest pages to write
    limit: Given  # int32, most tokens of a solution
    temperature: Given  # float32


class Watch(NamedTuple):
    """What the host must see before a row goes on; the first index is OUTSIDE an annotation, maybe
    INSIDE one, or behind its first `=`.
    """

    # uint8: 0 nothing, WAIT after the token is written, HOLD it back: the host may write another in
    # its place
    event_3V: Given
    where_3V: Given  # uint8, where the row is after the token


WAIT, HOLD = 1, 2
OUTSIDE, INSIDE, BEHIND = 0, 1, 2


class Drawn(NamedTuple):
    """What the host reads of every step."""

    token_B: jax.Array  # int32
    logprob_B: jax.Array  # float32, the model's own log-probability (temperature 1) of that token
    # bool: the token was written; otherwise the row is idle, waits, or holds it back
    written_B: jax.Array
    look_B: jax.Array  # bool: the row waits for the host's word on this token


# How a state is divided: each group of devices has its own rows, prompts and pages, each device its
# heads of them.
_DIVIDED: Any = HEADS, HEADS, ROWS
_ROWS: Any = [ROWS] * 6
_STATE = DecodeState(
    cache_lib.Cache(cache_lib.Prompts(*_DIVIDED), cache_lib.Pages(*_DIVIDED)), *_ROWS
)
_ORDERS = Orders(ROWS, ROWS, ROWS, ROWS, WHOLE, WHOLE, WHOLE)


class Sizes(NamedTuple):
    """What a group of devices has room for."""

    rows: int
    pages: int  # beside the rows' newest
    prompts: int
    prompt_tokens: int


@functools.partial(jax.jit, static_argnames=("static", "sizes"))
def empty_state(static: DecodeStatic, weights: Weights, sizes: Sizes) -> DecodeState:
    """Idle rows, empty pages and empty prompt slots."""
    return static.by_device(functools.partial(_empty_state, static, sizes), (), _STATE)(weights)


def _empty_state(static: DecodeStatic, sizes: Sizes, weights: Weights) -> DecodeState:
    one = (
        jax.ShapeDtypeStruct((1, sizes.prompt_tokens), jnp.int32),
        jax.ShapeDtypeStruct((1,), jnp.int32),
    )
    hidden, prefix = jax.eval_shape(static.frame.model(weights).prefill, *one)
    hidden_BD, hidden_PD = (
        jnp.zeros((count, hidden.shape[-1]), hidden.dtype) for count in (sizes.rows, sizes.prompts)
    )
    off_B = jnp.zeros(sizes.rows, bool)
    cache = cache_lib.empty(prefix, sizes.prompts, sizes.rows + sizes.pages)
    zeros_B = jnp.zeros(sizes.rows, jnp.int32)
    return DecodeState(cache, hidden_PD, hidden_BD, zeros_B, off_B, off_B, zeros_B)


def state_shapes(
    static: DecodeStatic, weights: tuple[jax.ShapeDtypeStruct, ...], sizes: Sizes
) -> DecodeState:
    """What `empty_state` gives, without the numbers: shapes, types and places."""
    found = jax.eval_shape(functools.partial(empty_state, static, sizes=sizes), weights)
    if (mesh := static.mesh) is None:
        return found

    def place(parts: PartitionSpec, under: Any) -> Any:
        where = NamedSharding(mesh, parts)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), under
        )

    return jax.tree.map(place, _STATE, found)


@functools.partial(jax.jit, static_argnames=("static",), donate_argnames=("state",))
def prefill(
    static: DecodeStatic,
    weights: Weights,
    state: DecodeState,
    tokens_NS: Given,
    length_N: Given,
    slot_N: Given,
) -> DecodeState:
    """Reads N right-padded prompts once and puts them into prompt slots (P: that one is
    dropped).
    """
    read = static.by_device(functools.partial(_prefill, static), (_STATE, ROWS, ROWS, ROWS), _STATE)
    return read(weights, state, tokens_NS, length_N, slot_N)


def _prefill(
    static: DecodeStatic,
    weights: Weights,
    state: DecodeState,
    tokens_NS: jax.Array,
    length_N: jax.Array,
    slot_N: jax.Array,
) -> DecodeState:
    hidden_NSD, new = static.frame.model(weights).prefill(tokens_NS, length_N)
    last_ND = jnp.take_along_axis(hidden_NSD, (length_N - 1)[:, None, None], axis=1)[:, 0]
    cache = dataclasses.replace(
        state.cache, prompts=cache_lib.insert(state.cache.prompts, new, slot_N)
    )
    return dataclasses.replace(
        state,
        cache=cache,
        prompt_hidden_PD=state.prompt_hidden_PD.at[slot_N].set(last_ND, mode="drop"),
    )


@functools.partial(jax.jit, static_argnames=("static",), donate_argnames=("state",))
def generate(
    static: DecodeStatic,
    weights: Weights,
    state: DecodeState,
    seating: cache_lib.Seating,
    orders: Orders,
    watch: Watch,
) -> tuple[DecodeState, Drawn]:
    """Draws, or writes as ordered, one token of every running row, and reads it."""
    step = static.by_device(
        functools.partial(_generate, static), (_STATE, ROWS, _ORDERS, WHOLE), (_STATE, ROWS)
    )
    return step(weights, state, seating, orders, watch)


def _generate(
    static: DecodeStatic,
    weights: Weights,
    state: DecodeState,
    seating: cache_lib.Seating,
    orders: Orders,
    watch: Watch,
) -> tuple[DecodeState, Drawn]:
    model = static.frame.model(weights)
    start_B = orders.start_B
    runs_B = state.runs_B | start_B
    active_B = runs_B & (start_B | orders.go_B | ~state.waits_B)
    where_B = jnp.where(start_B, OUTSIDE, state.where_B)
    written_B = jnp.where(start_B, 0, state.written_B)
    hidden_BD = jnp.where(
        start_B[:, None], state.prompt_hidden_PD[seating.prompt_B], state.hidden_BD
    )

    token_B, logprob_B = _draw(static, model, hidden_BD, written_B, orders)
    event_B = jnp.where(orders.forced_B < 0, watch.event_3V[where_B, token_B], 0)
    held_B = active_B & (event_B == HOLD)
    writes_B = active_B & ~held_B
    look_B = held_B | (writes_B & (event_B == WAIT))
    ended_B = writes_B & ((token_B == static.end_id) | (written_B + 1 >= orders.limit))

    position_XW = state.cache.pages.position_XW
    # forgets what the slot's last solution left
    fresh_BW = jnp.where(start_B[:, None], -1, position_XW[: len(start_B)])
    pages = dataclasses.replace(
        state.cache.pages, position_XW=jax.lax.dynamic_update_slice(position_XW, fresh_BW, (0, 0))
    )
    cache = dataclasses.replace(state.cache, pages=pages)
    position_B = cache.prompts.length_P[seating.prompt_B] + written_B
    read_BD, cache = model.extend(token_B, position_B, writes_B, cache, seating, orders.column)
    state = DecodeState(
        cache=cache,
        prompt_hidden_PD=state.prompt_hidden_PD,
        hidden_BD=jnp.where(writes_B[:, None], read_BD, hidden_BD),
        written_B=written_B + writes_B,
        runs_B=runs_B & ~ended_B,
        waits_B=jnp.where(active_B, look_B, state.waits_B),
        where_B=jnp.where(writes_B, watch.where_3V[where_B, token_B].astype(jnp.int32), where_B),
    )
    return state, Drawn(token_B, logprob_B, writes_B, look_B)


@functools.partial(jax.jit, static_argnames=("mesh",), donate_argnames=("state",))
def flush(state: DecodeState, page_B: Given, mesh: Mesh | None = None) -> DecodeState:
    """Moves every row's newest page to `page_B` when it is full: after every W-th step."""
    pages = sharding.by_device(
        cache_lib.flush, mesh, (_STATE.cache.pages, ROWS), _STATE.cache.pages
    )(state.cache.pages, page_B)
    return dataclasses.replace(state, cache=dataclasses.replace(state.cache, pages=pages))


def resize_pages(state: DecodeState, count: int, mesh: Mesh | None = None) -> DecodeState:
    """The same state with `count` pages in all (of each group), layer by layer: never are two pools
    held at once.
    """
    pages = cache_lib.resize_pages(state.cache.pages, count, mesh)
    return dataclasses.replace(state, cache=dataclasses.replace(state.cache, pages=pages))


def resize_prompts(state: DecodeState, room: int, mesh: Mesh | None = None) -> DecodeState:
    """The same state with prompt slots of another room."""
    prompts = cache_lib.resize_prompts(state.cache.prompts, room, mesh)
    return dataclasses.replace(state, cache=dataclasses.replace(state.cache, prompts=prompts))


def take_rows(state: DecodeState, row_B: np.ndarray, mesh: Mesh | None = None) -> DecodeState:
    """The same state with the rows `row_B` only (of each group, one group's behind the other's), in
    that order; layer by layer, too.
    """
    groups = sharding.groups(mesh)
    rows, pages = len(state.hidden_BD) // groups, len(state.cache.pages.position_XW) // groups
    full = np.broadcast_to(np.arange(rows, pages), (groups, pages - rows))
    page_Y = np.concatenate([row_B.reshape(groups, -1), full], axis=1).reshape(-1)
    by_row = (state.hidden_BD, state.written_B, state.runs_B, state.waits_B, state.where_B)
    cache = dataclasses.replace(
        state.cache, pages=cache_lib.take_pages(state.cache.pages, page_Y, mesh)
    )
    return DecodeState(
        cache,
        state.prompt_hidden_PD,
        *(cache_lib.take(array, row_B, ROWS, mesh) for array in by_row),
    )


def _draw(
    static: DecodeStatic,
    model: Transformer,
    hidden_BD: jax.Array,
    written_B: jax.Array,
    orders: Orders,
) -> tuple[jax.Array, jax.Array]:
    """Every row's next token, forced or drawn, and its log-probability."""
    logits_BV = model.logits(hidden_BD)
    uniform_B = sampling.uniforms(orders.keys_B2, written_B)
    drawn_B, logprob_B = sampling.draw(
        logits_BV,
        uniform_B,
        orders.temperature,
        top_k=static.top_k,
        top_p=static.top_p,
        vocab_size=static.vocab_size,
    )
    forced_B = orders.forced_B
    token_B = jnp.where(forced_B >= 0, forced_B, drawn_B).astype(jnp.int32)
    # Most steps force nothing: only the others pay for a second pass over the vocabulary.
    logprob_B = jax.lax.cond(
        jnp.any(forced_B >= 0),
        lambda: jnp.where(
            forced_B >= 0, _logprob(logits_BV, token_B, static.vocab_size), logprob_B
        ),
        lambda: logprob_B,
    )
    return token_B, logprob_B


def _logprob(logits_xV: jax.Array, token_x: jax.Array, vocab_size: int) -> jax.Array:
    """The log-probability of `token_x` at temperature 1 among the ids that may be written."""
    logits_xV = logits_xV[..., :vocab_size].astype(jnp.float32)
    chosen_x = jnp.take_along_axis(logits_xV, token_x[..., None], axis=-1)[..., 0]
    return chosen_x - jax.nn.logsumexp(logits_xV, axis=-1)
