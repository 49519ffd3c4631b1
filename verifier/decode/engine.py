"""The sampling engine: prompts in, completions out, a calculator in the loop. Knows no grader, no table and no other stage."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from verifier.config import SampleConfig, UserError
from verifier.decode import steps
from verifier.decode.calculator_queue import CalculatorQueue, equals_table
from verifier.model import sampling
from verifier.model.transformer import Transformer
from verifier.text.tokenizer import Tokenizer

# Every pair of the two is compiled once, so both are few; attention to a shared prompt is cheap, to own tokens it is not.
PROMPT_ROOM = 64  # prompts are padded to this many tokens, or twice, four times, ... as many
SUFFIX_ROOMS = (128, 256)  # tokens of room for solutions; a group moves on to the next when one is full


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What a problem's solutions are drawn from: start tokens and the rendered question."""

    problem_id: str
    tokens: Sequence[int]


@dataclasses.dataclass(frozen=True)
class Completion:
    """One drawn solution. The lists run over its tokens; the end token, where it came, is the last one."""

    problem_id: str
    sample_id: int
    tokens: list[int]
    forced: list[bool]  # written by the calculator
    logprobs: list[float]  # the model's own, temperature 1; of forced tokens too
    finish: str  # "eos" | "length"
    text: str  # without the end token
    calculator_errors: int  # annotations that could not be evaluated


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
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Args:

        transformer: the generator; `transformer.arch.context` bounds prompt and solution together.
        tokenizer: its tokenizer.
        config: temperature, top_k, top_p, max_new_tokens, calculator, rows (solutions decoded at once).
        seed: any int; drawing with the same seed gives the same tokens.
        progress: called after every token with (solutions ended, tokens written) since its last call.
        """
        for name in ("rows", "max_new_tokens"):
            if getattr(config, name) < 1:
                raise ValueError(f"sample.{name} is {getattr(config, name)}, but must be at least 1.")
        self.tokenizer = tokenizer
        self.config = config
        self.seed = seed
        self.room = transformer.arch.context - config.max_new_tokens  # longest prompt
        self._context = transformer.arch.context
        self._progress = progress
        frame, self._weights = steps.take_apart(transformer)
        self._static = steps.DecodeStatic(frame, tokenizer.vocab_size, config.top_k, config.top_p)
        self._temperature = jnp.float32(config.temperature)
        self._has_equals_V = equals_table(tokenizer) if config.calculator else np.zeros(tokenizer.vocab_size, bool)

    def split(self, prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[Prompt]]:
        """The prompts that `run` takes, and those that leave no room for `max_new_tokens`."""
        fitting = [prompt for prompt in prompts if len(prompt.tokens) <= self.room]
        return fitting, [prompt for prompt in prompts if len(prompt.tokens) > self.room]

    def run(self, prompts: Sequence[Prompt], samples: int | Sequence[int]) -> Iterator[list[Completion]]:
        """Draws solutions; long prompts come first, so the order of problems is not that of `prompts`.

        Args:
          prompts: one a problem, each problem once.
          samples: how many solutions a problem (sample ids from 0), or which sample ids.

        Returns:
          An iterator over the problems: all completions of one, by rising sample_id.

        Raises:
          PromptTooLong: at the call, before the device is touched.
          ValueError: an empty prompt, a problem twice, or no samples.
        """
        sample_ids = sorted(range(samples) if isinstance(samples, int) else samples)
        self._check(prompts, sample_ids)
        return self._run(prompts, sample_ids)

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

    def _run(self, prompts: Sequence[Prompt], sample_ids: Sequence[int]) -> Iterator[list[Completion]]:
        pieces = -(-len(sample_ids) // self.config.rows)  # a problem's samples may need several groups
        samples = -(-len(sample_ids) // pieces)
        problems = min(max(1, self.config.rows // samples), max(1, len(prompts)))
        ordered = sorted(prompts, key=lambda prompt: (-len(prompt.tokens), prompt.problem_id))
        for first in range(0, len(ordered), problems):
            group = ordered[first : first + problems]
            prefix, hidden_PD = self._prefill(group, problems)
            completions: list[list[Completion]] = [[] for _ in group]
            for piece in range(0, len(sample_ids), samples):
                piece_ids = sample_ids[piece : piece + samples]
                keys_PJ2 = np.zeros((problems, samples, 2), np.uint32)
                for p, prompt in enumerate(group):
                    for j, sample_id in enumerate(piece_ids):
                        keys_PJ2[p, j] = sampling.sample_key(self.seed, prompt.problem_id, sample_id)
                used_PJ = np.zeros((problems, samples), bool)
                used_PJ[: len(group), : len(piece_ids)] = True
                room = _rooms(self.config.max_new_tokens)[0]
                keys = jnp.asarray(keys_PJ2)
                state, drawn = steps.start(self._static, self._weights, prefix, hidden_PD, keys, self._temperature, room)
                written = self._write(state, drawn, used_PJ)
                for p, prompt in enumerate(group):
                    rows = range(p * samples, p * samples + len(piece_ids))
                    completions[p] += [self._completion(prompt, j, written, row) for j, row in zip(piece_ids, rows, strict=True)]
            yield from completions

    def _prefill(self, group: Sequence[Prompt], problems: int) -> tuple:
        """The prompts' keys and last hidden states; a group that is not full is filled with prompts of one token."""
        longest = max(len(prompt.tokens) for prompt in group)
        room = PROMPT_ROOM
        while room < longest:
            room *= 2
        tokens_PS = np.zeros((problems, min(room, self._context)), np.int32)
        length_P = np.ones(problems, np.int32)
        for p, prompt in enumerate(group):
            length_P[p] = len(prompt.tokens)
            tokens_PS[p, : length_P[p]] = prompt.tokens
        return steps.prefill(self._static, self._weights, jnp.asarray(tokens_PS), jnp.asarray(length_P))

    def _write(self, state: steps.DecodeState, drawn: steps.Drawn, used_PJ: np.ndarray) -> _Written:
        """Decodes a group in lockstep until all its rows have ended."""
        limit = self.config.max_new_tokens
        rows = used_PJ.size
        queue = CalculatorQueue(self.tokenizer, self._has_equals_V, rows)
        written = _Written(
            tokens_BT=np.zeros((rows, limit), np.int32),
            logprobs_BT=np.zeros((rows, limit), np.float32),
            forced_BT=np.zeros((rows, limit), bool),
            length_B=np.full(rows, limit),
            errors_B=queue.errors_B,
        )
        nothing_PJ = jnp.full(used_PJ.shape, -1, jnp.int32)
        rooms = iter(_rooms(limit))
        room = next(rooms)
        running_B = used_PJ.reshape(rows).copy()
        forced_B = None
        for t in range(limit):
            if forced_B is not None:
                written.forced_BT[:, t] = forced_B >= 0
            written.tokens_BT[:, t] = np.asarray(drawn.token_PJ).reshape(rows)
            written.logprobs_BT[:, t] = np.asarray(drawn.logprob_PJ).reshape(rows)
            state = self._watch(state, queue, written, running_B, t)
            ended_B = running_B & (written.tokens_BT[:, t] == self.tokenizer.end_id)
            written.length_B[ended_B] = t + 1
            if self._progress is not None:
                self._progress(int((running_B if t + 1 == limit else ended_B).sum()), int(running_B.sum()))
            running_B &= ~ended_B
            if t + 1 == limit or not running_B.any():
                break
            if t == room:
                room = next(rooms)
                state = steps.grow(state, room)
            forced_B = queue.take()
            forced_PJ = nothing_PJ if forced_B is None else jnp.asarray(forced_B.reshape(used_PJ.shape))
            state, drawn = steps.generate(self._static, self._weights, state, forced_PJ, self._temperature)
        return written

    def _watch(
        self, state: steps.DecodeState, queue: CalculatorQueue, written: _Written, running_B: np.ndarray, t: int
    ) -> steps.DecodeState:
        """Lets the calculator look at the rows whose newest token has an `=`; writes over tokens that read on past it."""
        replaced: dict[int, int] = {}
        for row in queue.suspects(written.tokens_BT[:, t], running_B & ~written.forced_BT[:, t]):
            token = queue.look(row, written.tokens_BT[row, : t + 1].tolist())
            if token is not None:
                replaced[row] = token
        if not replaced:
            return state
        forced_B = np.full(len(running_B), -1, np.int32)
        forced_B[list(replaced)] = list(replaced.values())
        state, drawn = steps.replace(self._static, self._weights, state, jnp.asarray(forced_B.reshape(state.token_PJ.shape)))
        row_s = np.fromiter(replaced, int)
        written.tokens_BT[row_s, t] = forced_B[row_s]
        written.forced_BT[row_s, t] = True
        written.logprobs_BT[row_s, t] = np.asarray(drawn.logprob_PJ).reshape(-1)[row_s]
        return state

    def _completion(self, prompt: Prompt, sample_id: int, written: _Written, row: int) -> Completion:
        length = int(written.length_B[row])
        tokens = written.tokens_BT[row, :length].tolist()
        return Completion(
            problem_id=prompt.problem_id,
            sample_id=sample_id,
            tokens=tokens,
            forced=written.forced_BT[row, :length].tolist(),
            logprobs=written.logprobs_BT[row, :length].tolist(),
            finish="eos" if tokens[-1] == self.tokenizer.end_id else "length",
            text=self.tokenizer.decode(tokens),
            calculator_errors=int(written.errors_B[row]),
        )


class _Written(NamedTuple):
    """What a group of rows wrote, on the host; entries from `length_B` on mean nothing."""

    tokens_BT: np.ndarray  # int32
    logprobs_BT: np.ndarray  # float32
    forced_BT: np.ndarray  # bool
    length_B: np.ndarray
    errors_B: np.ndarray  # int32


def _rooms(limit: int) -> list[int]:
    """The rooms that a group goes through: the newest token is never stored, so `limit` - 1 is the most that is needed."""
    most = max(limit - 1, 1)
    return [room for room in SUFFIX_ROOMS if room < most] + [most]
