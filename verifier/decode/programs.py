"""The programs of sampling and scoring for models of shapes: no weight and no device is needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from verifier.config import SampleConfig, ScoreConfig
from verifier.decode import memory, score_rows, split_model, steps
from verifier.decode import state as state_lib
from verifier.decode.prompt_blocks import block_sizes
from verifier.decode.rows import Rows
from verifier.decode.score import read_rows
from verifier.decode.thinking import Thinking
from verifier.model import sharding
from verifier.model.heads import Verifier
from verifier.model.transformer import narrow


class SamplingShapes(NamedTuple):
    """What both programs of sampling take."""

    static: state_lib.DecodeStatic
    weights: tuple[jax.ShapeDtypeStruct, ...]
    state: state_lib.DecodeState  # of shapes


def sampling_shapes(
    model: split_model.Model,
    vocab_size: int,
    config: SampleConfig,
    sizes: memory.JobSizes,
    mesh: Mesh | None,
    thinking: Thinking | None = None,
) -> SamplingShapes:
    """What a job holds when it holds most, as shapes.

    Args:
        model: may be one of shapes (`nnx.eval_shape`).
        vocab_size: ids that may be written.
        config: of the job.
        sizes: of the job.
        mesh: of the groups of devices that take their steps together; None: one device.
        thinking: how a thinker thinks; None: as its decoder writes.
    """
    graphdef, weights = split_model.shapes(model, vocab_size, mesh)
    parts = () if mesh is None else tuple(leaf.sharding.spec for leaf in weights)
    static = state_lib.DecodeStatic(
        graphdef,
        vocab_size,
        0,
        config.top_k,
        config.top_p,
        mesh,
        parts,
        config.top_logprobs,
        thinking,
    )
    room = state_lib.Sizes(
        sizes.rows, sizes.lanes, sizes.pages[-1], sizes.prompts, sizes.prompt_tokens
    )
    return SamplingShapes(static, weights, state_lib.state_shapes(static, weights, room))


def sampling(
    shapes: SamplingShapes, config: SampleConfig, sizes: memory.JobSizes
) -> dict[str, jax.stages.Lowered]:
    """Lowers "prefill" (the reading of prompts) and "generate" (one token a row).

    The other arguments are made as `running` makes them.
    """
    static, weights, state = shapes
    groups = sharding.groups(static.mesh)
    blocks = block_sizes(sizes.rows, sizes.prompts, sizes.samples, sizes.few_programs)
    # With blocks of shared pages, where there may be any: that program holds more.
    rows = Rows(
        sizes.rows, sizes.lanes, config.max_new_tokens, sizes.pages[-1], blocks, sizes.share
    )

    def by_group(array: np.ndarray) -> np.ndarray:
        return np.tile(array, (groups, *[1] * (array.ndim - 1)))

    indices: Any = jax.tree.map(by_group, rows.indices(*rows.needed()))
    given, _ = rows.orders()
    orders = steps.Orders(
        **jax.tree.map(by_group, given),
        column=np.int32(0),
        temperature=np.float32(config.temperature),
    )
    table: Any = jax.ShapeDtypeStruct((3, static.vocab_size), np.uint8)
    read = groups * sizes.prompts_at_once
    tokens_NS, length_N = np.zeros((read, sizes.prompt_tokens), np.int32), np.ones(read, np.int32)
    return {
        "prefill": steps.prefill.lower(
            static, weights, state, tokens_NS, length_N, np.zeros(read, np.int32)
        ),
        "generate": steps.generate.lower(
            static, weights, state, indices, orders, steps.Watch(table, table)
        ),
    }


def scoring(
    verifier: Verifier,
    group: Sequence[score_rows.Solutions],
    config: ScoreConfig,
    mesh: Mesh | None,
    compiled: Callable[[jax.stages.Lowered], jax.stages.Compiled],
) -> tuple[tuple[int, int], jax.stages.Compiled]:
    """Compiles the program that would read a group of problems.

    Args:
        verifier: of shapes (`nnx.eval_shape`).
        group: problems whose solutions are about as long; only lengths and what they share count.
        config: rows.
        mesh: whose groups of devices share the rows; None: one device.
        compiled: how a program is compiled.

    Returns:
        Rows and tokens of a row of a call, and the program.
    """
    graph, weights = nnx.split(verifier)
    dtype, context = verifier.backbone.dtype, verifier.backbone.arch.context
    weights = jax.eval_shape(functools.partial(narrow, dtype=dtype), weights)
    weights = weights if mesh is None else sharding.place_parameters(weights, mesh)
    layout = score_rows.layout_of(group, config.rows, context, sharding.groups(mesh))
    spread = None if mesh is None else NamedSharding(mesh, sharding.ROWS)
    packed = tuple(
        jax.ShapeDtypeStruct((layout.at_once, layout.row_tokens), jnp.int32, sharding=spread)
        for _ in range(3)
    )
    with sharding.using(mesh):
        program = compiled(read_rows.lower(graph, weights, packed, layout.depth, "mse"))
    return (layout.at_once, layout.row_tokens), program
