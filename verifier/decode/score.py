"""The verifier reads stored samples: a value after every solution token.

The room's only module with JAX; knows no table and no label.

A prompt is read once. Solutions are packed into rows of one length, each of one problem; a call
reads rows of whatever problems are next:

    prompts on the device   | p0 p1 p2 p3 | p4 p5 p6 p7 |   two blocks in turn: p8.. follow p0..
    a call of 4 rows        p3  c c c d d d d .      prompt_B 3
                            p3  e e e e e e . .      prompt_B 3
                            p4  a a a a a b b b      prompt_B 4   each sees its prompt and itself
                            p4  c c d d d d d .      prompt_B 4
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from verifier.config import ScoreConfig
from verifier.data.packing import doubled_room, pack_lengths, rooms
from verifier.errors import UserError
from verifier.model import sharding
from verifier.model.cache import Prefix
from verifier.model.heads import Verifier
from verifier.model.transformer import narrow

SHORTEST = 32  # tokens that a row or prompt is padded to at least
LOOKED_AT = 32  # problems of a group whose solutions decide how long rows are


@dataclasses.dataclass(frozen=True)
class Solutions:
    """What is scored of one problem: its prompt (start tokens included) and its samples' tokens
    (the end token included, where it came).
    """

    problem_id: str
    prompt: Sequence[int]
    sample_ids: Sequence[int]
    tokens: Sequence[Sequence[int]]


def score_samples(
    verifier: Verifier,
    problems: Sequence[Solutions],
    config: ScoreConfig,
    name: str,
    squash: bool,
    mesh: Mesh | None = None,
    stored: Collection[str] = (),
) -> Iterator[list[dict[str, Any]]]:
    """Scores solutions; the prompt is read once a problem (Cobbe et al. 2021, section 4.2; the
    score is the value at the last token).

    Args:
      verifier: backbone and value head. problems: in any order; scores depend on no order, batch or
      padding, but for rounding: some 1e-6 in float32, up to .004 in bfloat16. config: rows, the
      most packed rows read at once. name: goes into the column `verifier`. squash: the values are
      logits (verify.value_loss=bce) and are turned into probabilities. mesh: what the verifier's
      parameters lie on; its groups of devices share the rows. stored: ids of those of `problems`
      that an earlier start has scored: they are left out, but decide with the others how large the
        calls are, so that a job that goes on gives the same scores to the last bit.

    Returns:
      An iterator over the other problems, those with long prompts first: the rows of the scores
      table of one problem (problem_id, sample_id, verifier, score, token_scores: the value read
      after each solution token), by rising sample_id.

    Raises:
      UserError: at the call, for an empty prompt or solution, or for one beyond the context.
    """
    if config.rows < 1:
        raise UserError(f"score.rows is {config.rows}, but must be at least 1.")
    context = verifier.backbone.arch.context
    # of the others nothing is read, not even the prompt
    problems = [p for p in problems if len(p.sample_ids)]
    for empty in (
        p.problem_id
        for p in problems
        if not len(p.prompt) or not all(len(tokens) for tokens in p.tokens)
    ):
        raise UserError(
            f"Problem {empty} has an empty prompt or solution: there is no last token to read "
            "a value at. Leave it out."
        )
    for p in problems:
        if (length := len(p.prompt) + max(len(tokens) for tokens in p.tokens)) > context:
            raise UserError(
                f"Problem {p.problem_id}: prompt and solution have {length} tokens, but the "
                f"context is {context}. Leave it out."
            )
    return _score(
        _on_device(verifier, squash, mesh),
        [p for p in problems if len(p.sample_ids)],
        config.rows,
        name,
        set(stored),
    )


def programs(
    verifier: Verifier,
    group: Sequence[Solutions],
    config: ScoreConfig,
    mesh: Mesh | None,
    compiled: Callable[[jax.stages.Lowered], jax.stages.Compiled],
) -> tuple[tuple[int, int], Prefix, dict[str, jax.stages.Compiled]]:
    """The two programs that would read a group of problems, for a verifier of shapes
    (`nnx.eval_shape`).

    Args:
      verifier: without numbers.
      group: problems whose prompts are padded alike; only lengths count.
      config: rows.
      mesh: whose groups of devices share the rows; None: one device.
      compiled: how a program is compiled, for the first one's result is the second one's argument.

    Returns:
      Rows and tokens of a row of a call, the prompts' keys and values as shapes, and "prompts" and
      "rows".
    """
    graph, weights = nnx.split(verifier)
    dtype, arch = verifier.backbone.dtype, verifier.backbone.arch
    weights = jax.eval_shape(functools.partial(narrow, dtype=dtype), weights)
    weights = weights if mesh is None else sharding.place_parameters(weights, mesh)
    plan = _plan(group, config.rows, _Model(graph, weights, False, arch.width, arch.context, mesh))
    tokens_QS, length_Q = _padded([], plan.block, plan.prompt_tokens)
    with sharding.using(mesh):
        first = compiled(_read_prompts.lower(graph, weights, tokens_QS, length_Q))

        def doubled(shape: Any, where: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(
                (plan.blocks * shape.shape[0], *shape.shape[1:]),
                shape.dtype,
                sharding=where if mesh else None,
            )

        prompts = jax.tree.map(doubled, first.out_info, first.output_shardings)
        spread = None if mesh is None else NamedSharding(mesh, sharding.ROWS)
        packed = tuple(
            jax.ShapeDtypeStruct((plan.at_once, plan.row_tokens), jnp.int32, sharding=spread)
            for _ in range(3)
        )
        prompt_B = jax.ShapeDtypeStruct((plan.at_once,), jnp.int32, sharding=spread)
        second = compiled(_read_rows.lower(graph, weights, prompts, packed, prompt_B, False))
    return (plan.at_once, plan.row_tokens), prompts, {"prompts": first, "rows": second}


class _Model(NamedTuple):
    """The verifier as the compiled functions take it."""

    graph: nnx.GraphDef
    weights: nnx.State
    squash: bool
    width: int
    context: int
    mesh: Mesh | None


class _Row(NamedTuple):
    """One packed row: which problem of its group, and the places of its samples, from left to
    right.
    """

    problem: int
    samples: list[int]


class _Plan(NamedTuple):
    """How a group is read: every call has `at_once` rows of `row_tokens` behind one or two blocks
    of prompts; rows_P by problem.
    """

    prompt_tokens: int
    row_tokens: int
    at_once: int
    block: int  # prompts read at once
    blocks: int  # that lie on the device
    rows_P: list[list[_Row]]


def _on_device(verifier: Verifier, squash: bool, mesh: Mesh | None) -> _Model:
    """Matrices are cast to the type they are multiplied in once, not at every call."""
    graph, weights = nnx.split(verifier)
    dtype, arch = verifier.backbone.dtype, verifier.backbone.arch
    return _Model(graph, narrow(weights, dtype), squash, arch.width, arch.context, mesh)


def _score(
    model: _Model, problems: list[Solutions], rows: int, name: str, stored: Collection[str] = ()
) -> Iterator[list[dict[str, Any]]]:
    for whole in _groups(problems, rows):
        plan = _plan(whole, rows, model)
        group = [problem for problem in whole if problem.problem_id not in stored]
        plan = plan._replace(
            rows_P=[_packed(n, problem, plan.row_tokens) for n, problem in enumerate(group)]
        )
        found: list[dict[int, np.ndarray]] = [{} for _ in group]
        unread, done = [len(rows_of) for rows_of in plan.rows_P], 0
        for call, values_BT in _one_behind(_calls(model, group, plan)):
            # the last call may have empty rows
            for row, values_T in zip(call, values_BT, strict=False):
                ends = np.cumsum([len(group[row.problem].tokens[j]) for j in row.samples])
                found[row.problem] |= dict(zip(row.samples, np.split(values_T, ends), strict=False))
                unread[row.problem] -= 1
            while done < len(group) and not unread[done]:
                yield _rows(group[done], found[done], name)
                found[done], done = {}, done + 1


def _groups(problems: Sequence[Solutions], rows: int) -> Iterator[list[Solutions]]:
    """Problems whose prompts are padded alike, longest first; too few for a compilation of their
    own are padded to the longer ones.
    """
    group: list[Solutions] = []
    for problem in sorted(problems, key=lambda p: (-len(p.prompt), p.problem_id)):
        if len(group) >= rows and _prompt_room(problem.prompt) != _prompt_room(group[0].prompt):
            yield group
            group = []
        group.append(problem)
    if group:
        yield group


def _plan(group: Sequence[Solutions], most: int, model: _Model) -> _Plan:
    """The row length that makes the first problems of the group cheapest, and the number of rows
    that leaves the last call fullest.
    """
    prompt_tokens = min(_prompt_room(group[0].prompt), model.context)
    longest = max(len(tokens) for problem in group for tokens in problem.tokens)
    lengths = [
        room
        for room in itertools.takewhile(lambda room: room < 8 * longest + 64, rooms(SHORTEST))
        if room >= longest
    ]

    def cost(row_tokens: int) -> float:
        """Work of the matrices, and twice that of the attention's products, for its exponentials
        take as long.
        """
        rows = sum(
            len(_packed(n, problem, row_tokens)) for n, problem in enumerate(group[:LOOKED_AT])
        )
        return rows * row_tokens * (6 * model.width + 2 * (prompt_tokens + row_tokens))

    row_tokens = min(lengths, key=cost)
    rows_P = [_packed(n, problem, row_tokens) for n, problem in enumerate(group)]
    total = sum(map(len, rows_P))
    groups = sharding.groups(model.mesh)  # of devices, which take the same number of rows each
    most = -(-min(most, total) // groups) * groups
    fullest = min(range(most, most // 2, -groups), key=lambda rows: -(-total // rows) * rows)
    block = min(fullest, len(group))
    return _Plan(prompt_tokens, row_tokens, fullest, block, 1 if block == len(group) else 2, rows_P)


def _packed(number: int, problem: Solutions, row_tokens: int) -> list[_Row]:
    """A problem's solutions in rows: the longest first, each into the first row that has room."""
    order = sorted(range(len(problem.tokens)), key=lambda j: -len(problem.tokens[j]))
    rows = pack_lengths([len(problem.tokens[j]) for j in order], row_tokens)
    return [_Row(number, [order[place] for place in row]) for row in rows]


