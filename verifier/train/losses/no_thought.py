"""A decoder that does without thoughts what one with them does: the last stage of Fast Quiet-STaR
(Huang et al. 2025, section 3.3).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from verifier.config import QuietConfig
from verifier.data.batches import Batch
from verifier.data.examples import Target
from verifier.model import sampling
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer
from verifier.train.losses import lm
from verifier.train.losses.contract import Loss, LossPart, Terms
from verifier.train.losses.cross_entropy import token_losses
from verifier.train.losses.terms import hidden, share, weighted

# What a thinker has lost on each next token, nats; where nobody has asked it: 0, which is no reward
TARGETS: Mapping[str, Target] = {**lm.TARGETS, "teacher_loss": Target()}


def loss(vocab_size: int, config: QuietConfig) -> Loss:
    """REINFORCE of a token, of the decoder of a `Thinker` that does not think: by how much better
    than its teacher, which does, it predicts the text's own.

        reward = max(0, teacher's loss - own loss) of the text's token, a number
        policy = reward * -log softmax(logits / reinforce_temperature)[a]

    With quiet.no_thought_token=drawn, a is drawn by the decoder, as in the released code. The
    reward does not depend on it, and so the expected slope by the logits z is

        reward / temperature * (softmax(z / temperature) - softmax(z)):

    where the decoder has a reward, it is made surer of whatever it holds likely. With text, a is
    the text's own token, as in the paper: cross-entropy, where the decoder is ahead already.

    Terms: "policy"; reported only: "lm", "reward" and "lm_share".

    Args:
        vocab_size: ids that text can have.
        config: `policy_weight`, `reinforce_temperature`, `no_thought_token`.
    """
    parts = {"policy": LossPart(config.policy_weight, "lm_weight")}
    terms = functools.partial(_terms, vocab_size=vocab_size, config=config)
    return Loss(TARGETS, parts, "lm", terms, draws=True)


def _terms(
    thinker: Thinker,
    batch: Batch,
    *,
    vocab_size: int,
    config: QuietConfig,
    draw_key: jax.Array,
    **how: Any,
) -> Terms:
    model = thinker.backbone
    hidden_BTD = hidden(model, batch, **how)
    weight_BT, target_BT, teacher_BT = (
        jnp.asarray(batch.targets[key]) for key in ("lm_weight", "lm_target", "teacher_loss")
    )

    def losses(hidden_BTD: jax.Array, token_BT: jax.Array) -> jax.Array:
        return token_losses(hidden_BTD, model.output_rows(), token_BT, weight_BT > 0, vocab_size)

    own_BT = losses(hidden_BTD, target_BT)
    reward_BT = jax.lax.stop_gradient(jnp.maximum(teacher_BT - own_BT, 0.0))
    token_BT = target_BT
    if config.no_thought_token == "drawn":
        token_BT = _drawn(model, hidden_BTD, draw_key, vocab_size)
    colder_BTD = (hidden_BTD / config.reinforce_temperature).astype(hidden_BTD.dtype)
    return {
        "policy": weighted(reward_BT * losses(colder_BTD, token_BT), weight_BT),
        "lm": weighted(jax.lax.stop_gradient(own_BT), weight_BT),
        "reward": weighted(reward_BT, weight_BT),
        "lm_share": share(weight_BT, batch),
    }


def _drawn(model: Transformer, hidden_BTD: jax.Array, key: jax.Array, vocab_size: int) -> jax.Array:
    """A token of every prediction at temperature 1, int32 [B, T]."""
    uniform_BT = jax.random.uniform(key, hidden_BTD.shape[:2])
    states = jax.lax.stop_gradient(hidden_BTD)
    return sampling.draw_everywhere(model.logits, states, uniform_BT, vocab_size=vocab_size)[0]
