"""Thoughts that are kept because the text behind them becomes likelier.

Quiet-STaR, Zelikman et al. 2024, in the order of the paper's section 4: think (4.2), talk (4.3),
learn (4.4).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from verifier.config import QuietConfig
from verifier.data.batches import Batch
from verifier.data.examples import Target
from verifier.errors import ConfigError
from verifier.model.mixing import mix
from verifier.model.thoughts import MARKS, Hidden, Thinker, Thoughts, ahead_of
from verifier.train.losses import lm
from verifier.train.losses.contract import Loss, LossPart, Term, Terms
from verifier.train.losses.cross_entropy import token_losses
from verifier.train.losses.terms import hidden, share, weighted


def loss(vocab_size: int, config: QuietConfig) -> Loss:
    """Prediction without thoughts, prediction with them, and REINFORCE, of a `Thinker`.

    Rows hold chains. Targets: those of `lm.loss`, and of `data.ahead.ahead_targets`
    "ahead_weight", of each of the M predictions behind a position's thoughts, and "policy_weight",
    of a position's reward.

    Terms: "lm", without thoughts; "talk", the mean over M predictions and P thoughts; "policy".
    Reported only: "reward", nats that thoughts gain over their M tokens; "mixing", the weight that
    predictions give a thought; "entropy" of a thought's tokens, in nats; "lm_share".

    With quiet.thought_tokens=0 it is `lm.loss` of the decoder, and the rest of the thinker stays as
    it is, but for weight decay.

    Args:
        vocab_size: ids that text can have; thoughts are made of these.
        config: of the thoughts.

    Raises:
        ConfigError: a thought without room for its start and end, or one thought a position that is
            measured by the mean over thoughts.
    """
    check(config)
    if not config.thought_tokens:
        plain = functools.partial(_plain_terms, vocab_size=vocab_size)
        return Loss(lm.TARGETS, {"lm": LossPart(1.0, "lm_weight")}, "lm", plain)
    parts = {
        "lm": LossPart(config.base_weight, "lm_weight"),
        "talk": LossPart(1.0 - config.base_weight, "ahead_weight"),
        "policy": LossPart(config.policy_weight, "policy_weight"),
    }
    terms = functools.partial(_terms, vocab_size=vocab_size, config=config)
    return Loss(targets(config), parts, "talk", terms, draws=True)


def targets(config: QuietConfig) -> dict[str, Target]:
    """What rows with thoughts are judged by; with quiet.thought_tokens=0 those of `lm.loss` do."""
    return dict(lm.TARGETS) | {
        "ahead_weight": Target(np.float32, (config.ahead,)),
        "policy_weight": Target(),
    }


def check(config: QuietConfig, context: int | None = None) -> None:
    """Refuses thoughts that cannot be.

    Args:
        config: of the thoughts.
        context: of the model; None: any.

    Raises:
        ConfigError: as `loss`; a window in which no position has all the tokens behind it that its
            thoughts are judged by, so that none would have a reward; or one that is longer than the
            context with its last thought.
    """
    count = config.thought_tokens
    if 0 < count < MARKS:
        raise ConfigError(
            f"quiet.thought_tokens={count} has no room for a thought's start and end, which count "
            "among its tokens; set 2 or more, or 0 for no thoughts"
        )
    if count and config.thoughts == 1 and config.baseline == "thoughts":
        raise ConfigError(
            "quiet.thoughts=1 with quiet.baseline=thoughts: one thought is never better than the "
            "mean over itself; set quiet.thoughts=2 or more, or quiet.baseline=none"
        )
    longest = config.tokens + (count + config.ahead - 1 if count else 0)
    if context is not None and longest > context:
        raise ConfigError(
            f"quiet.tokens={config.tokens} with quiet.thought_tokens={count} and "
            f"quiet.ahead={config.ahead} takes {longest} positions, more than the model's context "
            f"of {context}; lower one of them or raise model.context"
        )
    if count and config.ahead >= config.tokens:
        raise ConfigError(
            f"quiet.ahead={config.ahead} in windows of quiet.tokens={config.tokens}: no position "
            "has so many tokens behind it, and no thought would be rewarded; set quiet.ahead below "
            "quiet.tokens"
        )


def plain_losses(thinker: Thinker, batch: Batch, vocab_size: int, **how: Any) -> jax.Array:
    """-log p of each next token without any thought, [B, T]; arguments as in `judged`."""
    hidden_BTD = hidden(thinker.backbone, batch, **how)
    counts_BT = jnp.asarray(batch.targets["lm_weight"]) > 0
    return _losses(thinker, hidden_BTD, batch.targets["lm_target"], counts_BT, vocab_size)


class Judged(NamedTuple):
    """Thoughts, and predictions of the text behind them."""

    thoughts: Thoughts
    states: Hidden
    base_BT: jax.Array  # -log p of each next token without a thought
    base_BTM: jax.Array  # of the M tokens behind each
    talk_BTPM: jax.Array  # with a thought
    weight_BTPM: jax.Array  # of the thought

    def gain_BTPM(self) -> jax.Array:
        """What a thought adds to each log-probability, in nats, without a gradient.

        A weight of 0 leaves the prediction as it was, whatever products of other sizes round to.
        """
        gain_BTPM = self.base_BTM[:, :, None] - self.talk_BTPM
        return jax.lax.stop_gradient(jnp.where(self.weight_BTPM == 0, 0.0, gain_BTPM))


def _plain_terms(thinker: Thinker, batch: Batch, *, vocab_size: int, **how: Any) -> Terms:
    hidden_BTD = hidden(thinker.backbone, batch, **how)
    return lm.terms_of_hidden(thinker.backbone, hidden_BTD, batch, vocab_size)


def _terms(
    thinker: Thinker,
    batch: Batch,
    *,
    vocab_size: int,
    config: QuietConfig,
    draw_key: jax.Array,
    **how: Any,
) -> Terms:
    lm_weight_BT, ahead_BTM, policy_BT = (
        jnp.asarray(batch.targets[key]) for key in ("lm_weight", "ahead_weight", "policy_weight")
    )
    read = judged(thinker, batch, draw_key, vocab_size, config, **how)
    thoughts = read.thoughts
    # Learn: thoughts that made the text likelier than others did become likelier themselves.
    reward_BTP = read.gain_BTPM().sum(axis=3)
    advantage_BTP = advantage(reward_BTP, config)
    terms = {
        "lm": weighted(read.base_BT, lm_weight_BT),
        "talk": weighted(read.talk_BTPM.mean(axis=2), ahead_BTM),
        "policy": Term(jnp.float32(0), policy_BT.sum()),
        "reward": weighted(reward_BTP.mean(axis=2), policy_BT),
        "mixing": weighted(jax.lax.stop_gradient(read.weight_BTPM).mean(axis=2), ahead_BTM),
        "lm_share": share(lm_weight_BT, batch),
    }
    if says(config):
        nll_BTPI = _thought_losses(
            thinker,
            read.states,
            thoughts.tokens_BTPI,
            policy_BT,
            vocab_size,
            config.reinforce_temperature,
        )
        policy_BTP = advantage_BTP * nll_BTPI.mean(axis=3)
        terms["policy"] = weighted(policy_BTP.mean(axis=2), policy_BT)
        terms["entropy"] = weighted(-thoughts.logprob_BTPI.mean(axis=(2, 3)), policy_BT)
    return terms


def judged(
    thinker: Thinker,
    batch: Batch,
    draw_key: jax.Array,
    vocab_size: int,
    config: QuietConfig,
    **how: Any,
) -> Judged:
    """Thinks at every token, and talks behind every thought.

    Args:
        thinker: with thoughts.
        batch: with the `targets` of the loss.
        draw_key: as in `Thinker.draw`.
        vocab_size: as in `loss`.
        config: likewise.
        how: as in `Thinker.read`.
    """
    tokens_BT, positions_BT, ends_BT = (jnp.asarray(part) for part in batch[:3])
    rows = tokens_BT, positions_BT, ends_BT
    # Think: thoughts after every token at once. They are data from here on.
    drawn = config.thought_tokens - MARKS
    sizes = {"thoughts": config.thoughts, "drawn": drawn, "vocab_size": vocab_size}
    draws = says(config)
    thoughts = thinker.draw(rows, draw_key, **sizes) if draws else pauses(tokens_BT, **sizes)
    states = thinker.read(rows, thoughts.tokens_BTPI, ahead=config.ahead, **how)
    # Talk: the text behind each, predicted by what was held before and after it.
    counts_BT = jnp.asarray(batch.targets["lm_weight"]) > 0
    base_BT = _losses(thinker, states.text_BTD, batch.targets["lm_target"], counts_BT, vocab_size)
    base_BTM, *talked = _talk(thinker, states, base_BT, batch, (vocab_size, config))
    return Judged(thoughts, states, base_BT, base_BTM, *talked)


def says(config: QuietConfig) -> bool:
    """Whether thoughts have tokens that are drawn."""
    return config.thought_tokens > MARKS and config.thought_source == "drawn"


def pauses(tokens_BT: jax.Array, *, thoughts: int, drawn: int, vocab_size: int) -> Thoughts:
    """Thoughts of a token that no text has, as many as `Thinker.draw` gives (pause tokens, Goyal
    et al. 2024): its embedding is learned like any other.
    """
    shape = (*tokens_BT.shape, thoughts, drawn)
    return Thoughts(jnp.full(shape, vocab_size, jnp.int32), jnp.zeros(shape))


def advantage(reward_BTP: jax.Array, config: QuietConfig) -> jax.Array:
    """How much better a thought is than others of its position, without a gradient.

    The mean holds the thought's own reward, so that of P thoughts the expected gradient is
    (1 - 1 / P) times that of the expected reward.
    """
    if config.baseline == "thoughts":
        reward_BTP = reward_BTP - reward_BTP.mean(axis=2, keepdims=True)
    if config.clamp:
        reward_BTP = jnp.maximum(reward_BTP, 0.0)
    return jax.lax.stop_gradient(reward_BTP)


def _talk(
    thinker: Thinker,
    states: Hidden,
    base_BT: jax.Array,
    batch: Batch,
    sizes: tuple[int, QuietConfig],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Predictions of the M tokens behind every thought: `base_BTM`, `talk_BTPM`, `weight_BTPM`.

    hidden: w mixes the states, and so the logits, for the output matrix is linear. A softmax of
    mixed logits is the mixture of log-probabilities made to sum to 1: the published code is the
    paper's formula, normalised.

    logprobs: the formula as it stands, log p = (1 - w) log p_base + w log p_thought, with w within
    0 and 1, outside of which its chances may sum to more than 1. In both w weighs the thought, as
    in the code; the paper's is 1 - w.
    """
    vocab_size, config = sizes
    step_M = jnp.arange(config.ahead)
    counts_BTM = jnp.asarray(batch.targets["ahead_weight"]) > 0
    thought_BTPMD = states.branch_BTPCD[:, :, :, -config.ahead :]
    base_BTPMD = jnp.broadcast_to(
        ahead_of(states.text_BTD, step_M)[:, :, None], thought_BTPMD.shape
    )
    base_BTM = ahead_of(base_BT, step_M)
    target_BTM = ahead_of(jnp.asarray(batch.targets["lm_target"]), step_M)
    target_BTPM, counts_BTPM = (
        jnp.broadcast_to(each[:, :, None], thought_BTPMD.shape[:-1])
        for each in (target_BTM, counts_BTM)
    )
    weight_BTPM = thinker.mixing(base_BTPMD, thought_BTPMD)
    if config.mixing == "hidden":
        mixed_BTPMD = mix(base_BTPMD, thought_BTPMD, weight_BTPM)
        talk_BTPM = _losses(thinker, mixed_BTPMD, target_BTPM, counts_BTPM, vocab_size)
    else:
        weight_BTPM = _within_0_and_1(weight_BTPM)
        own_BTPM = _losses(thinker, thought_BTPMD, target_BTPM, counts_BTPM, vocab_size)
        talk_BTPM = (1 - weight_BTPM) * base_BTM[:, :, None] + weight_BTPM * own_BTPM
    return base_BTM, talk_BTPM, weight_BTPM


