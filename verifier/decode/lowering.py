"""The two programs of sampling for a model of shapes: what can be known of them where there is
neither a weight nor the device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from verifier.config import SampleConfig
from verifier.decode import memory, split_model, steps
from verifier.decode import state as state_lib
from verifier.decode.prompt_blocks import places
from verifier.decode.rows import Rows
from verifier.model import sharding
from verifier.model.transformer import Transformer


class Given(NamedTuple):
    """What both programs take."""

    static: state_lib.DecodeStatic
    weights: tuple[jax.ShapeDtypeStruct, ...]
    state: state_lib.DecodeState  # of shapes


def shapes(
    model: Transformer, vocab_size: int, config: SampleConfig, plan: memory.Plan, mesh: Mesh | None
) -> Given:
    """What a job holds when it holds most, as shapes.

    Args:
        model: may be one of shapes (`nnx.eval_shape`).
        vocab_size: ids that may be written.
        config: of the job.
        plan: its sizes.
        mesh: of the groups of devices that take their steps together; None: one device.
    """
    graphdef, weights = split_model.shapes(model, vocab_size, mesh)
    parts = () if mesh is None else tuple(leaf.sharding.spec for leaf in weights)
    static = state_lib.DecodeStatic(
        graphdef, vocab_size, 0, config.top_k, config.top_p, mesh, parts
    )
    sizes = state_lib.Sizes(plan.rows, plan.pages[-1], plan.prompts, plan.prompt_tokens)
    return Given(static, weights, state_lib.state_shapes(static, weights, sizes))


def lower(given: Given, config: SampleConfig, plan: memory.Plan) -> dict[str, jax.stages.Lowered]:
    """Lowers "prefill" (the reading of prompts) and "generate" (one token a row), the other
    arguments made as `running` makes them.
    """
    static, weights, state = given
    groups, among = sharding.groups(static.mesh), places(plan.rows, plan.prompts, plan.samples)
    rows = Rows(plan.rows, config.max_new_tokens, plan.pages[-1], among)

    def by_group(array: np.ndarray) -> np.ndarray:
        return np.tile(array, (groups, *[1] * (array.ndim - 1)))

    seating: Any = jax.tree.map(by_group, rows.seating(among.blocks[0]))
    start_B, go_B, forced_B, _ = map(by_group, rows.orders())
    orders = steps.Orders(
        start_B,
        go_B,
        forced_B,
        by_group(rows.key_B2),
        np.int32(0),
        np.int32(config.max_new_tokens),
        np.float32(config.temperature),
    )
    table: Any = jax.ShapeDtypeStruct((3, static.vocab_size), np.uint8)
    read = groups * plan.prompts_at_once
    tokens_NS, length_N = np.zeros((read, plan.prompt_tokens), np.int32), np.ones(read, np.int32)
    return {
        "prefill": steps.prefill.lower(
            static, weights, state, tokens_NS, length_N, np.zeros(read, np.int32)
        ),
        "generate": steps.generate.lower(
            static, weights, state, seating, orders, steps.Watch(table, table)
        ),
    }
