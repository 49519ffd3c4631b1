"""What tests of jobs share: prompts, plain samples, and whether two jobs drew the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.decode import engine_test
from tests.decode.near_ties import Drawn
from verifier.config import SampleConfig
from verifier.decode.engine import Completion, Engine
from verifier.decode.job import by_falling_length

PROMPTS = by_falling_length(engine_test.PROMPTS)


def engine_of(config: SampleConfig, seed: int) -> Engine:
    return Engine(*engine_test.nudged(), config, seed)


def drawn_at_once(
    config: SampleConfig, samples: int, seed: int
) -> dict[tuple[str, int], Completion]:
    """The engine's own samples of all prompts."""
    return {
        (each.problem_id, each.sample_id): each
        for group in engine_of(config, seed).run(PROMPTS, samples)
        for each in group
    }


def tokens_of(drawn: Mapping[tuple[str, int], Completion]) -> dict[tuple[str, int], list[int]]:
    return {key: each.tokens for key, each in drawn.items()}


def assert_same(
    here: Mapping[tuple[str, int], Sequence[int]],
    there: Mapping[tuple[str, int], Sequence[int]],
    config: SampleConfig,
    seed: int,
) -> None:
    """The same tokens, but for near ties."""
    model, tokenizer = engine_test.nudged()
    prompts = {prompt.problem_id: prompt.tokens for prompt in PROMPTS}
    Drawn(model, tokenizer.vocab_size, prompts, seed, config).parted(here, there)
