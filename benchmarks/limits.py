"""Job (f): the machine's limit: how fast it multiplies matrices and reads memory, by the better of
JAX and torch.

    python -m benchmarks.limits --model=FOLDER --peer-python=PEERS/bin/python

Measured over a square product and the model's own products with 100, 128 and 256 rows.
benchmarks.tables divides the least work of every job (needed.py says what counts) by these rates:
that time, over the measured one, is the job's share of the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import flags as flags_lib
from benchmarks import needed, results
from benchmarks.contenders import Contender
from benchmarks.rounds import Plan, compare

USUAL = ["jax", "torch"]


def shapes(sizes: needed.Sizes, square: int, rows: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """M x K x N of the products that are measured."""
    heads = sizes.head_width * (sizes.heads + 2 * sizes.kv_heads)
    inner = [
        (sizes.width, heads),
        (sizes.width, sizes.mlp_width),
        (sizes.mlp_width, sizes.width),
        (sizes.width, sizes.vocab_size),
    ]
    return [(square, square, square)] + [(m, k, n) for m in rows for k, n in inner]


def best(found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The best rates of all runs, and who reached them."""
    runs = [(name, run) for name, each in found.items() for run in each["runs"]]
    flops = max((max(run["flops_per_second"]), name) for name, run in runs)
    read = max((run["bytes_per_second"], name) for name, run in runs)
    return {
        "flops_per_second": flops[0],
        "flops_by": flops[1],
        "bytes_per_second": read[0],
        "bytes_by": read[1],
    }


def main() -> None:
    """Measures and writes the result."""
    parser = flags_lib.parser(__doc__)
    parser.add_argument(
        "--square", type=int, default=2048, help="side of the square product (8192 on a GPU)"
    )
    parser.add_argument("--read-mib", type=int, default=2048, help="size of the array that is read")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each shape")
    setting = flags_lib.Setting(parser.parse_args())
    flags = setting.flags
    dtype = {"dtype": flags.dtype}
    make: dict[str, Callable[[str], Contender]] = {
        "jax": lambda name: Contender(name, "limit_jax", setting.own_python, dtype),
        "torch": lambda name: Contender(
            name, "limit_torch", flags.peer_python, {**dtype, "threads": setting.threads}
        ),
    }
    measured = shapes(needed.sizes_of(setting.model), flags.square, (100, 128, 256))
    asked = {
        "shapes": measured,
        "read_bytes": flags.read_mib * 2**20,
        "seconds": flags.seconds,
        **dtype,
    }
    plan = Plan(
        "measure", lambda turn: asked, lambda: {**asked, "shapes": measured[-1:], "seconds": 0.1}
    )
    found = compare(setting.chosen(USUAL, make), plan, flags.rounds, setting.environment)
    facts = {
        "shapes": measured,
        "read_mib": flags.read_mib,
        "limit": best(found),
        "contenders": found,
    }
    results.write("limits", setting.threads, {**setting.facts(), **facts}, flags.results)


if __name__ == "__main__":
    flags_lib.guarded(main)
