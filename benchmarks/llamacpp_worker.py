"""llama.cpp as a contender in sampling: a prompt decoded once, shared by all its sequences.

For the peers' environment.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from typing import Any

import gguf
import llama_cpp
import numpy as np

from benchmarks.worker import Drawing, serve


class Contender:
    """The loaded model and its context."""

    def __init__(self) -> None:
        self._model: Any = None
        self._threads = 1
        self._context: _Context | None = None

    def load(self, model: str, threads: int) -> dict[str, Any]:
        """Reads the GGUF file; all layers go to the accelerator where llama.cpp was built for
        one.
        """
        begun = time.monotonic()
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 999 if llama_cpp.llama_supports_gpu_offload() else 0
        self._model = llama_cpp.llama_model_load_from_file(model.encode(), parameters)
        if not self._model:
            raise RuntimeError("llama.cpp could not read the GGUF file")
        self._threads = threads
        place = "accelerator" if llama_cpp.llama_supports_gpu_offload() else "cpu"
        return {
            "seconds": time.monotonic() - begun,
            "weight_bytes": llama_cpp.llama_model_size(self._model),
            "device": place,
        }

    def sample(
        self,
        questions: Sequence[tuple[str, list[int]]],
        samples: int,
        drawing: Drawing,
        seed: int,
        unified: bool,
    ) -> dict[str, Any]:
        """Draws solutions, one prompt after the other.

        `unified`: one cache that all sequences attend over, else one a sequence.
        """
        if self._context is None:
            self._context = _Context(
                self._model, self._threads, (samples, *drawing["room"]), unified
            )
        random = np.random.default_rng(seed)
        solutions, each = [], []
        begun = time.monotonic()
        for _, prompt in questions:
            started = time.monotonic()
            solutions.append(self._context.draw(prompt, samples, drawing, random))
            each.append(time.monotonic() - started)
        seconds = time.monotonic() - begun
        ended = sum(row[-1] == drawing["end_id"] for rows in solutions for row in rows)
        return {"seconds": seconds, "solutions": solutions, "ended": ended, "each": each}


class _Context:
    """A llama.cpp context for a number of sequences, and its batch."""

    def __init__(
        self, model: Any, threads: int, sizes: tuple[int, int, int], unified: bool
    ) -> None:
        samples, prompt, new = sizes
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_seq_max = samples
        # With one cache for all, the prompt is in it once; with one a sequence, llama.cpp divides
        # n_ctx among the sequences.
        padded = -(-(prompt + new) // 256) * 256
        parameters.n_ctx = prompt + samples * new if unified else samples * padded
        parameters.n_batch = parameters.n_ubatch = max(512, samples)
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = unified
        kinds = gguf.GGMLQuantizationType
        parameters.type_k = parameters.type_v = (
            kinds.F32 if _is_float32(model) else kinds.BF16
        ).value
        parameters.no_perf = True
        self._handle = llama_cpp.llama_init_from_model(model, parameters)
        if not self._handle:
            raise RuntimeError(
                f"llama.cpp could not make a context of {parameters.n_ctx} tokens for "
                f"{samples} sequences"
            )
        self._memory = llama_cpp.llama_get_memory(self._handle)
        self._batch = llama_cpp.llama_batch_init(parameters.n_batch, 0, 1)
        self._most = parameters.n_batch
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def draw(
        self, prompt: list[int], samples: int, drawing: Drawing, random: np.random.Generator
    ) -> list[list[int]]:
        """Solutions of one prompt: it is decoded once into sequence 0 and copied; then one batch a
        step, a token a running sequence.
        """
        end_id, temperature = drawing["end_id"], drawing["temperature"]
        llama_cpp.llama_memory_clear(self._memory, True)
        for first in range(0, len(prompt), self._most):
            part = prompt[first : first + self._most]
            positions = range(first, first + len(part))
            self._decode(
                part, positions, [0] * len(part), [place == len(prompt) - 1 for place in positions]
            )
        for sequence in range(1, samples):
            llama_cpp.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
        first_tokens = _drawn(np.repeat(self._logits(1), samples, axis=0), temperature, random)
        written = [[int(token)] for token in first_tokens]
        running = [row for row in range(samples) if written[row][-1] != end_id]
        for step in range(drawing["max_new_tokens"] - 1):
            if not running:
                break
            self._decode(
                [written[row][-1] for row in running],
                [len(prompt) + step] * len(running),
                running,
                [True] * len(running),
            )
            for row, token in zip(
                running,
                _drawn(self._logits(len(running)), temperature, random).tolist(),
                strict=True,
            ):
                written[row].append(token)
            running = [row for row in running if written[row][-1] != end_id]
        return written

    def _decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        wanted: Sequence[bool],
    ) -> None:
        """Reads tokens into the cache; logits are kept where they are wanted."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for place, (token, position, sequence, want) in enumerate(
            zip(tokens, positions, sequences, wanted, strict=True)
        ):
            batch.token[place] = token
            batch.pos[place] = position
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = sequence
            batch.logits[place] = want
        status = llama_cpp.llama_decode(self._handle, batch)
        if status:
            raise RuntimeError(f"llama_decode gave {status} for {len(tokens)} tokens")

    def _logits(self, rows: int) -> np.ndarray:
        """What was wanted of the last batch, float32 [rows, vocabulary]; a view that the next batch
        overwrites.
        """
        pointer = llama_cpp.llama_get_logits(self._handle)
        return np.ctypeslib.as_array(
            ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (rows, self._vocab_size)
        )


def _drawn(logits: np.ndarray, temperature: float, random: np.random.Generator) -> np.ndarray:
    """A token a row from softmax(logits / temperature), all rows at once, by inverting the
    distribution function.
    """
    weights = logits - logits.max(axis=1, keepdims=True)
    weights /= np.float32(temperature)
    np.exp(weights, out=weights)
    np.cumsum(weights, axis=1, out=weights)
    threshold = random.random(len(weights), dtype=np.float32) * weights[:, -1]
    found = [
        np.searchsorted(row, at, side="right") for row, at in zip(weights, threshold, strict=True)
    ]
    return np.minimum(found, logits.shape[1] - 1)


def _is_float32(model: Any) -> bool:
    """Whether the matrices take four bytes a number: the cache then does so too, as in the other
    contenders.
    """
    return llama_cpp.llama_model_size(model) >= 3.5 * llama_cpp.llama_model_n_params(model)


def main() -> None:
    """Serves until the driver hangs up."""
    own = Contender()
    serve({"load": own.load, "sample": own.sample}, ("llama_cpp_python",), lambda: None)


if __name__ == "__main__":
    main()
