"""What a student learns from a teacher's solutions (Fu et al. 2023, section 3; Minixhofer et al.
2025, "Universal Cross-Tokenizer Distillation via Approximate Likelihood Matching").

All three read the same solutions in the student's tokens; `data.teacher_targets` fills what they
read of the teacher.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verifier.config.distill_sections import DistillConfig
from verifier.data.batches import Batch
from verifier.data.examples import Target
from verifier.model.transformer import Transformer
from verifier.train.losses import lm
from verifier.train.losses.contract import Loss, LossPart, Term, Terms
from verifier.train.losses.cross_entropy import Aims, aimed_cross_entropy, token_losses
from verifier.train.losses.terms import hidden, share, weighted

# What all of them read. The term "lm_numbers" of each is the cross-entropy of the tokens with
# a digit alone. It is only reported: across vocabularies numbers are what goes wrong first.
_TARGETS: Mapping[str, Target] = {**lm.TARGETS, "number_weight": Target()}
_EPSILON = 1e-6  # that keeps a span's probability below 1, as in tokenkit's compute_alm_loss


def loss(vocab_size: int, kind: str, config: DistillConfig, alternatives: int) -> Loss:
    """The loss that `finetune.loss` names.

    Args:
        vocab_size: ids that text can have; see `lm.loss`.
        kind: one of them.
        config: of the distillation.
        alternatives: C, ids a token that the examples have of the teacher.
    """
    if kind == "match_distribution":
        return match_distribution(vocab_size, alternatives, config.renormalise)
    if kind == "match_spans":
        return match_spans(vocab_size, config.tau)
    return match_sample(vocab_size)


def match_sample(vocab_size: int) -> Loss:
    """Cross-entropy of the teacher's text (sample matching): the language-model loss.

    The terms are those of `lm.loss`, and "lm_numbers".
    """
    terms = functools.partial(_sample_terms, vocab_size=vocab_size)
    return dataclasses.replace(lm.loss(vocab_size), targets=_TARGETS, terms=terms)


def match_distribution(vocab_size: int, alternatives: int, renormalise: bool = False) -> Loss:
    """Divergence of the student from the teacher's distribution at every token, in nats.

    With the chances p_c of the teacher's C alternatives, mapped to ids v_c of the student, and the
    student's distribution q, a position's loss is

        sum_c p_c (log p_c - log q(v_c))

    As published, p is not normalised anew: what the teacher gives to ids that are not told, or that
    the student has not, pulls nowhere, and the sum may be below 0. Where the teacher is one-hot
    this is the cross-entropy. The published code has log(p / (q + 1e-10) + 1e-10), which bounds a
    token's loss at 23 nats; here the logarithms are exact.

    The terms are "match_distribution"; "lm", the cross-entropy of the text itself, to compare with
    `match_sample`; "lm_numbers"; and "lm_share".

    Args:
        vocab_size: ids that text can have; see `lm.loss`.
        alternatives: C.
        renormalise: the chances of each token are made to sum to 1.
    """
    targets = {
        **_TARGETS,
        "top_ids": Target(np.int32, (alternatives,)),  # of the next token; -1: none
        "top_logprobs": Target(np.float32, (alternatives,)),
    }
    terms = functools.partial(_distribution_terms, vocab_size=vocab_size, renormalise=renormalise)
    parts = {"match_distribution": LossPart(1.0, "lm_weight")}
    return Loss(targets, parts, "match_distribution", terms)


def match_spans(vocab_size: int, tau: float = 100.0) -> Loss:
    """Binary cross-entropy of the probabilities of spans of text (ALM).

    A span's log-probability is the sum over its tokens on each side, so that both sides may cut it
    up as they like. With y = exp(log p / tau - 1e-6), y_t of the teacher and y_s of the student, a
    span's loss is -(y_t log y_s + (1 - y_t) log(1 - y_s)).

    Texts of which no teacher has told anything are learned by their cross-entropy, the term "text".

    The terms are "match_spans"; "text"; "span_gap", the mean of |log p of the teacher - log p of
    the student|; "lm", the cross-entropy of the tokens in spans; "lm_numbers"; and "span_share" of
    tokens in spans.

    Args:
        vocab_size: ids that text can have; see `lm.loss`.
        tau: temperature of the spans' probabilities.
    """
    targets = {
        **_TARGETS,  # of "lm_weight" a weight where a text is learned without spans
        # Of every token in a span; those of a span sum to its weight.
        "span_weight": Target(),
        "span_start": Target(np.int32),  # 1 at the first token of a span
        "span_logprob": Target(),  # of the teacher, at every token of the span
    }
    terms = functools.partial(_span_terms, vocab_size=vocab_size, tau=tau)
    parts = {"match_spans": LossPart(1.0, "span_weight"), "text": LossPart(1.0, "lm_weight")}
    # Of held-out problems there may be worked solutions alone: then "match_spans" has no mean.
    return Loss(targets, parts, "loss", terms)


def _sample_terms(transformer: Transformer, batch: Batch, *, vocab_size: int, **how: Any) -> Terms:
    hidden_BTD = hidden(transformer, batch, **how)
    weight_BT = jnp.asarray(batch.targets["lm_weight"])
    own_BT1 = jnp.asarray(batch.targets["lm_target"])[..., None]
    aims = Aims(own_BT1, jnp.ones(own_BT1.shape, jnp.float32))
    crossed, own_BT = aimed_cross_entropy(
        hidden_BTD, transformer.output_rows(), aims, weight_BT, vocab_size
    )
    return {
        "lm": Term(crossed, weight_BT.sum()),
        "lm_numbers": weighted(own_BT, _of_numbers(batch, weight_BT > 0)),
        "lm_share": share(weight_BT, batch),
    }


def _distribution_terms(
    transformer: Transformer,
    batch: Batch,
    *,
    vocab_size: int,
    renormalise: bool,
    **how: Any,
) -> Terms:
    hidden_BTD = hidden(transformer, batch, **how)
    weight_BT = jnp.asarray(batch.targets["lm_weight"])
    ids_BTC, chances_BTC = _chances(batch, renormalise)
    own_BT1 = jnp.asarray(batch.targets["lm_target"])[..., None]
    aims = Aims(
        jnp.concatenate([own_BT1, ids_BTC], axis=-1),
        jnp.pad(chances_BTC, [(0, 0), (0, 0), (1, 0)]),  # the text's own id is among the others
    )
    crossed, own_BT = aimed_cross_entropy(
        hidden_BTD, transformer.output_rows(), aims, weight_BT, vocab_size
    )
    log_BTC = jnp.log(jnp.where(chances_BTC > 0, chances_BTC, 1.0))
    negative_entropy = (weight_BT * (chances_BTC * log_BTC).sum(axis=-1)).sum()
    return {
        "match_distribution": Term(crossed + negative_entropy, weight_BT.sum()),
        "lm": weighted(own_BT, weight_BT),
        "lm_numbers": weighted(own_BT, _of_numbers(batch, weight_BT > 0)),
        "lm_share": share(weight_BT, batch),
    }


def _of_numbers(batch: Batch, is_read_BT: jax.Array) -> jax.Array:
    """Weights of the tokens with a digit, where the text is read."""
    return jnp.where(is_read_BT, batch.targets["number_weight"], 0.0)


def _chances(batch: Batch, renormalise: bool) -> tuple[jax.Array, jax.Array]:
    """The teacher's ids and their chances, 0 where there is none."""
    ids_BTC = jnp.asarray(batch.targets["top_ids"])
    is_there_BTC = (batch.targets["lm_weight"] > 0)[..., None] & (ids_BTC >= 0)
    logprobs_BTC = jnp.where(is_there_BTC, batch.targets["top_logprobs"], -jnp.inf)
    chances_BTC = jnp.exp(logprobs_BTC)
    if renormalise:
        mass_BT1 = chances_BTC.sum(axis=-1, keepdims=True)
        chances_BTC = chances_BTC / jnp.where(mass_BT1 > 0, mass_BT1, 1.0)
    return ids_BTC, chances_BTC


