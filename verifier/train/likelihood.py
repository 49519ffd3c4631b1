"""How likely a model holds texts that are there.

Several solutions of a problem are read behind one prompt (`data.preferences.branched`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from verifier.data import preferences
from verifier.data.packing import doubled_room, pack_lengths
from verifier.model import sharding
from verifier.model.transformer import Transformer, narrow
from verifier.train.losses.cross_entropy import token_losses

_SHORTEST = 32  # tokens that a row is padded to at least
_BESIDE = 4  # longest texts that a row has room for
_TOGETHER = 32  # problems that are read together


@dataclasses.dataclass(frozen=True)
class Texts:
    """Solutions of a problem.

    Attributes:
        problem_id: of the problem.
        prompt: start tokens included; not empty.
        sample_ids: of the solutions.
        tokens: of each.
        counted: of each token, whether it is part of the solution's likelihood.
    """

    problem_id: str
    prompt: Sequence[int]
    sample_ids: Sequence[int]
    tokens: Sequence[np.ndarray]
    counted: Sequence[np.ndarray]

    @property
    def longest(self) -> int:
        """Tokens of the longest solution behind its prompt."""
        return len(self.prompt) + max(map(len, self.tokens))


class Read(NamedTuple):
    """What a model gives the solutions of a problem: of each, in their order, log-probabilities of
    its tokens in nats, float64 [T], 0 where one does not count.
    """

    texts: Texts
    logprobs: list[np.ndarray]


class _Branch(NamedTuple):
    """Where a solution stands: the row's token that predicts its first one."""

    problem: int
    sample: int
    row: int
    start: int


def read(
    model: Transformer,
    vocab_size: int,
    problems: Sequence[Texts],
    rows: int,
    mesh: Mesh | None = None,
    stored: Collection[str] = (),
) -> Iterator[Read]:
    """Reads the solutions of problems, those with long ones first.

    Args:
        model: whose likelihoods they are.
        vocab_size: ids that text can have; the softmax runs over these alone.
        problems: none with a text beyond the model's context.
        rows: of the longest text, as many times as is read at once.
        mesh: what the parameters lie on; its groups of devices share the rows.
        stored: ids of problems that are not wanted; they decide with the others what is read
            together, so that what is gone on with gives the same numbers.
    """
    graph, weights = nnx.split(model)
    weights = narrow(weights, model.dtype)
    at_once = max(rows // _BESIDE, 1) * sharding.groups(mesh)
    order = sorted(problems, key=lambda each: (-each.longest, each.problem_id))
    for begin in range(0, len(order), _TOGETHER):
        group = order[begin : begin + _TOGETHER]
        if all(each.problem_id in stored for each in group):
            continue
        depth = min(doubled_room(_SHORTEST, group[0].longest), model.arch.context)
        row_tokens = doubled_room(_SHORTEST, _BESIDE * group[0].longest)
        packed, branches = _laid(group, row_tokens)
        parts = []
        for first in range(0, packed.shape[1], at_once):
            part = np.zeros((len(packed), at_once, row_tokens), np.int32)
            here = packed[:, first : first + at_once]
            part[:, : here.shape[1]] = here
            placed = sharding.place_rows(tuple(part), mesh)
            with sharding.using(mesh):
                parts.append(_logprobs(graph, weights, placed, depth, vocab_size))
        logp_BT = np.concatenate([np.asarray(part, np.float64) for part in parts])
        found: list[dict[int, np.ndarray]] = [{} for _ in group]
        for problem, sample, row, start in branches:
            tokens = len(group[problem].tokens[sample])
            found[problem][sample] = logp_BT[row, start : start + tokens]
        for texts, own in zip(group, found, strict=True):
            if texts.problem_id not in stored:
                yield Read(texts, [own[sample] for sample in range(len(own))])


def _laid(group: Sequence[Texts], row_tokens: int) -> tuple[np.ndarray, list[_Branch]]:
    """The rows of some problems: int32 [5, B, T] tokens, positions, ends, targets and what counts;
    and where each solution stands in them.
    """
    some = [
        (problem, samples)
        for problem, texts in enumerate(group)
        for samples in _parts(texts, row_tokens)
    ]
    trees = [
        preferences.branched(group[problem].prompt, [group[problem].tokens[n] for n in samples])
        for problem, samples in some
    ]
    rows = pack_lengths([len(tree.tokens) for tree in trees], row_tokens)
    packed, branches = np.zeros((5, len(rows), row_tokens), np.int32), []
    for row, numbers in enumerate(rows):
        first = 0
        for number in numbers:
            tree, (problem, samples) = trees[number], some[number]
            here = slice(first, first + len(tree.tokens))
            packed[:3, row, here] = tree.tokens, tree.positions, first + tree.ends
            for start, sample in zip(tree.starts, samples, strict=True):
                own, texts = first + start, group[problem]
                inside = slice(own, own + len(texts.tokens[sample]))
                packed[3:, row, inside] = texts.tokens[sample], texts.counted[sample]
                branches.append(_Branch(problem, sample, row, own))
            first = here.stop
    return packed, branches


def _parts(texts: Texts, row_tokens: int) -> Iterator[list[int]]:
    """A problem's solutions by their indices, as many together as a row has room for."""
    part: list[int] = []
    trunk = size = len(texts.prompt) - 1
    for sample, tokens in enumerate(texts.tokens):
        if part and size + len(tokens) + 1 > row_tokens:
            yield part
            part, size = [], trunk
        part.append(sample)
        size += len(tokens) + 1
    if part:
        yield part


@functools.partial(jax.jit, static_argnames=("graph", "depth", "vocab_size"))
def _logprobs(
    graph: nnx.GraphDef,
    weights: nnx.State,
    packed: tuple[jax.Array, ...],
    depth: int,
    vocab_size: int,
) -> jax.Array:
    """Float32 [B, T]: of rows (tokens, positions, ends, targets, counts), what each token gives its
    target, 0 where that does not count.
    """
    model = nnx.merge(graph, weights)
    tokens_BT, positions_BT, ends_BT, target_BT, counts_BT = packed
    hidden_BTD = model.hidden(tokens_BT, positions_BT, ends_BT, depth=depth)
    return -token_losses(
        hidden_BTD, model.output_rows(), target_BT, jnp.asarray(counts_BT) > 0, vocab_size
    )
