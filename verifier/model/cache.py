"""The KV cache: a problem's prompt once, each sample's own suffix; fork, rewind. Knows no layer arithmetic.

    prefix.k[l] [P, S, K, H]     | q q q q . . |   one row a problem, right-padded, the first length_P entries count; read by all J samples
    cache.k[l]  [P, J, C, K, H]  | a b c _ _ _ |   one row a sample, C its capacity; the first `length` entries count, all rows in lockstep

One array a layer, since a scan over a stacked one would copy the whole cache at every step.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """What prefill read: k and v are tuples of L arrays [P, S, K, H]; length_P int32, tokens of each prompt."""

    k: tuple[jax.Array, ...]
    v: tuple[jax.Array, ...]
    length_P: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """All that changes while decoding: k and v are tuples of L arrays [P, J, C, K, H]; length int32 scalar, suffix tokens held so far."""

    prefix: Prefix
    k: tuple[jax.Array, ...]
    v: tuple[jax.Array, ...]
    length: jax.Array

    @property
    def samples(self) -> int:
        """J, samples of a problem."""
        return self.k[0].shape[1]

    @property
    def capacity(self) -> int:
        """Suffix tokens that fit. The caller must not read more: a write beyond the end lands on the last entries."""
        return self.k[0].shape[2]


def fork(prefix: Prefix, samples: int, suffix_tokens: int, dtype: jax.typing.DTypeLike) -> Cache:
    """A cache with `samples` empty suffixes of `suffix_tokens` capacity for every problem; the prefix itself is shared, not copied."""
    problems, _, kv_heads, head_width = prefix.k[0].shape
    shape = (problems, samples, suffix_tokens, kv_heads, head_width)

    def empty() -> tuple[jax.Array, ...]:
        # a buffer for each layer: shared ones could not be donated
        return tuple(jnp.zeros(shape, dtype) for _ in prefix.k)

    return Cache(prefix, empty(), empty(), jnp.zeros((), jnp.int32))


def rewind(cache: Cache, length: jax.Array | int) -> Cache:
    """The same cache with only the first `length` suffix tokens; what lies behind them is masked until it is written over."""
    return dataclasses.replace(cache, length=jnp.asarray(length, jnp.int32))
