"""A tree as it is stored, flat by the names of `model.names`, compared with the one wanted."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from verifier.errors import CheckpointError
from verifier.model import names
from verifier.system import paths


def compared(tree: Any, there: Mapping[str, Any], path: pathlib.Path) -> dict[str, Any]:
    """The leaves wanted, as abstract arrays by name.

    Args:
        tree: arrays or ShapeDtypeStructs.
        there: what is stored, by name.
        path: where.

    Raises:
        CheckpointError: names or shapes do not agree with what is stored.
    """
    wanted = {name: _abstract(leaf) for name, leaf in names.named_leaves(tree).items()}
    faults = [f"{name} is missing" for name in wanted if name not in there]
    faults += [f"{name} is not wanted" for name in there if name not in wanted]
    for name in wanted.keys() & there.keys():
        if tuple(there[name].shape) != wanted[name].shape:
            faults.append(
                f"{name} has shape {tuple(there[name].shape)}, wanted {wanted[name].shape}"
            )
    if faults:
        differing = "; ".join(sorted(faults, key=paths.natural_order)[:5])
        raise CheckpointError(
            f"{path} is of another model ({len(faults)} arrays differ: {differing}); use the "
            "settings it was made with"
        )
    return wanted


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, type and sharding of an array; the first device where none is said."""
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(
        jax.local_devices()[0]
    )
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
