"""What thoughts gain at every token of texts that nothing is learned from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from verifier.config import QuietConfig
from verifier.data import window_stream
from verifier.data.batches import Batch, BatchSpec, zeros
from verifier.data.windows import Windows
from verifier.model import sharding
from verifier.model.thoughts import Thinker
from verifier.model.transformer import narrow
from verifier.train.losses import quiet


class Gained(NamedTuple):
    """Of rows of texts: the thoughts behind every token, and the tokens that they are judged by.

    What stands where a target has no weight means nothing.
    """

    base_BT: np.ndarray  # log-probability of the next token without a thought
    gain_BTPM: np.ndarray  # what a thought adds to those of the next M tokens
    weight_BTPM: np.ndarray  # of the thought in each prediction
    entropy_BTP: np.ndarray | None  # -log p of a drawn token, the mean; None: none is drawn
    tokens_BTPI: np.ndarray  # that were drawn

    def of_row(self, row: int) -> Gained:
        """What belongs to one row, without B."""
        entropy_BTP = self.entropy_BTP
        return Gained(
            self.base_BT[row],
            self.gain_BTPM[row],
            self.weight_BTPM[row],
            None if entropy_BTP is None else entropy_BTP[row],
            self.tokens_BTPI[row],
        )


def reader(
    thinker: Thinker, config: QuietConfig, thoughts: int, vocab_size: int, mesh: Mesh | None = None
) -> Callable[[Batch, jax.Array], Gained]:
    """A function that lets a thinker read batches of one size.

    What it gives of a row depends on that row and its key alone, but for rounding.

    Args:
        thinker: as it was trained.
        config: how it was; with quiet.thought_tokens=0 its decoder alone reads, and P is 0.
        thoughts: P, drawn at every position.
        vocab_size: ids that text can have.
        mesh: what the thinker's parameters lie on; its groups of devices share the rows.

    Returns:
        From a batch with the targets of `losses.quiet`, and a key of each row, to its gains.
    """
    graph, weights = nnx.split(thinker)
    narrowed = narrow(weights, thinker.backbone.dtype)
    config = dataclasses.replace(config, thoughts=thoughts)
    how = _read if config.thought_tokens else _read_plainly
    program = jax.jit(functools.partial(how, graph, config, vocab_size))

    def read(batch: Batch, keys_B: jax.Array) -> Gained:
        with sharding.using(mesh):
            placed = sharding.place_rows(batch, mesh)
            found = jax.device_get(program(narrowed, placed, keys_B))
        return Gained(*found)

    return read


def of_windows(
    read: Callable[[Batch, jax.Array], Gained],
    windows: Windows,
    indices: Sequence[int],
    spec: BatchSpec,
    key: jax.Array,
) -> Iterator[Gained]:
    """What a `reader` gives of some windows, one after the other, without B.

    Args:
        read: of a thinker.
        windows: that it reads.
        indices: of those that are wanted.
        spec: of a batch, with the targets of `losses.quiet`.
        key: of all; a window's own follows from that and its index.
    """
    for first in range(0, len(indices), spec.batch_rows):
        some = indices[first : first + spec.batch_rows]
        batch = zeros(spec)
        for row, index in enumerate(some):
            window_stream.fill(batch, row, windows, index)
        numbers = np.resize(np.array(some), spec.batch_rows)  # the last batch may have empty rows
        found = read(batch, jax.vmap(functools.partial(jax.random.fold_in, key))(numbers))
        yield from (found.of_row(row) for row in range(len(some)))


def _read(
    graph: Any, config: QuietConfig, vocab_size: int, weights: Any, batch: Batch, keys_B: jax.Array
) -> tuple[Any, ...]:
    thinker: Thinker = nnx.merge(graph, weights)
    how: dict[str, Any] = {"dropout": 0.0, "dropout_key": None, "remat": False}
    judged = quiet.judged(thinker, batch, keys_B, vocab_size, config, **how)
    thoughts = judged.thoughts
    entropy_BTP = -thoughts.logprob_BTPI.mean(axis=3) if quiet.says(config) else None
    return (
        -judged.base_BT,
        judged.gain_BTPM(),
        judged.weight_BTPM,
        entropy_BTP,
        thoughts.tokens_BTPI,
    )


def _read_plainly(
    graph: Any, config: QuietConfig, vocab_size: int, weights: Any, batch: Batch, _: jax.Array
) -> tuple[Any, ...]:
    """The same of a model that has no thoughts: P is 0."""
    thinker: Thinker = nnx.merge(graph, weights)
    how: dict[str, Any] = {"dropout": 0.0, "dropout_key": None, "remat": False}
    losses_BT = quiet.plain_losses(thinker, batch, vocab_size, **how)
    nothing = jnp.zeros((*losses_BT.shape, 0, config.ahead))
    return -losses_BT, nothing, nothing, None, nothing.astype(jnp.int32)
