"""Plain torch loops as contenders in scoring and training, as users write them.

For the peers' environment.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import torch_model
from benchmarks.worker import serve

CLIP_NORM = 1.0  # as the project's own
IGNORED = -100  # a target that the loss does not look at


class Contender:
    """The loaded model, and the weights it had at first."""

    def __init__(self) -> None:
        self._model: Any = None
        self._dtype = "float32"
        self._optimiser: Any = None

    def load(self, model: str, dtype: str, threads: int) -> dict[str, Any]:
        """Reads the weights; training wants float32."""
        self._dtype = dtype
        self._model, answer = torch_model.load(model, dtype, threads)
        return answer

    def score(
        self,
        questions: Sequence[tuple[str, list[int]]],
        solutions: list[list[list[int]]],
        head: str,
        batch: int,
        by_length: bool,
    ) -> dict[str, Any]:
        """A value at the last token of prompt and solution, read whole for every solution, padded
        to the longest of its batch.

        `by_length`: all texts in the order of their lengths first, so that little is padded; else
        in the order they are stored.
        """
        kernel = torch.tensor(
            np.load(head), device=torch_model.device(), dtype=torch_model.DTYPES[self._dtype]
        )
        texts = [
            (p, s, prompt + tokens)
            for p, (_, prompt) in enumerate(questions)
            for s, tokens in enumerate(solutions[p])
        ]
        if by_length:
            texts.sort(key=lambda text: len(text[2]))
        found = [[0.0] * len(each) for each in solutions]
        torch_model.finish()
        begun = time.monotonic()
        for first in range(0, len(texts), batch):
            part = texts[first : first + batch]
            tokens, mask = _padded([text for _, _, text in part])
            with torch.inference_mode():
                hidden = self._model.model(
                    input_ids=tokens, attention_mask=mask, use_cache=False
                ).last_hidden_state
                values = (hidden @ kernel).float()
                last = values[torch.arange(len(part)), mask.sum(dim=1) - 1].tolist()
            for (p, s, _), value in zip(part, last, strict=True):
                found[p][s] = value
        return {"seconds": time.monotonic() - begun, "scores": found}

    def train(
        self, rows: str, first: int, steps: int, learning_rate: float, packed: bool, autocast: bool
    ) -> dict[str, Any]:
        """Takes steps of AdamW over the stored rows: as they are packed, or their examples unpacked
        and padded to the longest.

        Weights are float32; `autocast` computes in bfloat16.
        """
        stored = np.load(rows)
        model = self._model.train()
        # its moments are made by the first step, which is one of the warm-up
        if self._optimiser is None:
            self._optimiser = torch.optim.AdamW(
                model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0
            )
        optimiser = self._optimiser
        torch_model.finish()
        each, lost = [], []
        for index in range(first, first + steps):
            arrays = {
                name: stored[name][index]
                for name in (
                    "tokens_BT",
                    "positions_BT",
                    "ends_BT",
                    "lm_weight_BT",
                    "lm_target_BT",
                )
            }
            inputs, target = (_packed_inputs if packed else _padded_inputs)(**arrays)
            begun = time.monotonic()
            with torch.autocast(torch_model.device(), torch.bfloat16, enabled=autocast):
                logits = model(**inputs, use_cache=False).logits
                loss = torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1).float(), target.flatten(), ignore_index=IGNORED
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            lost.append(float(loss))
            torch_model.finish()
            each.append(time.monotonic() - begun)
        return {"seconds": sum(each), "each": each, "losses": lost}


def _padded(texts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens padded on the right to the longest, and the mask of real ones."""
    longest = max(map(len, texts))
    tokens = torch.zeros((len(texts), longest), dtype=torch.long)
    mask = torch.zeros((len(texts), longest), dtype=torch.long)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.as_tensor(np.asarray(text))
        mask[row, : len(text)] = 1
    return tokens.to(torch_model.device()), mask.to(torch_model.device())


def _padded_inputs(
    tokens_BT: np.ndarray,
    positions_BT: np.ndarray,
    ends_BT: np.ndarray,
    lm_weight_BT: np.ndarray,
    lm_target_BT: np.ndarray,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """One row an example, whose positions count from 0 anyway."""
    target_BT = np.where(lm_weight_BT > 0, lm_target_BT, IGNORED)
    texts, targets = [], []
    for row, first in zip(*np.nonzero((positions_BT == 0) & (ends_BT > 0)), strict=True):
        texts.append(tokens_BT[row, first : ends_BT[row, first]])
        targets.append(target_BT[row, first : ends_BT[row, first]])
    tokens, mask = _padded(texts)
    target = torch.full(tokens.shape, IGNORED)
    for row, each in enumerate(targets):
        target[row, : len(each)] = torch.as_tensor(each)
    return {"input_ids": tokens, "attention_mask": mask}, target.to(torch_model.device())


def _packed_inputs(
    tokens_BT: np.ndarray,
    positions_BT: np.ndarray,
    ends_BT: np.ndarray,
    lm_weight_BT: np.ndarray,
    lm_target_BT: np.ndarray,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The packed rows; positions begin anew with each example."""
    target_BT = np.where(lm_weight_BT > 0, lm_target_BT, IGNORED)
    target = torch.as_tensor(target_BT, device=torch_model.device()).long()
    return torch_model.packed_inputs(tokens_BT, positions_BT, ends_BT), target


def main() -> None:
    """Serves until the driver hangs up."""
    own = Contender()
    serve(
        {"load": own.load, "score": own.score, "train": own.train},
        ("torch", "transformers"),
        torch_model.device_bytes,
    )


if __name__ == "__main__":
    main()
