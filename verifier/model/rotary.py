"""Rotary positions: the frequencies of each scaling variant, and the rotation.

Channels are paired half-split (channel i with i + H/2), as Hugging Face checkpoints store them, so
weights import without a permutation.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """How a model that was trained on `original_context` positions was stretched to more.

    Args:
        kind: linear | dynamic | llama3 | yarn.
        factor: how many times longer the new context is.
        original_context: positions of the first training (unused by linear).
        low_freq_factor, high_freq_factor: llama3 only; waves longer than original_context / low are
            stretched, below / high kept.
        beta_fast, beta_slow: yarn only; rotations within the original context above which a channel
            is kept, below which it is stretched.
        attention_factor: yarn only; multiplies cos and sin. None: 0.1 ln(factor) + 1 (Peng et al.
            2023, section 3.4).
        truncate: yarn only; the ramp's ends are rounded outwards to whole channels.
    """

    kind: str
    factor: float = 1.0
    original_context: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        if self.kind not in _SCALED:
            raise ValueError(
                f"rope scaling kind {self.kind!r} is not known; it must be one of "
                f"{', '.join(_SCALED)}"
            )
        if self.factor < 1.0:
            raise ValueError(
                f"rope scaling factor {self.factor} shrinks the context; it must be at least 1"
            )
        if self.kind in ("llama3", "yarn") and self.original_context <= 0:
            raise ValueError(
                f"rope scaling {self.kind!r} needs original_context > 0, got "
                f"{self.original_context}"
            )
        if self.kind == "llama3" and self.low_freq_factor >= self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor {self.low_freq_factor} must be below high_freq_factor "
                f"{self.high_freq_factor}"
            )
        if self.attention_factor is not None and self.attention_factor <= 0:
            raise ValueError(f"attention_factor {self.attention_factor} must be above 0")


def _linear(inverse: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    """Every position is divided by the factor."""
    return inverse / scaling.factor


def _dynamic(inverse: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    """Changes nothing within the model's own context, and nothing here reads beyond it.

    `Arch.context` is the unstretched one.
    """
    return inverse


def _llama3(inverse: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    """Long waves are stretched, short ones kept.

    Waves between are interpolated by how many of them fit the original context.
    """
    fits = scaling.original_context * inverse / (2 * math.pi)
    keep = np.clip(
        (fits - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor),
        0.0,
        1.0,
    )
    return inverse * (keep + (1 - keep) / scaling.factor)


def _yarn(inverse: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    """As llama3, but the ramp is linear in the channel's index (Peng et al. 2023, section 3.2)."""
    width = 2 * len(inverse)

    def channel(rotations: float) -> float:
        return (
            width
            * math.log(scaling.original_context / (rotations * 2 * math.pi))
            / (2 * math.log(theta))
        )

    low, high = channel(scaling.beta_fast), channel(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    stretch = np.clip((np.arange(len(inverse)) - low) / max(high - low, 1e-3), 0.0, 1.0)
    return inverse * (1 - stretch + stretch / scaling.factor)


_SCALED = {"linear": _linear, "dynamic": _dynamic, "llama3": _llama3, "yarn": _yarn}


def inverse_frequencies(
    head_width: int, theta: float, scaling: RopeScaling | None
) -> tuple[np.ndarray, float]:
    """Radians a position of each of the H/2 channel pairs, and the factor on cos and sin.

    The radians are float32 [H/2].
    """
    inverse = theta ** (-np.arange(0, head_width, 2, dtype=np.float64) / head_width)
    if scaling is None:
        return inverse.astype(np.float32), 1.0
    amplitude = 1.0
    if scaling.attention_factor is not None and scaling.kind == "yarn":
        amplitude = scaling.attention_factor
    elif scaling.kind == "yarn":
        amplitude = 0.1 * math.log(scaling.factor) + 1.0
    return _SCALED[scaling.kind](inverse, theta, scaling).astype(np.float32), amplitude


def rotation(
    positions: jax.Array, head_width: int, theta: float, scaling: RopeScaling | None
) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine, float32 [..., 1, H/2], of integer positions [...].

    The 1 stands for heads.
    """
    inverse, amplitude = inverse_frequencies(head_width, theta, scaling)
    angles = positions[..., None, None].astype(jnp.float32) * inverse
    return jnp.cos(angles) * amplitude, jnp.sin(angles) * amplitude


def rotate(heads: jax.Array, cos_sin: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turns every channel pair of heads [..., heads, H] by its angle, in float32.

    Same shape and dtype.
    """
    cos, sin = cos_sin
    first, second = jnp.split(heads.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    ).astype(heads.dtype)
