"""The sampling engine: prompts in, completions out, a calculator in the loop. Knows no grader, no table and no other stage."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from verifier.config import SampleConfig, UserError
from verifier.decode import memory, steps
from verifier.decode.annotations import Calculator
from verifier.decode.batch import Batch, Completion, Counts, Prompt
from verifier.model.transformer import Transformer
from verifier.text.tokenizer import Tokenizer

__all__ = ["Completion", "Counts", "Engine", "Prompt", "PromptTooLong"]


class PromptTooLong(UserError):
    """Prompts that leave no room for `max_new_tokens` in the model's context."""

    def __init__(self, problem_ids: Sequence[str], room: int) -> None:
        self.problem_ids = list(problem_ids)
        shown = ", ".join(self.problem_ids[:5]) + (", ..." if len(self.problem_ids) > 5 else "")
        super().__init__(
            f"{len(self.problem_ids)} prompts have more than {room} tokens (context - sample.max_new_tokens): problems {shown}. "
            "Leave them out (Engine.split) or lower sample.max_new_tokens."
        )


class Engine:
    """Draws J solutions of every problem. Sample (p, j) depends on (seed, problem_id, j) alone, on no batch size, order or subset."""

    def __init__(
        self,
        transformer: Transformer,
        tokenizer: Tokenizer,
        config: SampleConfig,
        seed: int,
        progress: Callable[[Counts], None] | None = None,
    ) -> None:
        """Args:

        transformer: the generator; `transformer.arch.context` bounds prompt and solution together. With activations of another type
            than float32 a copy of its weights in that type is made here, once.
        tokenizer: its tokenizer.
        config: temperature, top_k, top_p, max_new_tokens, calculator, rows (slots), memory_gib.
        seed: any int; drawing with the same seed gives the same tokens.
        progress: called after every step with what has been done since `run` began.

        Raises:
            UserError: no tokens to write.
        """
        if config.max_new_tokens < 1:
            raise UserError(f"sample.max_new_tokens is {config.max_new_tokens}, but must be at least 1.")
        self.tokenizer = tokenizer
        self.config = config
        self.seed = seed
        self.room = transformer.arch.context - config.max_new_tokens  # longest prompt
        self._arch = transformer.arch
        self._progress = progress or (lambda _: None)
        frame, self._weights = steps.take_apart(transformer, tokenizer.vocab_size)
        self._static = steps.DecodeStatic(frame, tokenizer.vocab_size, tokenizer.end_id, config.top_k, config.top_p)
        self._calculator = Calculator(tokenizer, on=config.calculator)

    def split(self, prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[Prompt]]:
        """The prompts that `run` takes, and those that leave no room for `max_new_tokens`."""
        fitting = [prompt for prompt in prompts if len(prompt.tokens) <= self.room]
        return fitting, [prompt for prompt in prompts if len(prompt.tokens) > self.room]

    def plan(self, prompts: Sequence[Prompt], samples: int) -> memory.Plan:
        """How many slots and prompts of which size are held at once; see `memory.plan`."""
        work = memory.Work(max(len(prompt.tokens) for prompt in prompts), len(prompts), samples, self.config.max_new_tokens)
        return memory.plan(self._arch, self._weights, work, self.config.rows, self.config.memory_gib)

    def run(self, prompts: Sequence[Prompt], samples: int | Sequence[int]) -> Iterator[list[Completion]]:
        """Draws solutions; a problem is given out when its last one has ended, so the order of problems is not that of `prompts`.

        Args:
          prompts: one a problem, each problem once.
          samples: how many solutions a problem (sample ids from 0), or which sample ids.

        Returns:
          An iterator over the problems: all completions of one, by rising sample_id.

        Raises:
          PromptTooLong: at the call, before the device is touched.
          UserError: memory that does not hold one slot.
          ValueError: an empty prompt, a problem twice, or no samples.
        """
        sample_ids = sorted(range(samples) if isinstance(samples, int) else samples)
        self._check(prompts, sample_ids)
        ordered = sorted(prompts, key=lambda prompt: (-len(prompt.tokens), prompt.problem_id))  # rooms for prompts only ever shrink
        if not ordered:
            return iter(())
        plan = self.plan(ordered, len(sample_ids))
        return Batch(
            static=self._static,
            weights=self._weights,
            plan=plan,
            tokenizer=self.tokenizer,
            calculator=self._calculator,
            config=self.config,
            seed=self.seed,
            progress=self._progress,
        ).run(ordered, sample_ids)

    def _check(self, prompts: Sequence[Prompt], sample_ids: Sequence[int]) -> None:
        if not sample_ids or len(set(sample_ids)) < len(sample_ids) or sample_ids[0] < 0:
            raise ValueError(f"samples must be a positive number or different ids from 0 on, but gave the ids {list(sample_ids)[:10]}.")
        if len({prompt.problem_id for prompt in prompts}) < len(prompts):
            ids = sorted(prompt.problem_id for prompt in prompts)
            twice = sorted({first for first, second in itertools.pairwise(ids) if first == second})
            raise ValueError(f"{len(twice)} problems come twice: {twice[:5]}. Drop the repeats: they would get the same solutions.")
        if empty := [prompt.problem_id for prompt in prompts if not len(prompt.tokens)]:
            raise ValueError(f"{len(empty)} prompts are empty: problems {empty[:5]}. A prompt needs at least one token.")
        if too_long := self.split(prompts)[1]:
            raise PromptTooLong([prompt.problem_id for prompt in too_long], self.room)
