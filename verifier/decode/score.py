"""The verifier reads stored samples: a value after every solution token.

Solutions of a problem that begin alike are one tree, which goes on from the prompt: whatever they
share is read once. What lies in a row, in depth-first order (`model.view`), for a problem with the
prompt p q and the samples `a b c`, `a b d e`, `a b` (cut) and `a b c` again, and one with the
prompt r and the sample `a`:

    index         0 1 2 3 4 5 6 7 8 9       p - q - a - b - c        r - a
    token         p q a b c d e r a .                     \
    position      0 1 2 3 4 4 5 0 1 0                       d - e
    end           7 7 7 7 5 7 7 9 9 0

    path of       2 3 4 in sample 0 and 3, 2 3 5 6 in sample 1, 2 3 in sample 2
    token_scores  the values read at its path

A tree too large for a row becomes several, of which each has the prompt and whatever else its
solutions share; what does not fill a row shares it with other problems.
"""

from __future__ import annotations

import functools
import itertools
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

    Of solutions that begin alike, what they share is read once.

    Args:
        verifier: backbone and value head.
        problems: in any order; scores depend on no order, batch or padding, but for rounding: some
            1e-6 in float32, up to .004 in bfloat16.
        config: rows, how much is read at once.
        name: goes into the column `verifier`.
        value_loss: what the verifier was trained with: values of "bce" are logits, and are turned
            into probabilities; those of "mse" are scores as they are.
        mesh: what the verifier's parameters lie on; its groups of devices share the rows.
        stored: ids of those of `problems` that an earlier start has scored: they are left out, but
            decide with the others how large the calls are, so that a job that goes on gives the
            same scores to the last bit.

    Returns:
        An iterator over the other problems, those with long solutions first: the rows of the scores
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
    context: int
    mesh: Mesh | None


def _on_device(verifier: Verifier, value_loss: str, mesh: Mesh | None) -> _Model:
    """Matrices are cast to the type they are multiplied in once, not at every call."""
    graph, weights = nnx.split(verifier)
    dtype, context = verifier.backbone.dtype, verifier.backbone.arch.context
    return _Model(graph, narrow(weights, dtype), value_loss, context, mesh)


def _score(
    model: _Model, problems: list[Solutions], rows: int, name: str, stored: Collection[str]
) -> Iterator[list[dict[str, Any]]]:
    for group in score_rows.groups(problems, rows):
        unread = [n for n, problem in enumerate(group) if problem.problem_id not in stored]
        layout = score_rows.layout_of(group, rows, model.context, sharding.groups(model.mesh))
        values: list[dict[int, np.ndarray]] = [{} for _ in group]  # of each problem, by sample
        for call, values_BT in _one_behind(_calls(model, group, layout, stored)):
            # the last call may have empty rows
            for row, values_T in zip(call, values_BT, strict=False):
                for (problem, sample), path in row.paths.items():
                    values[problem][sample] = values_T[path]
            while unread and len(values[unread[0]]) == len(group[unread[0]].tokens):
                problem = unread.pop(0)
                yield _rows(group[problem], values[problem], name)
                values[problem] = {}


def _calls(
    model: _Model, group: Sequence[Solutions], layout: score_rows.Layout, stored: Collection[str]
) -> Iterator[tuple[list[score_rows.Laid], jax.Array]]:
    """Sends the group's rows to the device, call by call, with values that are not there yet."""
    rows = score_rows.rows_of(group, layout.row_tokens, stored)
    while call := [
        score_rows.laid(row, group, layout.row_tokens)
        for row in itertools.islice(rows, layout.at_once)
    ]:
        packed = np.zeros((3, layout.at_once, layout.row_tokens), np.int32)
        for b, row in enumerate(call):
            packed[:, b] = row.tokens_T, row.positions_T, row.ends_T
        placed = sharding.place_rows(tuple(packed), model.mesh)
        with sharding.using(model.mesh):
            yield (
                call,
                read_rows(model.graph, model.weights, placed, layout.depth, model.value_loss),
            )


def _one_behind(
    calls: Iterable[tuple[list[score_rows.Laid], jax.Array]],
) -> Iterator[tuple[list[score_rows.Laid], np.ndarray]]:
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


@functools.partial(jax.jit, static_argnames=("graph", "depth", "value_loss"))
def read_rows(
    graph: nnx.GraphDef,
    weights: nnx.State,
    packed: tuple[jax.Array, ...],
    depth: int,
    value_loss: str,
) -> jax.Array:
    """Float32 [B, T]: the value after every token of rows (tokens, positions, ends)."""
    verifier = nnx.merge(graph, weights)
    return as_scores(verifier, verifier.backbone.hidden(*packed, depth=depth), value_loss)


def as_scores(verifier: Verifier, hidden: jax.Array, value_loss: str) -> jax.Array:
    """Float32 [...] of hidden [..., D]: values; probabilities where they are logits."""
    values = verifier.values(hidden).astype(jnp.float32)
    return jax.nn.sigmoid(values) if value_loss == "bce" else values
