"""What torch reaches on this machine in plain matrix products and in reading memory.

For the peers' environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks import torch_model
from benchmarks.timing import best_seconds
from benchmarks.worker import serve


def load(dtype: str, threads: int) -> dict[str, Any]:
    """Nothing to load."""
    torch.set_num_threads(threads)
    return {"device": torch_model.device(), "dtype": dtype}


def measure(
    shapes: Sequence[tuple[int, int, int]], read_bytes: int, dtype: str, seconds: float
) -> dict[str, Any]:
    """Operations a second for each shape M x K x N, and bytes read a second of one large array of
    float32.
    """
    place = {"device": torch_model.device(), "dtype": torch_model.DTYPES[dtype]}

    def finished(found: torch.Tensor) -> torch.Tensor:
        torch_model.finish()
        return found

    rates = []
    for m, k, n in shapes:
        # Weights lie as [out, in], as torch's own linear layers have them.
        left, right = torch.ones((m, k), **place), torch.ones((n, k), **place)

        def product(left: torch.Tensor = left, right: torch.Tensor = right) -> torch.Tensor:
            return finished(left @ right.T)

        best = best_seconds(product, seconds)
        rates.append(2 * m * k * n / best)
    large = torch.ones(read_bytes // 4, device=place["device"])
    best = best_seconds(lambda: finished(large.max()), seconds)
    return {"flops_per_second": rates, "bytes_per_second": large.nbytes / best}


if __name__ == "__main__":
    serve({"load": load, "measure": measure}, ("torch",), torch_model.device_bytes)
