"""Abstract models (shapes for arrays), and what can be read off them: bytes, sharing of layers."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from verifier.model import lora
from verifier.model.arch import Arch
from verifier.model.heads import LinearHead, ReservedLogitHead, Verifier
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer
from verifier.plan.subject import Subject


def abstract_model(
    subject: Subject, layers: int, with_head: bool, adapted: bool = False, thinks: bool = False
) -> Any:
    """The generator or the verifier with shapes for arrays, of so many layers.

    Args:
        subject: what is planned for.
        layers: of the decoder.
        with_head: the verifier.
        adapted: as it is trained, with adapters where the settings ask for them.
        thinks: a generator that may think.
    """
    arch = dataclasses.replace(subject.arch, layers=layers)
    return nnx.eval_shape(functools.partial(_build, arch, subject, with_head, adapted, thinks))


def _build(
    arch: Arch, subject: Subject, with_head: bool, adapted: bool, thinks: bool
) -> nnx.Module:
    config = subject.config.model
    backbone = Transformer(arch, rngs=nnx.Rngs(0), dtype=jnp.dtype(config.dtype))
    if adapted:
        lora.attach(backbone, config, jax.random.key(0))
    if thinks:
        return Thinker(backbone, rngs=nnx.Rngs(0))
    if not with_head:
        return backbone
    reserved = subject.config.verify.head == "reserved_logit"
    return Verifier(
        backbone, ReservedLogitHead(subject.vocab_size) if reserved else LinearHead(arch.width)
    )


def device_bytes(tree: Any) -> int:
    """Bytes that one device holds of arrays that are only shapes."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape
        total += math.prod(shape) * leaf.dtype.itemsize
    return total


def itemsize(subject: Subject) -> int:
    """Bytes of an activation."""
    return jnp.dtype(subject.config.model.dtype).itemsize


def layer_devices(mesh: Mesh | None) -> int:
    """Devices that share a layer."""
    return 1 if mesh is None else mesh.shape["tensor"]
