"""Low-rank adapters (LoRA, Hu et al. 2021): kernels stay as they are, and a product of two thin
matrices is learned beside each.

y = x . W + scale * (x . A) . B with A [inputs, R], B [R, outputs], scale = alpha / R (section 4.1).
B begins at zero, so that an adapted model begins as its base. Merged, W + scale * A . B is a kernel
like any other.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.config import ModelConfig
from verifier.errors import ConfigError
from verifier.model import names, sharding
from verifier.model.layers import Linear
from verifier.model.transformer import Transformer

# Which matrices of a layer are adapted, by the end of their names; all families have these names.
ATTENTION = ("query", "key", "value", "out")
MATRICES = {"attention": ATTENTION, "all": (*ATTENTION, "gate", "up", "down")}
_OWN = ("lora_a", "lora_b")
_BACKBONE = "backbone/"


def attach(model: Transformer, config: ModelConfig, key: jax.Array) -> None:
    """Gives a base model fresh adapters, in place, on the mesh that it lies on.

    A is drawn with a standard deviation of inputs**-0.5, so that x . A has the scale of x.

    Args:
        model: without adapters.
        config: `lora_rank`, `lora_alpha` and `lora_matrices` are read; rank 0: nothing is done.
        key: of A.

    Raises:
        ConfigError: a rank above the sides of a matrix that is to be adapted, or an encoder.
    """
    rank = config.lora_rank
    if not rank:
        return
    if model.arch.encoder_layers:
        raise ConfigError(
            f"model.lora_rank={rank} with a model that has an encoder (T5): adapters are for "
            "decoders; set model.lora_rank=0"
        )
    adapted = _linears(model, MATRICES[config.lora_matrices])
    for name, linear in adapted.items():
        sides = linear.kernel[...].shape
        if rank > min(sides):
            raise ConfigError(
                f"model.lora_rank={rank}: the matrix {name} has {sides[0]} inputs and {sides[1]} "
                f"outputs, and no product of a higher rank than {min(sides)}; set at most that"
            )
    for number, linear in enumerate(adapted.values()):
        inputs, outputs = linear.kernel[...].shape
        own = jax.random.fold_in(key, number)
        linear.lora_scale = config.lora_alpha / rank
        linear.lora_a = nnx.Param(jax.random.normal(own, (inputs, rank)) * inputs**-0.5)
        linear.lora_b = nnx.Param(jnp.zeros((rank, outputs), jnp.float32))
    params = nnx.state(model, nnx.Param)
    if (mesh := _mesh_of(params)) is not None:
        nnx.update(model, sharding.place_parameters(params, mesh))


def merge(model: Transformer) -> None:
    """Adds the adapters to their kernels, and takes them away, in place."""
    for linear in _linears(model, MATRICES["all"]).values():
        if linear.lora_scale:
            product = jnp.matmul(linear.lora_a[...], linear.lora_b[...], precision="highest")
            linear.kernel[...] = linear.kernel[...] + linear.lora_scale * product
            del linear.lora_a, linear.lora_b, linear.lora_scale


def is_adapted(params: Any) -> bool:
    """Whether a tree of parameters has adapters."""
    return any(_is_adapter(name) for name in names.named_leaves(params))


def trained(params: nnx.State) -> nnx.State:
    """The parameters that training changes: all, or beside a frozen base the adapters and heads."""
    if not is_adapted(params):
        return params
    return params.split(_changes(params), ...)[0]


def with_trained(params: nnx.State, changed: nnx.State) -> nnx.State:
    """The parameters with the trained ones replaced by others; raises nothing, copies nothing."""
    if not is_adapted(params):
        return changed
    frozen = params.split(_changes(params), ...)[1]
    whole: nnx.State = nnx.merge_state(changed, frozen)
    return whole


def _changes(params: nnx.State) -> Any:
    """A filter of `nnx.State.split`: which parameters beside a frozen base are trained."""
    has_head = any(name.startswith(_BACKBONE) for name in names.named_leaves(params))

    def changes(path: tuple[Any, ...], _: Any) -> bool:
        name = "/".join(map(str, path))
        return _is_adapter(name) or (has_head and not name.startswith(_BACKBONE))

    return changes


def _is_adapter(name: str) -> bool:
    return name.rsplit("/", 1)[-1] in _OWN


def _mesh_of(params: nnx.State) -> jax.sharding.Mesh | None:
    """The mesh of a model's arrays; None: no mesh, or shapes without arrays."""
    leaves = jax.tree.leaves(params)
    traced = any(
        not hasattr(leaf, "sharding") or isinstance(leaf, jax.core.Tracer) for leaf in leaves
    )
    return None if traced else sharding.mesh_of(params)


def _linears(model: Transformer, ends: tuple[str, ...]) -> dict[str, Linear]:
    """The dense layers of some names, by path."""
    found = {"/".join(map(str, path)): node for path, node in nnx.iter_graph(model)}
    return {
        name: node
        for name, node in found.items()
        if isinstance(node, Linear) and name.rsplit("/", 1)[-1] in ends
    }
