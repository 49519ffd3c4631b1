"""The peers' model in torch: loaded alike for all jobs, and its share of the device.

For the peers' environment.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
import transformers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def device() -> str:
    """Where torch computes."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load(model: str, dtype: str, threads: int) -> tuple[Any, dict[str, Any]]:
    """The model in `dtype`, and the answer to the job "load"."""
    begun = time.monotonic()
    torch.set_num_threads(threads)
    loaded = (
        transformers.AutoModelForCausalLM.from_pretrained(model, dtype=DTYPES[dtype])
        .to(device())
        .eval()
    )
    weights = sum(each.numel() * each.element_size() for each in loaded.parameters())
    name = torch.cuda.get_device_name() if device() == "cuda" else "cpu"
    return loaded, {"seconds": time.monotonic() - begun, "weight_bytes": weights, "device": name}


def packed_inputs(
    tokens_BT: np.ndarray, positions_BT: np.ndarray, ends_BT: np.ndarray
) -> dict[str, torch.Tensor]:
    """Packed rows under a block-diagonal mask: a token sees those before it whose example has not
    ended.
    """
    ends = torch.as_tensor(ends_BT, device=device())
    order = torch.arange(ends.shape[1], device=device())
    seen = (order[None, :, None] >= order[None, None, :]) & (
        order[None, :, None] < ends[:, None, :]
    )
    # a row of padding sees itself, for a softmax over nothing is no number
    seen |= torch.eye(len(order), dtype=torch.bool, device=device())
    return {
        "input_ids": torch.as_tensor(tokens_BT, device=device()).long(),
        "position_ids": torch.as_tensor(positions_BT, device=device()).long(),
        "attention_mask": seen[:, None],
    }


def finish() -> None:
    """Waits until the device has done what it was told."""
    if device() == "cuda":
        torch.cuda.synchronize()


def device_bytes() -> int | None:
    """The device's own peak; None on a CPU."""
    return torch.cuda.max_memory_allocated() if device() == "cuda" else None
