"""The mesh, and over which of its axes each dimension is split."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from verifier.config import MeshConfig
from verifier.errors import ConfigError
from verifier.model import names
from verifier.model.arch import Arch

MESH_AXES = ("data", "fsdp", "tensor")

Rules = Mapping[str, Sequence[str]]

# From what a dimension is to the axes of the mesh that it is split over; what is not here lies
# whole on every device.
RULES: Rules = {
    "rows": ("data", "fsdp"),  # of a batch
    "width": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
}

# While decoding, every group of devices that has rows of its own has all parameters, divided over
# `tensor` alone: fetching what `fsdp` divides for one token a row would cost more than the token.
DECODING: Rules = {**RULES, "width": ()}
ROWS = PartitionSpec(("data", "fsdp"))  # what each such group has for itself, one behind the other
HEADS = PartitionSpec(MESH_AXES)  # what each device has for itself
WHOLE = PartitionSpec()  # what all devices have

# What the dimensions of each parameter are, by the end of its name.
PARAMETERS: dict[str, tuple[str | None, ...]] = {
    "embed": ("vocab", "width"),
    "unembed": ("vocab", "width"),
    "positions": (None, "width"),
    "query/kernel": ("width", "heads"),
    "key/kernel": ("width", "kv_heads"),
    "value/kernel": ("width", "kv_heads"),
    "out/kernel": ("heads", "width"),
    "query/bias": ("heads",),
    "key/bias": ("kv_heads",),
    "value/bias": ("kv_heads",),
    "gate/kernel": ("width", "mlp"),
    "up/kernel": ("width", "mlp"),
    "down/kernel": ("mlp", "width"),
    "gate/bias": ("mlp",),
    "up/bias": ("mlp",),
}
# Of adapters (`model.lora`) the side that they share with their kernel; their rank lies whole.
_KERNELS = {end: axes for end, axes in PARAMETERS.items() if end.endswith("kernel")}
PARAMETERS |= {end.replace("kernel", "lora_a"): (axes[0], None) for end, axes in _KERNELS.items()}
PARAMETERS |= {end.replace("kernel", "lora_b"): (None, axes[1]) for end, axes in _KERNELS.items()}
PARAMETERS |= {f"mixing/{layer}/kernel": ("width", None) for layer in ("first", "second")}


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """Lays devices out as data x fsdp x tensor.

    Args:
        config: sizes, at most one of them -1.
        devices: of all processes; None: all there are.

    Raises:
        ConfigError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = {name: getattr(config, name) for name in MESH_AXES}
    knobs = " ".join(f"mesh.{name}={size}" for name, size in sizes.items())
    open_axes = [name for name, size in sizes.items() if size == -1]
    if len(open_axes) > 1:
        raise ConfigError(
            f"{knobs}: only one of them can be -1, which stands for what is left of the "
            f"{len(devices)} devices"
        )
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if open_axes and len(devices) % fixed == 0:
        sizes[open_axes[0]] = len(devices) // fixed
    if math.prod(sizes.values()) != len(devices):
        raise ConfigError(
            f"{knobs} does not make up the {len(devices)} devices of this run: their product "
            "must be their number"
        )
    return jax.make_mesh(
        tuple(sizes.values()),
        MESH_AXES,
        axis_types=(AxisType.Auto,) * len(MESH_AXES),
        devices=devices,
    )


