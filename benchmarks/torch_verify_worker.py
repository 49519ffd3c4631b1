"""A packed torch loop as a contender in training a verifier: a value head on the decoder, its
squared error at every token of a sample, the language-model loss on ground truth.

For the peers' environment.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from benchmarks import torch_model
from benchmarks.torch_worker import CLIP_NORM
from benchmarks.worker import serve


class Contender:
    """The loaded model, its value head and their optimiser."""

    def __init__(self) -> None:
        self._model: Any = None
        self._head: Any = None
        self._optimiser: Any = None

    def load(self, model: str, dtype: str, threads: int) -> dict[str, Any]:
        """Reads the weights, float32, and makes a head."""
        self._model, answer = torch_model.load(model, dtype, threads)
        self._head = torch.nn.Linear(self._model.config.hidden_size, 1).to(torch_model.device())
        trained = [*self._model.train().parameters(), *self._head.parameters()]
        self._optimiser = torch.optim.AdamW(trained, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.0)
        return answer

    def verify(self, rows: str, first: int, steps: int, autocast: bool) -> dict[str, Any]:
        """Takes steps of AdamW over the stored packed rows; `autocast` computes in bfloat16."""
        stored = np.load(rows)
        trained = [each for group in self._optimiser.param_groups for each in group["params"]]
        torch_model.finish()
        each, lost = [], []
        for index in range(first, first + steps):
            arrays = {name: stored[name][index] for name in stored}
            begun = time.monotonic()
            with torch.autocast(torch_model.device(), torch.bfloat16, enabled=autocast):
                loss = self._loss(arrays)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, CLIP_NORM)
            self._optimiser.step()
            self._optimiser.zero_grad(set_to_none=True)
            lost.append(float(loss))
            torch_model.finish()
            each.append(time.monotonic() - begun)
        return {"seconds": sum(each), "steps": steps, "losses": lost}

    def _loss(self, arrays: dict[str, np.ndarray]) -> torch.Tensor:
        """Mean squared error of the values that count, and mean cross-entropy; logits are worked
        out only where they are looked at.
        """
        inputs = torch_model.packed_inputs(
            arrays["tokens_BT"], arrays["positions_BT"], arrays["ends_BT"]
        )
        hidden = self._model.model(**inputs, use_cache=False).last_hidden_state
        place = torch_model.device()
        valued = torch.as_tensor(arrays["value_weight_BT"] > 0, device=place)
        labels = torch.as_tensor(arrays["value_target_BT"], device=place)[valued]
        values = self._head(hidden[valued]).float()[:, 0]
        learned = torch.as_tensor(arrays["lm_weight_BT"] > 0, device=place)
        target = torch.as_tensor(arrays["lm_target_BT"], device=place).long()[learned]
        logits = self._model.lm_head(hidden[learned]).float()
        return ((values - labels) ** 2).mean() + torch.nn.functional.cross_entropy(logits, target)


def main() -> None:
    """Serves until the driver hangs up."""
    own = Contender()
    serve(
        {"load": own.load, "verify": own.verify},
        ("torch", "transformers"),
        torch_model.device_bytes,
    )


if __name__ == "__main__":
    main()