def _span_terms(
    transformer: Transformer, batch: Batch, *, vocab_size: int, tau: float, **how: Any
) -> Terms:
    hidden_BTD = hidden(transformer, batch, **how)
    weight_BT = jnp.asarray(batch.targets["span_weight"])
    text_BT = jnp.asarray(batch.targets["lm_weight"])
    is_in_BT = weight_BT > 0
    is_read_BT = is_in_BT | (text_BT > 0)
    target_BT = jnp.asarray(batch.targets["lm_target"])
    loss_BT = token_losses(hidden_BTD, transformer.output_rows(), target_BT, is_read_BT, vocab_size)
    span_BT = jnp.cumsum(batch.targets["span_start"], axis=1) - 1
    # A log-probability may come out a rounding above 0.
    in_spans_BT = jnp.where(is_in_BT, loss_BT, 0.0)
    student_BT = jnp.minimum(-_span_sums(in_spans_BT, jnp.maximum(span_BT, 0)), 0.0)
    teacher_BT = jnp.where(is_in_BT, batch.targets["span_logprob"], 0.0)
    error_BT = _binary(teacher_BT / tau - _EPSILON, student_BT / tau - _EPSILON)
    gap_BT = jnp.abs(teacher_BT - jax.lax.stop_gradient(student_BT))
    return {
        "match_spans": weighted(error_BT, weight_BT),
        "text": weighted(loss_BT, text_BT),
        "span_gap": weighted(gap_BT, weight_BT),
        "lm": weighted(jax.lax.stop_gradient(loss_BT), is_in_BT.astype(jnp.float32)),
        "lm_numbers": weighted(jax.lax.stop_gradient(loss_BT), _of_numbers(batch, is_in_BT)),
        "span_share": share(weight_BT, batch),
    }


def _span_sums(loss_BT: jax.Array, span_BT: jax.Array) -> jax.Array:
    """At every token the sum over all tokens of its span, in a row of its own."""

    def of_row(loss_T: jax.Array, span_T: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(loss_T, span_T, num_segments=len(span_T))[span_T]

    return jax.vmap(of_row)(loss_BT, span_BT)


def _binary(log_teacher: jax.Array, log_student: jax.Array) -> jax.Array:
    """Binary cross-entropy of probabilities below 1 by their logarithms."""
    teacher = jnp.exp(log_teacher)
    return -(teacher * log_student - jnp.expm1(log_teacher) * _log1mexp(log_student))


def _log1mexp(x: jax.Array) -> jax.Array:
    """log(1 - exp(x)) for x below 0, exact near 0 and far below it (Maechler 2012)."""
    is_near = x > -jnp.log(2.0)
    near = jnp.log(-jnp.expm1(jnp.where(is_near, x, -1.0)))
    far = jnp.log1p(-jnp.exp(jnp.where(is_near, -1.0, x)))
    return jnp.where(is_near, near, far)