def own_mesh(
    config: MeshConfig, of_all: Sequence[Any] | None = None, own: Sequence[Any] | None = None
) -> Mesh | None:
    """The part of the mesh that lies within this process; None: one device.

    Work that processes share out problem by problem runs on it.

    Args:
        config: of the whole mesh.
        of_all: the devices of all processes; None: all there are.
        own: those of this process; None: as JAX says.

    Raises:
        ConfigError: as `make_mesh`; or devices that share a layer lie in several processes.
    """
    whole = make_mesh(config, of_all).shape
    tensor, fsdp = whole["tensor"], whole["fsdp"]
    devices = jax.local_devices() if own is None else own
    if len(devices) % tensor:
        raise ConfigError(
            f"mesh.tensor={tensor} does not divide the {len(devices)} devices of a process: a "
            "layer is shared within one"
        )
    fsdp = math.gcd(fsdp, len(devices) // tensor)
    mesh = make_mesh(MeshConfig(data=-1, fsdp=fsdp, tensor=tensor), devices)
    return mesh if mesh.size > 1 else None


def check(arch: Arch, mesh: Mesh) -> None:
    """Refuses a mesh that does not divide a model.

    Raises:
        ConfigError: the first dimension that is not divided, with its size, the axes and the way
            out; or a model with an encoder on several devices.
    """
    if arch.encoder_layers and mesh.size > 1:
        raise ConfigError(
            f"a model with an encoder (T5) works on one device, but the mesh has {mesh.size}; give "
            "the run one device (CUDA_VISIBLE_DEVICES, JAX_NUM_CPU_DEVICES)"
        )
    counts = {
        "width": arch.width,
        "heads": arch.heads,
        "kv_heads": arch.kv_heads,
        "mlp": arch.mlp_width,
        "vocab": arch.vocab_size,
    }
    for name, count in counts.items():
        parts = _parts(name, mesh, RULES)
        if count % parts:
            axes = " x ".join(f"mesh.{axis}={mesh.shape[axis]}" for axis in RULES[name])
            fitting = ", ".join(str(size) for size in range(1, parts + 1) if count % size == 0)
            raise ConfigError(
                f"the model has {name}={count}, which {axes} does not divide; sizes that do: "
                f"{fitting}"
            )


def spec(
    tensor: str, axes: Sequence[str | None], shape: Sequence[int], mesh: Any, rules: Rules = RULES
) -> PartitionSpec:
    """How one tensor is split.

    Args:
        tensor: its name, for messages.
        axes: what each dimension is, a key of `rules`; None: whole.
        shape: its sizes.
        mesh: with the axes of `rules`.
        rules: from what a dimension is to axes of the mesh.

    Raises:
        ConfigError: two dimensions would be split over one axis, or a size does not divide; with
            tensor, axis and sizes.
    """
    if len(axes) != len(shape):
        raise ValueError(
            f"{tensor} has {len(shape)} dimensions {tuple(shape)}, but {len(axes)} names: "
            f"{tuple(axes)}"
        )
    taken: dict[str, str] = {}
    for name, size in zip(axes, shape, strict=True):
        for axis in rules[name] if name else ():
            if axis in taken:
                both = f"both {taken[axis]} and {name}"
                raise ConfigError(
                    f"{tensor} {tuple(shape)}: {both} would be split over "
                    f"mesh.{axis}={mesh.shape[axis]}"
                )
            taken[axis] = name or ""
        if name and size % (parts := _parts(name, mesh, rules)):
            over = " x ".join(f"mesh.{axis}={mesh.shape[axis]}" for axis in rules[name])
            raise ConfigError(
                f"{tensor} {tuple(shape)}: its {name} of {size} cannot be split evenly over "
                f"{over} ({parts} parts)"
            )
    # As the compiler spells it: else the same division would compile a step again.
    wanted = [rules[name] if name else () for name in axes]
    over_each = [tuple(axis for axis in each if mesh.shape[axis] > 1) or None for each in wanted]
    while over_each and over_each[-1] is None:
        over_each.pop()
    return PartitionSpec(*over_each)


def parameter_axes(name: str, dimensions: int) -> tuple[str | None, ...]:
    """What a parameter's dimensions are, by its name with slashes; heads, scales: None, whole."""
    return next(
        (axes for end, axes in PARAMETERS.items() if f"/{name}".endswith(f"/{end}")),
        (None,) * dimensions,
    )


def parameter_sharding(
    name: str, shape: Sequence[int], mesh: Mesh, rules: Rules = RULES
) -> NamedSharding:
    """Where one parameter lies; `name` as in `names.named_leaves`."""
    return NamedSharding(mesh, spec(name, parameter_axes(name, len(shape)), shape, mesh, rules))


def put(name: str, array: np.ndarray, mesh: Mesh) -> jax.Array:
    """Puts one parameter on the mesh: every process has all of it; devices get their part."""
    return jax.make_array_from_callback(
        array.shape, parameter_sharding(name, array.shape, mesh), lambda index: array[index]
    )


def place_parameters(tree: Any, mesh: Mesh, rules: Rules = RULES) -> Any:
    """A tree of parameters on the mesh; of shapes (`jax.eval_shape`): where each is to lie."""

    def put_leaf(path: tuple[Any, ...], leaf: Any) -> Any:
        wanted = parameter_sharding(names.path_name(path), leaf.shape, mesh, rules)
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=wanted)
        return leaf if leaf.sharding == wanted else jax.device_put(leaf, wanted)

    return jax.tree_util.tree_map_with_path(put_leaf, tree)


