"""Operations, bytes and time of a step, by counting; nothing is compiled.

A product of [n, m] and [m, k] is 2nmk operations; norms, softmax and other work by entry are left
out (a per cent or two). Bytes are the least that a device must move from and to its memory.
Communication between devices is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from verifier.config import QuietConfig, TrainConfig
from verifier.model.arch import Arch, layer_parameters, parameters
from verifier.model.thoughts import MARKS
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


def mixing_operations(arch: Arch) -> int:
    """Operations of the head that weighs one prediction with a thought (`model.mixing`)."""
    return 2 * (3 * arch.width**2 + arch.width)


def written_token(arch: Arch, keys: float, thought_tokens: int) -> float:
    """Operations of one token that is drawn and read; all that are read for it see `keys` keys.

    thought_tokens: A, of the thought before it, each of which is read, and all but two of which are
        drawn; 0: it has none.
    """
    if not thought_tokens:
        return token_operations(arch, keys, True)
    read = (thought_tokens + 1) * token_operations(arch, keys + thought_tokens / 2, False)
    drawn = (thought_tokens - 1) * 2 * arch.width * arch.vocab_size
    return read + drawn + mixing_operations(arch)


def train_step(
    arch: Arch,
    config: TrainConfig,
    mesh: Mapping[str, int],
    itemsize: int,
    outputs: int = 3,
    adapters: int = 0,
) -> StepCost:
    """Forward, backward (twice the forward products) and update.

    Args:
        arch: of the decoder.
        config: of the job.
        mesh: devices by axis.
        itemsize: bytes of an activation.
        outputs: products with the output matrix.
        adapters: parameters of adapters, which alone are learned; 0: all are. A matrix that stays
            as it is takes one product backward, not two.
    """
    passes, frozen = (4 if config.remat else 3), bool(adapters)
    matrices = 2 * arch.layers * layer_parameters(arch)
    attention = token_operations(arch, config.row_tokens, False) - matrices
    layers = matrices * (passes - frozen) + (attention + 2 * adapters) * passes
    output = (outputs - frozen) * 2 * arch.width * arch.vocab_size
    read = [(1.0, config.row_tokens)]
    of_token = _OfToken(layers + output, read, 0)
    return _step(arch, config, mesh, itemsize, of_token, adapters or parameters(arch))


def thoughts_step(
    arch: Arch, config: TrainConfig, thoughts: QuietConfig, mesh: Mapping[str, int], itemsize: int
) -> StepCost:
    """The same of a model that learns to think (`losses.quiet`): behind every token of a text P
    thoughts of A + M - 1 tokens, the text that they are judged by among them.

    Thoughts are drawn before, where they are drawn: the text is read once more, and A - 2 tokens of
    each. Logits are made once forward and once more backward, of the text, of M predictions behind
    each thought, and of what it has drawn.

    Args:
        arch: of the decoder.
        config: of the job.
        thoughts: with at least two tokens each.
        mesh: devices by axis.
        itemsize: bytes of an activation.
    """
    P, T, ahead = thoughts.thoughts, config.row_tokens, thoughts.ahead
    own = thoughts.thought_tokens + ahead - 1
    drawn = thoughts.thought_tokens - MARKS if thoughts.thought_source == "drawn" else 0
    read = [(1.0, T), (float(P * own), T + own)]
    learned = sum(count * token_operations(arch, keys, False) for count, keys in read)
    learned *= 4 if config.remat else 3
    logits = 4 * 2 * arch.width * arch.vocab_size * (1 + P * ahead + P * drawn)
    mixing = 3 * P * ahead * mixing_operations(arch)
    drawing = 0.0
    if drawn:
        drawing = token_operations(arch, T, False)
        drawing += P * drawn * token_operations(arch, T + drawn, True)
    passes = drawn + 1 if drawn else 0
    of_token = _OfToken(learned + logits + mixing + drawing, read, passes)
    return _step(arch, config, mesh, itemsize, of_token, parameters(arch))


class _OfToken(NamedTuple):
    """What a training step does for one token of its text."""

    operations: float
    read: Sequence[tuple[float, int]]  # tokens that are learned from, and the keys that they see
    passes: int  # over the parameters, beside those of learning


def _step(
    arch: Arch,
    config: TrainConfig,
    mesh: Mapping[str, int],
    itemsize: int,
    of_token: _OfToken,
    learned: int,
) -> StepCost:
    """A training step in which so many parameters change; other arguments as in `train_step`."""
    tokens, devices = config.batch_rows * config.row_tokens, math.prod(mesh.values())
    held, passes = parameters(arch), (3 if config.remat else 2) + of_token.passes
    gathered = config.accumulate * passes * held / mesh["tensor"] * itemsize
    # Gradient written and read; parameters and two moments read and written.
    updated = 4 * 8 * learned / (mesh["fsdp"] * mesh["tensor"])
    entries = 6 * arch.width + 2 * (arch.heads + arch.kv_heads) * arch.head_width
    entries += 3 * arch.mlp_width
    kept = sum(count * (entries + arch.heads * keys) for count, keys in of_token.read)
    # Written and read, forward and backward.
    activations = 4 * itemsize * tokens / devices * arch.layers * kept
    return StepCost(tokens * of_token.operations / devices, gathered + updated + activations)