def _calls(
    model: _Model, group: Sequence[Solutions], plan: _Plan
) -> Iterator[tuple[list[_Row], jax.Array]]:
    """Sends the group's rows to the device, call by call, with values that are not there yet.

    A block has as many prompts as a call has rows, or all there are: rows that still wait when a
    block is read are of the block before it or of its own, never of the one whose place it takes.
    """
    block = plan.block
    prompts: Prefix | None = None
    call: list[_Row] = []
    for number, rows in enumerate(plan.rows_P):
        if number % block == 0:
            tokens_QS, length_Q = _padded(
                [p.prompt for p in group[number : number + block]], block, plan.prompt_tokens
            )
            with sharding.using(model.mesh):
                new = _read_prompts(model.graph, model.weights, tokens_QS, length_Q)
            if prompts is not None:
                prompts = _replaced(prompts, new, number % (2 * block))
            elif plan.blocks == 1:
                prompts = new
            else:
                prompts = _doubled(new)
        for row in rows:
            call.append(row)
            if len(call) == plan.at_once:
                yield call, _send(model, prompts, group, plan, call)
                call = []
    if call:
        yield call, _send(model, prompts, group, plan, call)


def _send(
    model: _Model,
    prompts: Prefix | None,
    group: Sequence[Solutions],
    plan: _Plan,
    call: Sequence[_Row],
) -> jax.Array:
    """Reads one call's rows; values_BT, float32, on the device."""
    assert prompts is not None  # the first problem's block is read before its rows
    tokens_BT, positions_BT, segment_ids_BT = np.zeros((3, plan.at_once, plan.row_tokens), np.int32)
    prompt_B = np.zeros(plan.at_once, np.int32)
    for b, row in enumerate(call):
        problem, start = group[row.problem], 0
        prompt_B[b] = row.problem % len(prompts.length_P)
        for segment, j in enumerate(row.samples, start=1):
            here = slice(start, start + len(problem.tokens[j]))
            tokens_BT[b, here], segment_ids_BT[b, here] = problem.tokens[j], segment
            positions_BT[b, here] = len(problem.prompt) + np.arange(here.stop - start)
            start = here.stop
    packed = sharding.place_rows((tokens_BT, positions_BT, segment_ids_BT, prompt_B), model.mesh)
    with sharding.using(model.mesh):
        return _read_rows(model.graph, model.weights, prompts, packed[:3], packed[3], model.squash)


