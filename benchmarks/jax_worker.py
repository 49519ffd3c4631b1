"""This project as a contender: its engine, its scoring and its training step, called as the stages
call them.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import workload
from benchmarks.worker import Drawing, Job, serve
from verifier import config as config_lib
from verifier.decode.engine import Counts, Engine, Prompt
from verifier.decode.score import score_samples
from verifier.decode.score_rows import Solutions
from verifier.decode.split_model import make_ready
from verifier.hf.weights import load_weights
from verifier.model import lora
from verifier.model.heads import LinearHead, Verifier
from verifier.text.tokenizer import Tokenizer, load_tokenizer
from verifier.train import step
from verifier.train.losses import lm


class Endless:
    """A tokenizer whose end never comes: `end_id` is the value head's reserved id, which is outside
    the softmax and so never drawn.

    The model's own end token is a token like any other then; what follows it is no text, but costs
    the same.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.end_id = tokenizer.reserved_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class Contender:
    """The loaded model and what is made of it once."""

    def __init__(self) -> None:
        self._model: Any = None
        self._tokenizer: Any = None
        self._training: tuple[Any, Any, Any] | None = None  # programs, optimiser, parameters

    def load(self, model: str, dtype: str, context: int) -> dict[str, Any]:
        """Reads the weights; `context` bounds prompt and solution together, as model.context does
        in a run.
        """
        begun = time.monotonic()
        self._tokenizer = load_tokenizer(model)
        self._model = load_weights(
            pathlib.Path(model), tokenizer_size=self._tokenizer.vocab_size, dtype=jnp.dtype(dtype)
        )
        arch = self._model.arch
        self._model.arch = dataclasses.replace(arch, context=min(arch.context, context))
        jax.block_until_ready(nnx.state(self._model))
        weights = sum(
            leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(nnx.state(self._model))
        )
        return {
            "seconds": time.monotonic() - begun,
            "weight_bytes": weights,
            "device": jax.devices()[0].device_kind,
        }

    def sample(
        self,
        questions: Sequence[tuple[str, list[int]]],
        samples: int,
        drawing: Drawing,
        seed: int,
        calculator: bool,
        settings: Sequence[str] = (),
        keep: str = "",
    ) -> dict[str, Any]:
        """Draws solutions as the sampling stage does, tables apart.

        `settings`: further assignments to knobs; `keep`: a file for the solutions.
        """
        knobs = {
            "temperature": drawing["temperature"],
            "max_new_tokens": drawing["max_new_tokens"],
            "calculator": str(calculator).lower(),
        }
        assigned = [*(f"sample.{name}={value}" for name, value in knobs.items()), *settings]
        config = config_lib.override(config_lib.Config(), assigned).sample
        # as the sampling stage does; a second time changes nothing
        make_ready(self._model, self._tokenizer.vocab_size)
        tokenizer = Endless(self._tokenizer) if drawing["end_id"] is None else self._tokenizer
        engine = Engine(self._model, tokenizer, config, seed)
        prompts = [Prompt(problem_id, tokens) for problem_id, tokens in questions]
        counts = Counts()

        def note(so_far: Counts) -> None:
            nonlocal counts
            counts = so_far

        begun = time.monotonic()
        drawn = engine.run(prompts, samples, progress=note)
        found = {group[0].problem_id: group for group in drawn}
        seconds = time.monotonic() - begun
        solutions = [[each.tokens for each in found[problem_id]] for problem_id, _ in questions]
        if keep:
            workload.write_drawn(
                pathlib.Path(keep),
                workload.Drawn([workload.Question(*each) for each in questions], solutions),
            )
        ended = sum(each.finish == "eos" for group in found.values() for each in group)
        forced = sum(sum(each.forced) for group in found.values() for each in group)
        facts = {"ended": ended, "forced": forced, "counts": vars(counts)}
        return {"seconds": seconds, "solutions": solutions, **facts}

    def score(
        self,
        questions: Sequence[tuple[str, list[int]]],
        solutions: list[list[list[int]]],
        head: str,
        settings: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Scores solutions with a linear head whose numbers lie in the file `head`."""
        config = config_lib.override(config_lib.Config(), settings).score
        linear = LinearHead(self._model.arch.width)
        linear.kernel[...] = jnp.asarray(np.load(head))
        verifier = Verifier(self._model, linear)
        asked = [
            Solutions(q, p, range(len(s)), s)
            for (q, p), s in zip(questions, solutions, strict=True)
        ]
        begun = time.monotonic()
        found = {
            rows[0]["problem_id"]: rows
            for rows in score_samples(verifier, asked, config, "benchmark", "mse")
        }
        seconds = time.monotonic() - begun
        return {
            "seconds": seconds,
            "scores": [[row["score"] for row in found[q]] for q, _ in questions],
        }

    def train(
        self, rows: str, first: int, steps: int, learning_rate: float, settings: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Takes steps `first`, `first` + 1, ... of the stored packed rows, from the weights as they
        were loaded.
        """
        packed = workload.read_rows(rows, first, steps)
        whole = config_lib.override(
            config_lib.Config(), [f"finetune.learning_rate={learning_rate}", *settings]
        )
        config, loss = whole.finetune, lm.loss(self._tokenizer.vocab_size)
        if self._training is None:
            lora.attach(self._model, whole.model, jax.random.key(0))
            graph, params, constants = step.split_model(self._model)
            self._training = (
                *step.compile_steps((graph, constants), loss, config, 1000, 0, "finetune"),
                params,
            )
        programs, optimiser, params = self._training
        state = step.first_state(jax.tree.map(jnp.copy, params), optimiser)
        jax.block_until_ready(state)
        each, lost = [], []
        for batch in packed:
            begun = time.monotonic()
            state, numbers = programs.step(state, batch)
            lost.append(float(numbers["loss"]))
            jax.block_until_ready(state.params)
            each.append(time.monotonic() - begun)
        return {"seconds": sum(each), "each": each, "losses": lost}


def device_bytes() -> int | None:
    """The device's own peak; None on a CPU."""
    stats = jax.devices()[0].memory_stats()
    return None if stats is None else stats.get("peak_bytes_in_use")


def main() -> None:
    """Serves until the driver hangs up."""
    own = Contender()
    jobs: dict[str, Job] = {
        "load": own.load,
        "sample": own.sample,
        "score": own.score,
        "train": own.train,
    }
    serve(jobs, ("jax", "jaxlib", "flax", "numpy"), device_bytes)


if __name__ == "__main__":
    main()
