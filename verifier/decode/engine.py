"""The sampling engine: prompts in, completions out, a calculator in the loop."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import jax
from jax.sharding import Mesh

from verifier.config import SampleConfig
from verifier.decode import memory, split_model
from verifier.decode import state as state_lib
from verifier.decode.annotations import Calculator
from verifier.decode.drawing import Drawing
from verifier.decode.job import (
    NOTHING_STORED,
    Completion,
    Counts,
    Hooks,
    Prompt,
    Stored,
    Writer,
    by_falling_length,
)
from verifier.decode.thinking import Thinking, backbone_of
from verifier.errors import UserError
from verifier.model import sharding
from verifier.model.arch import Arch
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer
from verifier.text.tokenizer import Tokenizer

__all__ = ["Completion", "Counts", "Engine", "Planner", "Prompt", "PromptTooLong", "Stored"]


class PromptTooLong(UserError):
    """Prompts that leave no room for `max_new_tokens` in the model's context."""

    def __init__(self, problem_ids: Sequence[str], room: int) -> None:
        self.problem_ids = list(problem_ids)
        listed = ", ".join(self.problem_ids[:5]) + (", ..." if len(self.problem_ids) > 5 else "")
        super().__init__(
            f"{len(self.problem_ids)} prompts have more than {room} tokens (context - "
            f"sample.max_new_tokens): problems {listed}. Leave them out (Engine.split) or lower "
            "sample.max_new_tokens."
        )


class Planner:
    """What is known before weights are read: which prompts fit, how much is held at once."""

    def __init__(
        self,
        arch: Arch,
        weights: Sequence[jax.Array | jax.ShapeDtypeStruct],
        config: SampleConfig,
        mesh: Mesh | None = None,
        thinking: Thinking | None = None,
    ) -> None:
        """Of a generator and a job's settings.

        Args:
            arch: of the generator; `arch.longest_prompt` bounds the prompts.
            weights: as `split_model.split` gives them, or the shapes that a device holds of them
                (`split_model.outline`).
            config: max_new_tokens, rows (slots), memory_gib.
            mesh: whose groups of devices share the work; None: the default device.
            thinking: of a generator that thinks; its thoughts must find room in the context, too.

        Raises:
            UserError: no tokens to write.
        """
        if config.max_new_tokens < 1:
            raise UserError(
                f"sample.max_new_tokens is {config.max_new_tokens}, but must be at least 1."
            )
        self.config = config
        # Before the last token a thought stands where that would, and beyond.
        self._thought_tokens = thinking.thought_tokens if thinking else 0
        self.room = arch.longest_prompt(config.max_new_tokens + max(self._thought_tokens - 1, 0))
        self._arch, self._weights, self._mesh = arch, weights, mesh

    def split(self, prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[Prompt]]:
        """The prompts that `Engine.run` takes, and those without room for `max_new_tokens`."""
        fitting = [prompt for prompt in prompts if len(prompt.tokens) <= self.room]
        return fitting, [prompt for prompt in prompts if len(prompt.tokens) > self.room]

    def plan(
        self, prompts: Sequence[Prompt], samples: int, processes: int | None = None
    ) -> memory.JobSizes:
        """How many slots and prompts of which size are held at once; see `memory.job_sizes`.

        processes: that share the prompts; None: all of the run.
        """
        groups = sharding.groups(self._mesh) * (processes or jax.process_count())
        job = memory.SamplingJob(
            max(len(prompt.tokens) for prompt in prompts) + len(self._arch.closing),
            len(prompts),
            samples,
            self.config.max_new_tokens,
            groups,
            self.config.share and not self._thought_tokens,  # each sample has thoughts of its own
            self._thought_tokens,
        )
        return memory.job_sizes(
            sharding.part_of(self._arch, self._mesh),
            self._weights,
            job,
            self.config.rows,
            self.config.memory_gib,
        )


