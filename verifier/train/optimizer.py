"""How a gradient becomes a step: clipping, AdamW, rates that rise and fall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from verifier import config as config_lib
from verifier.model import names
from verifier.model.layers import DropoutRate


def make_schedule(
    config: config_lib.TrainConfig, steps: int, peak: float | None = None
) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then linear decay to 0.

    Cobbe et al. 2021, Appendix B, have the decay only.

    Args:
        config: `learning_rate` and `warmup_share` are read.
        steps: of the whole job; the rate would be 0 at step number `steps`, which is never taken.
        peak: in place of `learning_rate`.

    Returns:
        A function from the number of steps taken to the rate of the next one. With w warm-up steps,
        step s < w has peak * (s + 1) / w.
    """
    warmup = round(config.warmup_share * steps)
    highest = config.learning_rate if peak is None else peak

    def rate(count: jax.typing.ArrayLike) -> jax.Array:
        rising = (jnp.asarray(count, jnp.float32) + 1) / max(warmup, 1)
        falling = (steps - jnp.asarray(count, jnp.float32)) / max(steps - warmup, 1)
        return highest * jnp.clip(jnp.where(jnp.asarray(count) < warmup, rising, falling), 0.0, 1.0)

    return rate


def make_dropout(config: config_lib.TrainConfig, steps: int) -> Callable[[jax.Array], DropoutRate]:
    """DropoutRate of the residual dropout by step: at once, or rising linearly.

    A model that was trained without dropout loses what it knows where all of it starts at once.

    Args:
        config: `dropout` and `dropout_ramp` are read.
        steps: of the whole job.

    Returns:
        A function from the number of steps taken to the rate of the next one. With r steps in which
        it rises, step s < r has dropout * (s + 1) / r, a traced float32; without, dropout itself,
        so that programs without a ramp have a constant.
    """
    rising = round(config.dropout_ramp * steps)
    if not config.dropout or rising <= 1:
        return lambda _: config.dropout

    def rate(count: jax.Array) -> jax.Array:
        return config.dropout * jnp.minimum((count.astype(jnp.float32) + 1) / rising, 1.0)

    return rate


def make_optimizer(config: config_lib.TrainConfig, steps: int) -> optax.GradientTransformation:
    """AdamW with a clipped gradient.

    Weight decay is decoupled (Loshchilov and Hutter 2019: rate * decay * parameter) and acts on
    matrices and embeddings alone: not on norms and biases, nor on anything of the value head.
    `head_learning_rate` is the peak of all under `head/`; the reserved row of the embedding, which
    a reserved-logit head reads, is a row like the others and keeps the base rate.

    Args:
        config: of the job; a `VerifyConfig` may give the head a peak of its own.
        steps: of the whole job.
    """
    parts = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    parts.append(optax.scale_by_adam(b1=config.beta1, b2=config.beta2))
    if config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=decays))
    head_peak = config.head_learning_rate if isinstance(config, config_lib.VerifyConfig) else 0.0
    base = optax.scale_by_learning_rate(make_schedule(config, steps))
    if head_peak:
        head = optax.scale_by_learning_rate(make_schedule(config, steps, head_peak))
        parts.append(optax.partition({"base": base, "head": head}, _part_of))
    else:
        parts.append(base)
    return optax.chain(*parts)


def decays(params: Any) -> Any:
    """Returns a tree of bools: which arrays weight decay pulls towards 0."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim >= 2 and not _is_head(path), params
    )


def _part_of(params: Any) -> Any:
    """A tree of "base" and "head"."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "head" if _is_head(path) else "base", params
    )


def _is_head(path: tuple[Any, ...]) -> bool:
    """Whether a parameter belongs to the value head itself."""
    return names.path_name(path).split("/")[0] == "head"