def _thought_losses(
    thinker: Thinker,
    states: Hidden,
    tokens_BTPI: jax.Array,
    policy_BT: jax.Array,
    vocab_size: int,
    temperature: float,
) -> jax.Array:
    """-log softmax(logits / temperature) of the tokens that were drawn.

    The first one is predicted by <start>. The marks are not drawn and have none.
    """
    before_BTPID = states.branch_BTPCD[:, :, :, : tokens_BTPI.shape[3]]
    colder = (before_BTPID / temperature).astype(before_BTPID.dtype)
    counts = jnp.broadcast_to((policy_BT > 0)[:, :, None, None], tokens_BTPI.shape)
    return _losses(thinker, colder, tokens_BTPI, counts, vocab_size)


def _losses(
    thinker: Thinker,
    states: jax.Array,
    targets: jax.typing.ArrayLike,
    counts: jax.Array,
    vocab_size: int,
) -> jax.Array:
    """-log p of each target [B, ...], of states [B, ..., D]; 0 where it does not count."""
    targets, rows = jnp.asarray(targets), len(states)
    losses = token_losses(
        states.reshape(rows, -1, states.shape[-1]),
        thinker.backbone.output_rows(),
        targets.reshape(rows, -1),
        counts.reshape(rows, -1),
        vocab_size,
    )
    return losses.reshape(targets.shape)


@jax.custom_vjp
def _within_0_and_1(weight: jax.Array) -> jax.Array:
    """Clipped; outside and at the ends a slope passes if a step along it leads inside.

    All weights are 0 at first, where a clipping that stops slopes would end all learning.
    """
    return jnp.clip(weight, 0.0, 1.0)


def _clip_forward(weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _within_0_and_1(weight), weight


def _clip_backward(weight: jax.Array, slope: jax.Array) -> tuple[jax.Array]:
    leads_out = ((weight <= 0) & (slope > 0)) | ((weight >= 1) & (slope < 0))
    return (jnp.where(leads_out, 0.0, slope),)


_within_0_and_1.defvjp(_clip_forward, _clip_backward)