def place_rows(tree: Any, mesh: Mesh | None) -> Any:
    """Puts arrays whose first dimension is rows on the mesh; without one, leaves them.

    Each process puts its own share of the rows.

    Raises:
        ConfigError: the rows cannot be split evenly.
    """
    if mesh is None:
        return tree

    def put_array(array: np.ndarray) -> jax.Array:
        rows = len(array) * len({device.process_index for device in mesh.devices.flat})
        wanted = spec(
            "a batch", ("rows", *[None] * (array.ndim - 1)), (rows, *array.shape[1:]), mesh
        )
        return jax.make_array_from_process_local_data(
            NamedSharding(mesh, wanted), np.asarray(array), (rows, *array.shape[1:])
        )

    return jax.tree.map(put_array, tree)


def mesh_of(tree: Any) -> Mesh | None:
    """The mesh that a tree of arrays lies on; None: no mesh."""
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf.sharding, NamedSharding) and isinstance(leaf.sharding.mesh, Mesh):
            return leaf.sharding.mesh
    return None


def using(mesh: Mesh | None) -> contextlib.AbstractContextManager[Any]:
    """Inside, `constrained` speaks of this mesh."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def constrained(x: jax.Array, *axes: str | None) -> jax.Array:
    """An activation split as `RULES` say, where a mesh is in use; elsewhere x itself.

    Without it the compiler would rather split activations over their width, as the parameters are,
    than fetch parameters.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or any(kind is not AxisType.Auto for kind in mesh.axis_types):
        return x
    return jax.lax.with_sharding_constraint(
        x, PartitionSpec(*(RULES[name] if name else None for name in axes))
    )


def replicated(tree: Any, mesh: Mesh) -> Any:
    """Puts a tree of arrays whole on every device of a mesh."""
    return jax.device_put(tree, NamedSharding(mesh, WHOLE))


def groups(mesh: Mesh | None) -> int:
    """Groups of devices that have rows of their own."""
    return 1 if mesh is None else mesh.shape["data"] * mesh.shape["fsdp"]


def part_of(arch: Arch, mesh: Mesh | None) -> Arch:
    """The decoder as a device that shares layers has it; its embedding is counted whole."""
    if mesh is None:
        return arch
    tensor = mesh.shape["tensor"]
    parts = {name: getattr(arch, name) // tensor for name in ("heads", "kv_heads", "mlp_width")}
    return dataclasses.replace(arch, **parts)


def spec_of(array: jax.Array) -> PartitionSpec:
    """How an array is split."""
    return array.sharding.spec if isinstance(array.sharding, NamedSharding) else WHOLE


def by_device(
    function: Callable[..., Any], mesh: Mesh | None, given: Any, gives: Any
) -> Callable[..., Any]:
    """A function that every device of a mesh calls with its own parts.

    `given` and `gives` say how arguments and results are divided.

    Inside, `summed`, `gathered` and `first_row` let devices that share a layer work together.
    Without a mesh: the function itself.
    """
    if mesh is None:
        return function
    return jax.shard_map(function, mesh=mesh, in_specs=given, out_specs=gives, check_vma=False)


def summed(x: jax.Array) -> jax.Array:
    """The sum over the devices that share a layer (inside `by_device`); elsewhere x itself."""
    return jax.lax.psum(x, "tensor") if _shares_layers() else x


def gathered(x: jax.Array) -> jax.Array:
    """The last dimensions of those devices, joined (inside `by_device`); elsewhere x itself."""
    return jax.lax.all_gather(x, "tensor", axis=x.ndim - 1, tiled=True) if _shares_layers() else x


def first_row(rows: int) -> jax.Array | int:
    """Which row of a divided matrix this device's `rows` begin with."""
    return jax.lax.axis_index("tensor") * rows if _shares_layers() else 0


def _shares_layers() -> bool:
    mesh = jax.sharding.get_abstract_mesh()
    return dict(zip(mesh.axis_names, mesh.axis_types, strict=True)).get("tensor") is AxisType.Manual


def _parts(name: str, mesh: Any, rules: Rules) -> int:
    """Into how many parts a dimension is split."""
    return math.prod(mesh.shape[axis] for axis in rules[name])