def _one_behind(
    calls: Iterable[tuple[list[_Row], jax.Array]],
) -> Iterator[tuple[list[_Row], np.ndarray]]:
    """Waits for a call's values only when the next call has been sent, so that the device has work
    while the host packs and writes.
    """
    sent = None
    for call in calls:
        if sent is not None:
            yield sent[0], np.asarray(sent[1])
        sent = call
    if sent is not None:
        yield sent[0], np.asarray(sent[1])


def _rows(problem: Solutions, values: dict[int, np.ndarray], name: str) -> list[dict[str, Any]]:
    """The scores table's rows of one problem; `values` maps the place of a sample to its values."""
    order = sorted(range(len(problem.sample_ids)), key=lambda j: problem.sample_ids[j])
    return [
        {
            "problem_id": problem.problem_id,
            "sample_id": int(problem.sample_ids[j]),
            "verifier": name,
            "score": float(values[j][-1]),
            "token_scores": values[j].tolist(),
        }
        for j in order
    ]


def _padded(lists: Sequence[Sequence[int]], rows: int, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [rows, room] padded on the right, and lengths; rows that are missing count as one
    token.
    """
    tokens_BT = np.zeros((rows, room), np.int32)
    length_B = np.ones(rows, np.int32)
    for row, tokens in enumerate(lists):
        length_B[row] = len(tokens)
        tokens_BT[row, : len(tokens)] = tokens
    return tokens_BT, length_B


def _prompt_room(prompt: Sequence[int]) -> int:
    """What a prompt is padded to."""
    return doubled_room(SHORTEST, len(prompt))


@functools.partial(jax.jit, static_argnames=("graph",))
def _read_prompts(
    graph: nnx.GraphDef, weights: nnx.State, tokens_QS: jax.Array, length_Q: jax.Array
) -> Prefix:
    return nnx.merge(graph, weights).backbone.prefill(tokens_QS, length_Q)[1]


@jax.jit
def _doubled(prompts: Prefix) -> Prefix:
    """A first block of prompts with room for a second one."""
    return jax.tree.map(lambda block: jnp.concatenate([block, jnp.zeros_like(block)]), prompts)


@functools.partial(jax.jit, donate_argnames=("prompts",))
def _replaced(prompts: Prefix, new: Prefix, first: jax.Array | int) -> Prefix:
    """The prompts with a block written over those from `first` on, in place."""
    return jax.tree.map(
        lambda old, block: jax.lax.dynamic_update_slice_in_dim(old, block, first, axis=0),
        prompts,
        new,
    )


@functools.partial(jax.jit, static_argnames=("graph", "squash"))
def _read_rows(
    graph: nnx.GraphDef,
    weights: nnx.State,
    prompts: Prefix,
    packed: tuple[jax.Array, ...],
    prompt_B: jax.Array,
    squash: bool,
) -> jax.Array:
    """The value after every token of packed rows (tokens, positions, segment ids), float32 [B,
    T].
    """
    verifier = nnx.merge(graph, weights)
    values_BT = verifier.values(verifier.backbone.after(*packed, prompts, prompt_B)).astype(
        jnp.float32
    )
    return jax.nn.sigmoid(values_BT) if squash else values_BT
