"""Names of arrays as a person reads them."""

from __future__ import annotations

import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from verifier.model import names


def test_modules_optimisers_and_plain_trees():
    class Model(nnx.Module):
        def __init__(self):
            self.blocks = nnx.List(
                [nnx.Linear(1, 1, use_bias=False, rngs=nnx.Rngs(0)) for _ in range(2)]
            )
            self.value = nnx.Param(jnp.zeros(()))  # a parameter of this very name keeps it

    params = nnx.state(Model(), nnx.Param)
    assert list(names.named_leaves(params)) == ["blocks/0/kernel", "blocks/1/kernel", "value"]
    moments = names.named_leaves(optax.scale_by_adam().init(params))
    assert {"count", "mu/blocks/1/kernel", "nu/value"} <= moments.keys() and len(moments) == 7
    assert names.named_leaves({"a": [1, 2]}) == {"a/0": 1, "a/1": 2}


def test_a_tree_is_built_again_from_its_leaves_by_name():
    assert names.unflatten({"a": [1, 2]}, {"a/1": 4, "b": 5, "a/0": 3}) == {"a": [3, 4]}
    with pytest.raises(KeyError, match="a/1"):
        names.unflatten({"a": [1, 2]}, {"a/0": 3})
