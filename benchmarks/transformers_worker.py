"""transformers as a contender in sampling: `generate` prompt by prompt, or its continuous batching. For the peers' environment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
import transformers

from benchmarks import torch_model
from benchmarks.worker import Drawing, serve

PAGE_TOKENS = 32  # of its cache; whole pages are what samples of a prompt can share


class Contender:
    """The loaded model."""

    def __init__(self) -> None:
        self._model: Any = None

    def load(self, model: str, dtype: str, threads: int) -> dict[str, Any]:
        """Reads the weights."""
        self._model, answer = torch_model.load(model, dtype, threads)
        return answer

    def sample(
        self, questions: Sequence[tuple[str, list[int]]], samples: int, drawing: Drawing, seed: int, continuous: str = ""
    ) -> dict[str, Any]:
        """Draws solutions; `continuous`: "" for `generate`, or how continuous batching is sized, "automatic" or "needed"."""
        torch.manual_seed(seed)
        end_id = drawing["end_id"]
        # `generate` fills what its settings leave open from the model's own.
        self._model.generation_config = transformers.GenerationConfig()
        settings = transformers.GenerationConfig(
            do_sample=True,
            temperature=drawing["temperature"],
            top_k=0,
            top_p=1.0,
            max_new_tokens=drawing["max_new_tokens"],
            num_return_sequences=samples,
            eos_token_id=end_id,
            pad_token_id=0 if end_id is None else end_id,
            use_cache=True,
        )
        prompts = [tokens for _, tokens in questions]
        sizes = _needed_sizes(samples, sum(drawing["room"])) if continuous == "needed" else None
        begun = time.monotonic()
        written, each = self._continuous(prompts, settings, sizes) if continuous else self._one_by_one(prompts, settings)
        seconds = time.monotonic() - begun
        lengths = [[_length(row, end_id) for row in rows] for rows in written]
        ended = sum(row[length - 1] == end_id for rows, row_lengths in zip(written, lengths, strict=True)
                    for row, length in zip(rows, row_lengths, strict=True))  # fmt: skip
        return {"seconds": seconds, "lengths": lengths, "ended": int(ended), "each": each, "first": written[0][0][: lengths[0][0]]}

    def _one_by_one(self, prompts: list[list[int]], settings: Any) -> tuple[list[list[list[int]]], list[float]]:
        """`generate` with all samples of a prompt as its batch, as its documentation has it."""
        written, each = [], []
        for prompt in prompts:
            begun = time.monotonic()
            tokens = torch.tensor([prompt], device=torch_model.device())
            with torch.inference_mode():
                rows = self._model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=settings)
            written.append(rows[:, len(prompt) :].tolist())
            each.append(time.monotonic() - begun)
        return written, each

    def _continuous(self, prompts: list[list[int]], settings: Any, sizes: Any) -> tuple[list[list[list[int]]], list[float]]:
        """`generate_batch` over all prompts; samples of a prompt are forks of one request that share its blocks."""
        samples = settings.num_return_sequences
        limit = settings.max_new_tokens
        found = list(self._model.generate_batch(prompts, settings, sizes, max_new_tokens=limit, persistent_manager=True).values())
        if len(found) < len(prompts) * samples or any(each.error for each in found):
            raise RuntimeError(f"generate_batch: {len(found)} of {len(prompts) * samples} solutions came back")
        rows = [each.generated_tokens for each in found]
        return [rows[first : first + samples] for first in range(0, len(rows), samples)], []


def _needed_sizes(samples: int, longest: int) -> Any:
    """A cache for as many requests at once as the others have rows.

    Left alone on a CPU, transformers takes most of the machine's memory for a cache and a mask, and 20 seconds to fill them.
    """
    pages = samples * (-(-longest // PAGE_TOKENS) + 1)
    return transformers.ContinuousBatchingConfig(
        max_requests_per_batch=samples, max_batch_tokens=max(samples, longest), num_blocks=pages, page_size=PAGE_TOKENS
    )


def _length(row: list[int], end_id: int | None) -> int:
    """Tokens of a solution up to and with its end; padding follows."""
    return row.index(end_id) + 1 if end_id in row else len(row)


def main() -> None:
    """Serves until the driver hangs up."""
    own = Contender()
    serve({"load": own.load, "sample": own.sample}, ("torch", "transformers"), torch_model.device_bytes)


if __name__ == "__main__":
    main()
