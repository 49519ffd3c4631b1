"""From a run's seed to a random key."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
import numpy as np


def key_of(seed: int, job: str = "") -> jax.Array:
    """The random key of all 64 bits of a seed.

    Below 2^32 it is `jax.random.key(seed)`, which drops the upper 32.

    Args:
        seed: 0 to 2^64 - 1.
        job: what it is for: a training job's dropout has nothing in common with another's. Empty:
            the bare key.
    """
    words = np.array([seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)
    key = jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")
    return jax.random.fold_in(key, zlib.crc32(job.encode())) if job else key
