"""A thought before a token that is drawn, and what the token is drawn from then (Quiet-STaR)."""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from verifier.errors import ConfigError
from verifier.model import cached_thoughts
from verifier.model.cached_thoughts import Rows
from verifier.model.mixing import mix
from verifier.model.thoughts import MARKS, Thinker
from verifier.model.transformer import Transformer


@dataclasses.dataclass(frozen=True)
class Thinking:
    """How rows think; static."""

    thought_tokens: int  # A, its start and its end among them: as many as while training
    mixing: Literal["hidden", "logprobs"] = "hidden"  # as while training
    # Before every token, or before those that begin a step
    every: Literal["token", "step"] = "token"

    def __post_init__(self) -> None:
        """Raises ConfigError for a thought without room for its marks."""
        if self.thought_tokens < MARKS:
            raise ConfigError(
                f"a thought of {self.thought_tokens} tokens has no room for its start and end, "
                "which count among them; take 2 or more, or set think.every=none"
            )

    @property
    def drawn(self) -> int:
        """I, the tokens between the marks."""
        return self.thought_tokens - MARKS

    @property
    def behind(self) -> str:
        """The letter behind which rows think; empty: behind every token."""
        return "\n" if self.every == "step" else ""


def backbone_of(model: Transformer | Thinker) -> Transformer:
    """The decoder of a model that may think."""
    return model.backbone if isinstance(model, Thinker) else model


def uniforms(keys_B2: jax.Array, written_B: jax.Array, drawn: int) -> jax.Array:
    """What thoughts are drawn with, float32 [I, B]: of fold_in(fold_in(key, t), i), i from 1 on.

    Token t itself is drawn with fold_in(key, t) (`sampling.uniforms`), which no i leads back to.

    Args:
        keys_B2: uint32 raw keys, those of samples.
        written_B: int32, t, tokens of each solution so far.
        drawn: static; I.
    """
    keys_B = jax.random.wrap_key_data(keys_B2, impl="threefry2x32")
    keys_B = jax.vmap(jax.random.fold_in)(keys_B, written_B)

    def of_depth(depth: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, depth)))(keys_B)

    return jax.vmap(of_depth)(jnp.arange(1, drawn + 1))


class Thinks(NamedTuple):
    """What rows think before their next tokens."""

    thinks_B: jax.Array  # bool
    keys_B2: jax.Array  # uint32 raw keys, those of their samples
    written_B: jax.Array  # int32, tokens of the solutions so far


def heed(
    thinking: Thinking,
    thinker: Thinker,
    hidden_BD: jax.Array,
    rows: Rows,
    thinks: Thinks,
    vocab_size: int,
) -> jax.Array:
    """The states that the next tokens are drawn from, [B, D].

    Of a row that thinks it is the mixture of its state with and without the thought. Both ways of
    mixing come to that: the output matrix is linear, and what is drawn from is made to sum to 1
    (`losses.quiet`); where log-probabilities are mixed the weight stays within 0 and 1.

    Args:
        thinking: static.
        thinker: whose decoder has read the rows.
        hidden_BD: of their newest tokens.
        rows: where these lie.
        thinks: where no row does, nothing is computed.
        vocab_size: static; ids from here on are never drawn.
    """

    def with_thoughts() -> jax.Array:
        uniform_IB = uniforms(thinks.keys_B2, thinks.written_B, thinking.drawn)
        thought_BD = cached_thoughts.think(thinker, rows, uniform_IB, vocab_size).end_BD
        weight_B = thinker.mixing(hidden_BD, thought_BD)
        if thinking.mixing == "logprobs":
            weight_B = jnp.clip(weight_B, 0.0, 1.0)
        mixed_BD = mix(hidden_BD, thought_BD, weight_B)
        return jnp.where(thinks.thinks_B[:, None], mixed_BD, hidden_BD)

    return jax.lax.cond(thinks.thinks_B.any(), with_thoughts, lambda: hidden_BD)