class Engine(Planner):
    """Draws J solutions of every problem.

    Sample (p, j) is drawn with numbers that depend on (seed, problem_id, j) alone, on no batch
    size, order or subset; the distributions that it is drawn from do, in their last digits.
    """

    def __init__(
        self,
        model: Transformer | Thinker,
        tokenizer: Tokenizer,
        config: SampleConfig,
        seed: int,
        mesh: Mesh | None = None,
        thinking: Thinking | None = None,
    ) -> None:
        """Splits the generator and makes it ready for the steps.

        Args:
            model: the generator; its context bounds prompt and solution together. What of it must
                be cast or cut is copied here, unless `split_model.make_ready` has been called on
                it.
            tokenizer: its tokenizer.
            config: temperature, top_k, top_p, max_new_tokens, calculator, rows (slots), memory_gib,
                top_logprobs.
            seed: any int; drawing with the same seed gives the same tokens.
            mesh: whose groups of devices share the work, those of a group sharing each layer; None:
                the default device.
            thinking: how a thinker thinks; None: it writes as its decoder does.

        Raises:
            UserError: no tokens to write.
        """
        vocab_size, end_id = tokenizer.vocab_size, tokenizer.end_id
        backbone = backbone_of(model)
        model = backbone if thinking is None else model
        graphdef, weights = split_model.split(model, vocab_size, mesh)
        parts = () if mesh is None else tuple(map(sharding.spec_of, weights))
        held = weights if mesh is None else split_model.outline(model, vocab_size, mesh)
        super().__init__(backbone.arch, held, config, mesh, thinking)
        static = state_lib.DecodeStatic(
            graphdef,
            vocab_size,
            end_id,
            config.top_k,
            config.top_p,
            mesh,
            parts,
            config.top_logprobs,
            thinking,
        )
        behind = thinking.behind if thinking else ""
        self.writer = Writer(  # what every job of it needs
            backbone.arch,
            static,
            weights,
            tokenizer,
            Calculator(tokenizer, config.calculator, stop=config.stop, thinks_behind=behind),
            config,
            seed,
        )

    def run(
        self,
        prompts: Sequence[Prompt],
        samples: int | Sequence[int],
        sizes: memory.JobSizes | None = None,
        progress: Callable[[Counts], None] = lambda _: None,
        claim: Callable[[str], bool] = lambda _: True,
        stored: Stored = NOTHING_STORED,
    ) -> Iterator[list[Completion]]:
        """Draws solutions; a problem is given out when its last one has ended.

        The order of problems is therefore not that of `prompts`.

        Args:
            prompts: one a problem, each problem once.
            samples: how many solutions a problem (sample ids from 0), or which sample ids.
            sizes: what `plan` gave for them; None: it is asked now. The memory is taken at the
                call.
            progress: called after every step with what has been done so far.
            claim: asked of each problem's id before it is begun; problems that are another
                process's to do are passed over.
            stored: solutions of an earlier start with the same sizes; those of a problem are all
                there or none. They are not drawn and not given out again, but
                the others come out as they would then have: log-probabilities to the last bit.

        Returns:
            An iterator over the problems: all completions of one, by rising sample_id.

        Raises:
            PromptTooLong: at the call, before the device is touched.
            UserError: memory that does not hold one slot.
            ValueError: an empty prompt, a problem twice, or no samples.
        """
        sample_ids = sorted(range(samples) if isinstance(samples, int) else samples)
        self._check(prompts, sample_ids)
        ordered = by_falling_length(prompts)
        if not ordered:
            return iter(())
        hooks = Hooks(progress, claim, stored)
        return Drawing(
            self.writer, sizes or self.plan(ordered, len(sample_ids)), ordered, sample_ids, hooks
        ).run()

    def _check(self, prompts: Sequence[Prompt], sample_ids: Sequence[int]) -> None:
        if not sample_ids or len(set(sample_ids)) < len(sample_ids) or sample_ids[0] < 0:
            raise ValueError(
                "samples must be a positive number or different ids from 0 on, but gave the "
                f"ids {list(sample_ids)[:10]}."
            )
        if len({prompt.problem_id for prompt in prompts}) < len(prompts):
            ids = sorted(prompt.problem_id for prompt in prompts)
            twice = sorted({first for first, second in itertools.pairwise(ids) if first == second})
            raise ValueError(
                f"{len(twice)} problems come twice: {twice[:5]}. Drop the repeats: they would "
                "get the same solutions."
            )
        if empty := [prompt.problem_id for prompt in prompts if not len(prompt.tokens)]:
            raise ValueError(
                f"{len(empty)} prompts are empty: problems {empty[:5]}. A prompt needs at "
                "least one token."
            )
        known = self.writer.tokenizer.vocab_size
        if strange := [
            prompt.problem_id
            for prompt in prompts
            if max(prompt.tokens) >= known or min(prompt.tokens) < 0
        ]:
            fault = (
                f"{len(strange)} prompts have ids outside 0 to {known - 1}: problems {strange[:5]}"
            )
            raise ValueError(f"{fault}. Encode them with the generator's tokenizer.")
        if too_long := self.split(prompts)[1]:
            raise PromptTooLong([prompt.problem_id for prompt in too_long], self.room)
