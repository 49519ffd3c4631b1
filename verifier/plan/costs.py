"""Operations, bytes and time of a step, by counting; nothing is compiled.

A product of [n, m] and [m, k] is 2nmk operations; norms, softmax and other work by entry are left
out (a per cent or two). Bytes are the least that a device must move from and to its memory.
Communication between devices is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from verifier.config import TrainConfig
from verifier.model.arch import Arch, layer_parameters, parameters
from verifier.plan.devices import Kind

# Of the published peak that products are assumed to reach: what well-made training reaches on these
# devices.
COMPUTE_SHARE = 0.4
MEMORY_SHARE = 0.6  # of the published bandwidth, likewise
SLOTS_USED = 0.9  # share of slots in which a token is written
PACKED = 0.95  # share of a training row that is not padding


class StepCost(NamedTuple):
    """What one step takes on one device."""

    operations: float
    bytes: float  # moved from and to memory

    def seconds(self, kind: Kind, narrow: bool) -> float:
        """At the assumed shares of the peaks.

        narrow: products of bfloat16; those of float32 are taken to run at half the speed.
        """
        peak = kind.teraflops * 1e12 * (1.0 if narrow else 0.5)
        return max(
            self.operations / (COMPUTE_SHARE * peak),
            self.bytes / (MEMORY_SHARE * kind.bandwidth * 1e9),
        )

    def bound(self, kind: Kind, narrow: bool) -> str:
        """Which of the two takes longer."""
        moving = self.bytes / (MEMORY_SHARE * kind.bandwidth * 1e9)
        return "compute" if self.seconds(kind, narrow) > moving else "memory"


def token_operations(arch: Arch, keys: float, logits: bool) -> float:
    """Operations of one token that is read and sees `keys` keys, masked ones included.

    logits: those of the whole vocabulary are computed.
    """
    layers = arch.layers * (2 * layer_parameters(arch) + 4 * arch.heads * arch.head_width * keys)
    return layers + (2 * arch.width * arch.vocab_size if logits else 0)


def train_step(arch: Arch, config: TrainConfig, mesh: Mapping[str, int], itemsize: int) -> StepCost:
    """Forward, backward (twice the forward products) and update.

    Args:
        arch: of the decoder.
        config: of the job.
        mesh: devices by axis.
        itemsize: bytes of an activation.
    """
    tokens, devices = config.batch_rows * config.row_tokens, math.prod(mesh.values())
    layers = token_operations(arch, config.row_tokens, False) * (4 if config.remat else 3)
    output = 6 * arch.width * arch.vocab_size
    held = parameters(arch)
    gathered = config.accumulate * (3 if config.remat else 2) * held / mesh["tensor"] * itemsize
    # Gradient written and read; parameters and two moments read and written.
    updated = 4 * 8 * held / (mesh["fsdp"] * mesh["tensor"])
    of_token = (
        6 * arch.width
        + 2 * (arch.heads + arch.kv_heads) * arch.head_width
        + 3 * arch.mlp_width
        + arch.heads * config.row_tokens
    )
    # Written and read, forward and backward.
    activations = 4 * itemsize * tokens / devices * arch.layers * of_token
    return StepCost(tokens * (layers + output) / devices, gathered + updated + activations)
