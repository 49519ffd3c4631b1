"""Programs compiled for virtual CPU devices at two small depths.

What one of full depth holds is read off the line through both.

All layers are alike, or come in groups that are, so what a program holds grows by the same with
every group. The compiler is told to order operations by memory, as those of accelerators do; by
default the CPU's fetches the parameters of all layers first, and holds them together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from verifier.model.arch import Arch

# No machine code worth running is wanted.
OPTIONS: dict[str, Any] = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_backend_optimization_level": 0,
}
DEPTHS = (2, 4)  # measured from here: within 5% of compiled steps of 24 layers


class Size(NamedTuple):
    """Bytes of a program on one device."""

    given: int  # arguments, shared with results where they are donated
    # What it holds beside them at most; results that are not written over an argument among them.
    temporaries: int

    @property
    def total(self) -> int:
        return self.given + self.temporaries


def compiled(program: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compiles, and runs nothing."""
    return program.compile(compiler_options=OPTIONS)


def size(program: jax.stages.Compiled) -> Size:
    """What the compiler's assignment of buffers says."""
    memory = program.memory_analysis()
    assert memory is not None  # the CPU's compiler always gives one
    fresh = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Size(memory.argument_size_in_bytes, memory.temp_size_in_bytes + fresh)


def at_depth(measure: Callable[[int], dict[str, Size]], arch: Arch) -> dict[str, Size]:
    """What programs of a decoder's depth hold.

    Args:
        measure: compiles the programs with so many layers.
        arch: its layers, and every how many of them the kinds of layers repeat.
    """
    layers, period = arch.layers, arch.sliding_window_pattern or 1
    low, high = (-(-depth // period) * period for depth in DEPTHS)
    if layers <= high:
        return measure(layers)
    first, second = measure(low), measure(high)
    return {
        name: Size(
            *(
                round(b + (b - a) / (high - low) * (layers - high))
                for a, b in zip(first[name], second[name], strict=True)
            )
        )
        for name in first
    }
