"""The verifier reads stored samples: a value after every solution token.

A prompt is read once. Solutions are packed into rows of one length, each of one problem; a call
reads rows of whatever problems are next:

    prompts on the device   | p0 p1 p2 p3 | p4 p5 p6 p7 |   two blocks in turn: p8.. follow p0..
    a call of 4 rows        p3  c c c d d d d .      prompt_B 3
                            p3  e e e e e e . .      prompt_B 3
                            p4  a a a a a b b b      prompt_B 4   each sees its prompt and itself
                            p4  c c d d d d d .      prompt_B 4
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from verifier.config import ScoreConfig
from verifier.decode import score_rows
from verifier.decode.score_rows import Solutions
from verifier.errors import UserError
from verifier.model import sharding
from verifier.model.arch import Arch
from verifier.model.cache import Prefix
from verifier.model.heads import Verifier
from verifier.model.transformer import narrow


def score_samples(
    verifier: Verifier,
    problems: Sequence[Solutions],
    config: ScoreConfig,
    name: str,
    value_loss: str,
    mesh: Mesh | None = None,
    stored: Collection[str] = (),
) -> Iterator[list[dict[str, Any]]]:
    """Scores solutions by the value at their last token (Cobbe et al. 2021, section 4.2).

    A prompt is read once a problem.

    Args:
        verifier: backbone and value head.
        problems: in any order; scores depend on no order, batch or padding, but for rounding: some
            1e-6 in float32, up to .004 in bfloat16.
        config: rows, the most packed rows read at once.
        name: goes into the column `verifier`.
        value_loss: what the verifier was trained with: values of "bce" are logits, and are turned
            into probabilities; those of "mse" are scores as they are.
        mesh: what the verifier's parameters lie on; its groups of devices share the rows.
        stored: ids of those of `problems` that an earlier start has scored: they are left out, but
            decide with the others how large the calls are, so that a job that goes on gives the
            same scores to the last bit.

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
    # Of the others nothing is read, not even the prompt.
    problems = [p for p in problems if len(p.sample_ids)]
    for p in problems:
        if not len(p.prompt) or not all(len(tokens) for tokens in p.tokens):
            raise UserError(
                f"Problem {p.problem_id} has an empty prompt or solution: there is no last token "
                "to read a value at. Leave it out."
            )
    for p in problems:
        if (length := len(p.prompt) + max(len(tokens) for tokens in p.tokens)) > context:
            raise UserError(
                f"Problem {p.problem_id}: prompt and solution have {length} tokens, but the "
                f"context is {context}. Leave it out."
            )
    model = _on_device(verifier, value_loss, mesh)
    return _score(model, problems, config.rows, name, set(stored))


class _Model(NamedTuple):
    """The verifier as the compiled functions take it."""

    graph: nnx.GraphDef
    weights: nnx.State
    value_loss: str
    arch: Arch
    mesh: Mesh | None


def _on_device(verifier: Verifier, value_loss: str, mesh: Mesh | None) -> _Model:
    """Matrices are cast to the type they are multiplied in once, not at every call."""
    graph, weights = nnx.split(verifier)
    dtype, arch = verifier.backbone.dtype, verifier.backbone.arch
    return _Model(graph, narrow(weights, dtype), value_loss, arch, mesh)


def _score(
    model: _Model, problems: list[Solutions], rows: int, name: str, stored: Collection[str] = ()
) -> Iterator[list[dict[str, Any]]]:
    for whole in score_rows.groups(problems, rows):
        layout = score_rows.layout_of(whole, rows, model.arch, sharding.groups(model.mesh))
        group = [problem for problem in whole if problem.problem_id not in stored]
        rows_P = [score_rows.packed(n, each, layout.row_tokens) for n, each in enumerate(group)]
        layout = layout._replace(rows_P=rows_P)
        values: list[dict[int, np.ndarray]] = [{} for _ in group]  # of each problem, by sample
        unread, done = [len(rows_of) for rows_of in rows_P], 0
        for call, values_BT in _one_behind(_calls(model, group, layout)):
            # the last call may have empty rows
            for row, values_T in zip(call, values_BT, strict=False):
                ends = np.cumsum([len(group[row.problem].tokens[j]) for j in row.samples])
                of_sample = dict(zip(row.samples, np.split(values_T, ends), strict=False))
                values[row.problem] |= of_sample
                unread[row.problem] -= 1
            while done < len(group) and not unread[done]:
                yield _rows(group[done], values[done], name)
                values[done], done = {}, done + 1


