"""Which type of activations a device is fast in: what model.dtype=auto stands for."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import jax

from verifier.system import processor

# Instructions of a CPU that multiply bfloat16 into float32.
_MULTIPLY_BFLOAT16 = ("amx_bf16", "avx512_bf16")
AMPERE = 8.0  # compute capability from which on tensor cores take bfloat16


class Choice(NamedTuple):
    """A type of activations, and why."""

    dtype: str
    why: str


def of_this_device() -> Choice:
    """What suits the default device."""
    device = jax.local_devices()[0]
    return choose(device.platform, nvidia_capability(device), processor.features())


def choose(platform: str, capability: float, features: Collection[str]) -> Choice:
    """What suits a device.

    Args:
        platform: as JAX calls it: "cpu", "gpu" or "tpu".
        capability: compute capability of an NVIDIA GPU; 0: it is none.
        features: instruction sets of the CPU.
    """
    if platform == "tpu":
        return Choice("bfloat16", "a TPU multiplies in it")
    if platform == "gpu":
        if capability >= AMPERE:
            return Choice("bfloat16", f"this GPU has tensor cores for it ({capability:g})")
        return Choice("float32", "this GPU is not known to have tensor cores for bfloat16")
    for name in _MULTIPLY_BFLOAT16:
        if platform == "cpu" and name in features:
            return Choice("bfloat16", f"this CPU multiplies it twice as fast ({name})")
    return Choice("float32", f"this {platform.upper()} is not known to be faster in bfloat16")


def nvidia_capability(device: jax.Device) -> float:
    """The compute capability of an NVIDIA GPU; 0 of any other device."""
    if device.platform != "gpu" or "NVIDIA" not in device.device_kind.upper():
        return 0.0
    return float(getattr(device, "compute_capability", "0"))
