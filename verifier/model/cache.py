"""The KV cache: a problem's prompt once, each sample's own suffix; fork, grow, rewind. Knows no layer arithmetic.

    prefix.k[l] [P, K, S, H]   | q q q q . . |   one row a problem, right-padded, the first length_P entries count; read by all J samples
    cache.k[l]  [PJK, C, H]    | a b c _ _ _ |   one row a sample and head, C its capacity; the first `length` entries count, in lockstep

Heads stand before positions, so that attention is a matrix product on memory as it lies. P, J and K are one dimension in the suffix because
XLA's CPU compiler drops a dimension of size 1 (one problem at a time is common) before the attention reads it, and then writes each new
token into several copies of the whole cache instead of in place. One array a layer, since a scan over a stacked one would copy it, too.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prefix:
    """What prefill read: k and v are tuples of L arrays [P, K, S, H]; length_P int32, tokens of each prompt."""

    k: tuple[jax.Array, ...]
    v: tuple[jax.Array, ...]
    length_P: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """All that changes while decoding: k and v are tuples of L arrays [P*J*K, C, H]; length int32 scalar, suffix tokens held so far."""

    prefix: Prefix
    k: tuple[jax.Array, ...]
    v: tuple[jax.Array, ...]
    length: jax.Array

    @property
    def samples(self) -> int:
        """J, samples of a problem."""
        problems, kv_heads = self.prefix.k[0].shape[:2]
        return self.k[0].shape[0] // (problems * kv_heads)

    @property
    def capacity(self) -> int:
        """Suffix tokens that fit. The caller must not read more: a write beyond the end lands on the last entries."""
        return self.k[0].shape[1]


def fork(prefix: Prefix, samples: int, suffix_tokens: int, dtype: jax.typing.DTypeLike) -> Cache:
    """A cache with `samples` empty suffixes of `suffix_tokens` capacity for every problem; the prefix itself is shared, not copied."""
    problems, kv_heads, _, head_width = prefix.k[0].shape
    shape = (problems * samples * kv_heads, suffix_tokens, head_width)

    def empty() -> tuple[jax.Array, ...]:
        # a buffer for each layer: shared ones could not be donated
        return tuple(jnp.zeros(shape, dtype) for _ in prefix.k)

    return Cache(prefix, empty(), empty(), jnp.zeros((), jnp.int32))


def grow(cache: Cache, suffix_tokens: int) -> Cache:
    """The same cache with capacity for `suffix_tokens`, no less than now: short suffixes need not attend over the room of long ones."""
    more = suffix_tokens - cache.capacity
    if more < 0:
        raise ValueError(f"a cache of capacity {cache.capacity} cannot grow to {suffix_tokens}; ask for more, or fork the prefix anew")

    def pad(blocks: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        return tuple(jnp.pad(block, ((0, 0), (0, more), (0, 0))) for block in blocks)

    return dataclasses.replace(cache, k=pad(cache.k), v=pad(cache.v))


def append(old_RCH: jax.Array, new_PJKTH: jax.Array, length: jax.Array) -> jax.Array:
    """One layer's keys or values with T new entries written in place from `length` on. R is P*J*K."""
    new_RTH = new_PJKTH.reshape(-1, *new_PJKTH.shape[-2:])
    return jax.lax.dynamic_update_slice(old_RCH, new_RTH.astype(old_RCH.dtype), (0, length, 0))


def rewind(cache: Cache, length: jax.Array | int) -> Cache:
    """The same cache with only the first `length` suffix tokens; what lies behind them is masked until it is written over."""
    return dataclasses.replace(cache, length=jnp.asarray(length, jnp.int32))
