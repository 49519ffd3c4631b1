"""Relative positions: what a score is raised by for the distance of a key (T5).

Raffel et al. 2020, section 2.1: short distances have a number of their own for each head, longer
ones share a bucket with about as long ones. All layers of a stack read the same table.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.model.arch import Arch


@functools.lru_cache(maxsize=8)
def buckets(count: int, most: int, both_ways: bool) -> np.ndarray:
    """The bucket of every key's place less its query's, from -most to most: int32 [2 * most + 1].

    Half of a side's buckets hold one distance each, the others grow as a logarithm does. Worked out
    here in float32, as T5 was trained with, so that no device's logarithm moves a border.

    Args:
        count: buckets of both sides together.
        most: distances from here on share the last bucket of their side.
        both_ways: keys may stand behind the query, and have the second half of the buckets; False:
            none does.
    """
    place = np.arange(-most, most + 1)
    side = count // 2 if both_ways else count
    distance = np.abs(place) if both_ways else np.maximum(-place, 0)
    alone = side // 2
    steps = np.log(np.maximum(distance, alone).astype(np.float32) / np.float32(alone))
    steps = steps / np.float32(math.log(most / alone)) * np.float32(side - alone)
    bucket = np.where(distance < alone, distance, alone + steps.astype(np.int32))
    behind = side * (place > 0) if both_ways else 0
    return (np.minimum(bucket, side - 1) + behind).astype(np.int32)


class RelativeBias(nnx.Module):
    """A number for each bucket and head."""

    def __init__(self, arch: Arch, both_ways: bool, *, rngs: nnx.Rngs):
        init = nnx.initializers.normal(arch.width**-0.5)
        shape = (arch.relative_buckets, arch.heads)
        self.table = nnx.Param(init(rngs.params(), shape, jnp.float32))
        self.both_ways, self.most = both_ways, arch.relative_distance

    def __call__(self, place: jax.Array) -> jax.Array:
        """What scores are raised by, float32 [N, ...].

        place: int32 [...], where the key stands less where the query does.
        """
        table = self.table[...]
        bucket = jnp.asarray(buckets(len(table), self.most, self.both_ways))
        each_N = table[bucket].T  # by place
        return jnp.take(each_N, jnp.clip(place, -self.most, self.most) + self.most, axis=1)

    def of_row(self, queries: int, keys: int) -> jax.Array:
        """The same of rows whose texts lie in one piece each: float32 [1, N, T, S].

        Within a text the distance in the row is that in the text; others are never seen.
        """
        return self(jnp.arange(keys) - jnp.arange(queries)[:, None])[None]