def _calls(
    model: _Model, group: Sequence[Solutions], layout: score_rows.Layout
) -> Iterator[tuple[list[score_rows.Row], jax.Array]]:
    """Sends the group's rows to the device, call by call, with values that are not there yet.

    A block has as many prompts as a call has rows, or all there are: rows that still wait when a
    block is read are of the block before it or of its own, never of the one that it replaces.
    """
    block = layout.block
    prompts: Prefix | None = None
    call: list[score_rows.Row] = []
    for number, rows in enumerate(layout.rows_P):
        if number % block == 0:
            tokens_QS, length_Q = score_rows.padded(
                [p.prompt for p in group[number : number + block]], block, layout.prompt_tokens
            )
            with sharding.using(model.mesh):
                new = read_prompts(model.graph, model.weights, tokens_QS, length_Q)
            if prompts is not None:
                prompts = _replaced(prompts, new, number % (2 * block))
            elif layout.blocks == 1:
                prompts = new
            else:
                prompts = _doubled(new)
        for row in rows:
            call.append(row)
            if len(call) == layout.at_once:
                yield call, _send(model, prompts, group, layout, call)
                call = []
    if call:
        yield call, _send(model, prompts, group, layout, call)


def _send(
    model: _Model,
    prompts: Prefix | None,
    group: Sequence[Solutions],
    layout: score_rows.Layout,
    call: Sequence[score_rows.Row],
) -> jax.Array:
    """Reads one call's rows; values_BT, float32, on the device."""
    assert prompts is not None  # the first problem's block is read before its rows
    size = layout.at_once, layout.row_tokens
    tokens_BT, positions_BT, ends_BT = np.zeros((3, *size), np.int32)
    prompt_B = np.zeros(layout.at_once, np.int32)
    for b, row in enumerate(call):
        problem, start = group[row.problem], 0
        prompt_B[b] = row.problem % len(prompts.length_P)
        for j in row.samples:
            here = slice(start, start + len(problem.tokens[j]))
            tokens_BT[b, here], ends_BT[b, here] = problem.tokens[j], here.stop
            positions_BT[b, here] = len(problem.prompt) + np.arange(here.stop - start)
            start = here.stop
    packed = sharding.place_rows((tokens_BT, positions_BT, ends_BT, prompt_B), model.mesh)
    with sharding.using(model.mesh):
        return read_rows(
            model.graph, model.weights, prompts, packed[:3], packed[3], model.value_loss
        )


def _one_behind(
    calls: Iterable[tuple[list[score_rows.Row], jax.Array]],
) -> Iterator[tuple[list[score_rows.Row], np.ndarray]]:
    """Waits for a call's values only when the next call has been sent.

    The device then has work while the host packs and writes.
    """
    sent = None
    for call in calls:
        if sent is not None:
            yield sent[0], np.asarray(sent[1])
        sent = call
    if sent is not None:
        yield sent[0], np.asarray(sent[1])


def _rows(problem: Solutions, values: dict[int, np.ndarray], name: str) -> list[dict[str, Any]]:
    """The scores table's rows of one problem; `values` are by the index of a sample."""
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


@functools.partial(jax.jit, static_argnames=("graph",))
def read_prompts(
    graph: nnx.GraphDef, weights: nnx.State, tokens_QS: jax.Array, length_Q: jax.Array
) -> Prefix:
    """The keys and values of right-padded prompts."""
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


@functools.partial(jax.jit, static_argnames=("graph", "value_loss"))
def read_rows(
    graph: nnx.GraphDef,
    weights: nnx.State,
    prompts: Prefix,
    packed: tuple[jax.Array, ...],
    prompt_B: jax.Array,
    value_loss: str,
) -> jax.Array:
    """Float32 [B, T]: the value after every token of rows (tokens, positions, ends)."""
    verifier = nnx.merge(graph, weights)
    values_BT = verifier.values(verifier.backbone.after(*packed, prompts, prompt_B)).astype(
        jnp.float32
    )
    return jax.nn.sigmoid(values_BT) if value_loss == "bce" else values_BT
