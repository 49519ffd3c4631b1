"""transformers as a contender in sampling: `generate` prompt by prompt, or its continuous batching.

For the peers' environment.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from transformers.generation.continuous_batching.utils import WorkloadHints

from benchmarks import torch_model
from benchmarks.worker import Drawing, serve

MOST_ROWS = {"cpu": 128, "cuda": 1024}  # requests at once; as many as this project has at most
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
        self,
        questions: Sequence[tuple[str, list[int]]],
        samples: int,
        drawing: Drawing,
        seed: int,
        continuous: str = "",
    ) -> dict[str, Any]:
        """Draws solutions; `continuous`: "" for `generate`, or how continuous batching is sized,
        "automatic" or "needed".
        """
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
        if continuous:
            fitting = _needed_sizes(len(questions) * samples, sum(drawing["room"]))
            sizes = fitting if continuous == "needed" else transformers.ContinuousBatchingConfig()
            written, each = self._continuous(prompts, settings, sizes)
        else:
            written, each = self._one_by_one(prompts, settings)
        solutions = [[row[: _length(row, end_id)] for row in rows] for rows in written]
        ended = sum(row[-1] == end_id for rows in solutions for row in rows)
        return {"seconds": sum(each), "solutions": solutions, "ended": ended, "each": each}

    def _one_by_one(
        self, prompts: list[list[int]], settings: Any
    ) -> tuple[list[list[list[int]]], list[float]]:
        """`generate` with all samples of a prompt as its batch, as its documentation has it."""
        written, each = [], []
        for prompt in prompts:
            begun = time.monotonic()
            tokens = torch.tensor([prompt], device=torch_model.device())
            with torch.inference_mode():
                rows = self._model.generate(
                    tokens, attention_mask=torch.ones_like(tokens), generation_config=settings
                )
            written.append(rows[:, len(prompt) :].tolist())
            each.append(time.monotonic() - begun)
        return written, each

    def _continuous(
        self, prompts: list[list[int]], settings: Any, sizes: Any
    ) -> tuple[list[list[list[int]]], list[float]]:
        """What `generate_batch` does, all prompts in flight at once, samples of a prompt as forks
        of one request.

        Written out here so that the clock starts when its cache has been made; and a fresh cache
        each time, because one that is kept finds the whole prompts of the last round in it and then
        fails (a batch of no tokens; transformers 5.23).
        """
        wanted = len(prompts) * settings.num_return_sequences
        hints = WorkloadHints(max(map(len, prompts)), settings.max_new_tokens, wanted)
        found: dict[str, list[list[int]]] = {}
        with self._model.continuous_batching_context_manager(
            settings, timeout=5, continuous_batching_config=sizes, workload_hints=hints
        ) as manager:
            begun = time.monotonic()
            names = manager.add_requests(inputs=prompts, max_new_tokens=settings.max_new_tokens)
            while sum(map(len, found.values())) < wanted:
                answer = manager.get_result(timeout=1)
                if answer is None and not manager.is_running():
                    raise RuntimeError(
                        f"continuous batching stopped after {sum(map(len, found.values()))} of "
                        f"{wanted} solutions"
                    )
                if answer is not None and answer.error:
                    raise RuntimeError(f"continuous batching: {answer.error}")
                if answer is not None and answer.is_finished():
                    found.setdefault(answer.request_id.partition("__child#")[0], []).append(
                        answer.generated_tokens
                    )
            seconds = time.monotonic() - begun
        return [found[name] for name in names], [seconds]


def _needed_sizes(solutions: int, longest: int) -> Any:
    """A cache for as many requests at once as there are, up to `MOST_ROWS`.

    Left alone on a CPU, transformers takes most of the machine's memory for a cache and a mask, and
    20 seconds to fill them.
    """
    rows = min(solutions, MOST_ROWS[torch_model.device()])
    pages = rows * (-(-longest // PAGE_TOKENS) + 1)
    return transformers.ContinuousBatchingConfig(
        max_requests_per_batch=rows,
        max_batch_tokens=max(rows, longest),
        num_blocks=pages,
        page_size=PAGE_TOKENS,
    )


def _length(row: list[int], end_id: int | None) -> int:
    """Tokens of a solution up to and with its end; padding follows."""
    return row.index(end_id) + 1 if end_id in row else len(row)


def main() -> None:
    """Serves until the driver hangs up."""
    own = Contender()
    serve(
        {"load": own.load, "sample": own.sample},
        ("torch", "transformers"),
        torch_model.device_bytes,
    )


if __name__ == "__main__":
    main()
