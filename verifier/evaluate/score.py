"""The verifier reads stored samples: a value after every solution token. The room's only module with JAX; knows no table and no label."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.config import ScoreConfig, UserError
from verifier.model import cache as cache_lib
from verifier.model.heads import Verifier

PROBLEMS_AT_ONCE = 4  # the fewer, the closer in length are the solutions read together; the more, the fuller is a batch of short lists


@dataclasses.dataclass(frozen=True)
class Solutions:
    """What is scored of one problem: its prompt (start tokens included) and its samples' tokens (the end token included, where it came)."""

    problem_id: str
    prompt: Sequence[int]
    sample_ids: Sequence[int]
    tokens: Sequence[Sequence[int]]


def score_samples(
    verifier: Verifier, problems: Sequence[Solutions], config: ScoreConfig, name: str, squash: bool
) -> Iterator[list[dict[str, Any]]]:
    """Scores solutions; the prompt is read once a problem (Cobbe et al. 2021, section 4.2; the score is the value at the last token).

    Args:
      verifier: backbone and value head.
      problems: in any order; scores depend on no order, batch or padding.
      config: rows, the number of solutions read at once.
      name: goes into the column `verifier`.
      squash: the values are logits (verify.value_loss=bce) and are turned into probabilities.

    Returns:
      An iterator over the problems, those with long prompts first: the rows of the scores table of one problem
      (problem_id, sample_id, verifier, score, token_scores: the value read after each solution token), by rising sample_id.

    Raises:
      UserError: at the call, for an empty prompt or solution, or for one beyond the context.
    """
    if config.rows < 1:
        raise UserError(f"score.rows is {config.rows}, but must be at least 1.")
    context = verifier.backbone.arch.context
    for empty in (p.problem_id for p in problems if not len(p.prompt) or not all(len(tokens) for tokens in p.tokens)):
        raise UserError(f"Problem {empty} has an empty prompt or solution: there is no last token to read a value at. Leave it out.")
    for p in problems:
        if (length := len(p.prompt) + max((len(tokens) for tokens in p.tokens), default=0)) > context:
            raise UserError(
                f"Problem {p.problem_id}: prompt and solution have {length} tokens, but the context is {context}. Leave it out."
            )
    return _score(verifier, [p for p in problems if len(p.sample_ids)], config.rows, name, squash)


def _score(verifier: Verifier, problems: list[Solutions], rows: int, name: str, squash: bool) -> Iterator[list[dict[str, Any]]]:
    graph, weights = nnx.split(verifier)
    most = max((len(p.sample_ids) for p in problems), default=0)
    samples = max(1, min(most, rows // min(PROBLEMS_AT_ONCE, rows, max(len(problems), 1))))
    at_once = max(1, min(rows // samples, len(problems)))
    ordered = sorted(problems, key=lambda p: (-len(p.prompt), p.problem_id))
    for first in range(0, len(ordered), at_once):
        group = ordered[first : first + at_once]
        prompts = [p.prompt for p in group]
        tokens_PS, length_P = _padded(prompts, at_once, min(_room(prompts, 2), verifier.backbone.arch.context))
        prefix = _read_prompts(graph, weights, tokens_PS, length_P)
        # Solutions of like length go together, so that little padding is read.
        by_length = [np.argsort([-len(tokens) for tokens in p.tokens], kind="stable").tolist() for p in group]
        found: list[dict[int, np.ndarray]] = [{} for _ in group]
        for rank in range(0, max(len(p.tokens) for p in group), samples):
            picked = [order[rank : rank + samples] for order in by_length]
            rows_of = [[p.tokens[j] for j in js] + [[]] * (samples - len(js)) for p, js in zip(group, picked, strict=True)]
            lists = [tokens for row in rows_of for tokens in row]
            tokens_BT, length_B = _padded(lists, at_once * samples, _room(lists, 1))
            tokens_PJT = tokens_BT.reshape(at_once, samples, -1)
            values_PJT = np.asarray(_read_solutions(graph, weights, prefix, tokens_PJT, squash))
            for p, js in enumerate(picked):
                for j, sample in enumerate(js):
                    found[p][sample] = values_PJT[p, j, : length_B[p * samples + j]]
        yield from (_rows(p, values, name) for p, values in zip(group, found, strict=True))


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
    """Tokens [rows, room] padded on the right, and lengths; rows that are missing count as one token."""
    tokens_BT = np.zeros((rows, room), np.int32)
    length_B = np.ones(rows, np.int32)
    for row, tokens in enumerate(lists):
        length_B[row] = len(tokens)
        tokens_BT[row, : len(tokens)] = tokens
    return tokens_BT, length_B


def _room(lists: Sequence[Sequence[int]], stride: int) -> int:
    """What the longest list is padded to: 32, 48, 64, 96, 128, 192, ..., only every `stride`-th: every pair is compiled once."""
    longest = max(len(tokens) for tokens in lists)
    rooms = itertools.chain.from_iterable((2**power, 2**power * 3 // 2) for power in itertools.count(5))
    return next(room for room in itertools.islice(rooms, 0, None, stride) if room >= longest)


@functools.partial(jax.jit, static_argnames=("graph",))
def _read_prompts(graph: nnx.GraphDef, weights: nnx.State, tokens_PS: jax.Array, length_P: jax.Array) -> cache_lib.Prefix:
    return nnx.merge(graph, weights).backbone.prefill(tokens_PS, length_P)[1]


@functools.partial(jax.jit, static_argnames=("graph", "squash"))
def _read_solutions(graph: nnx.GraphDef, weights: nnx.State, prefix: cache_lib.Prefix, tokens_PJT: jax.Array, squash: bool) -> jax.Array:
    """The value after every token, float32 [P, J, T]; padding comes after a solution, so causal attention never shows it."""
    verifier = nnx.merge(graph, weights)
    problems, samples, length = tokens_PJT.shape
    cache = cache_lib.fork(prefix, samples, length, prefix.k[0].dtype)
    hidden_PJTD, _ = verifier.backbone.extend(tokens_PJT, cache)
    values_BT = verifier.values(hidden_PJTD.reshape(problems * samples, length, -1))
    values_PJT = values_BT.reshape(problems, samples, length).astype(jnp.float32)
    return jax.nn.sigmoid(values_PJT) if squash else values_PJT
