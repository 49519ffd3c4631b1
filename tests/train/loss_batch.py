"""A batch with the targets of all losses, and how their terms are taken of it."""

from __future__ import annotations

import jax
import numpy as np
from flax import nnx

from tests.train import fakes

HOW = {"dropout": 0.0, "dropout_key": None, "remat": False}


def full_batch():
    """Random rows with the targets of all losses of the table."""
    batch, rng = fakes.random_batch(1), np.random.default_rng(2)
    shape = batch.tokens_BT.shape
    real = (batch.ends_BT > 0) & (batch.positions_BT % 2 == 1)
    chances = rng.dirichlet([1, 1], shape).astype(np.float32)
    # Three alternatives of the next token, of which the last is missing here and there, and of
    # each text's tokens from the second on two spans.
    own = rng.integers(0, fakes.VOCAB, (*shape, 3)).astype(np.int32)
    own[..., 0], own[:2, :, 2] = batch.targets["lm_target"], -1
    told = np.log(rng.dirichlet([1, 1, 1, 1], shape)[..., :3]).astype(np.float32)
    starts = (batch.positions_BT == 1) | (batch.positions_BT == 3)
    in_spans = (batch.ends_BT > 0) & (batch.positions_BT >= 1)
    return fakes.with_targets(
        batch,
        teacher_ids=rng.integers(0, fakes.VOCAB, (*shape, 2)).astype(np.int32),
        teacher_chances=chances,
        teacher_weight=(real * rng.uniform(0.5, 1.5, shape)).astype(np.float32),
        predict_weight=np.where(real, batch.targets["lm_weight"], 0),
        explain_weight=np.where(real, 0, batch.targets["lm_weight"]),
        number_weight=np.where(batch.targets["lm_target"] % 2, batch.targets["lm_weight"], 0),
        top_ids=own,
        top_logprobs=told,
        span_weight=(in_spans * rng.uniform(0.5, 1.5, shape)).astype(np.float32),
        span_start=(starts & in_spans).astype(np.int32),
        span_logprob=np.where(in_spans, -rng.uniform(1, 20, shape), 0).astype(np.float32),
    )


BATCH = full_batch()


def hidden_of(model, batch):
    backbone = getattr(model, "backbone", model)
    return np.asarray(backbone.hidden(batch.tokens_BT, batch.positions_BT, batch.ends_BT))


def compiled(loss, model):
    """batch -> the loss's terms, as one program, which compiles far sooner than its operations."""
    graphdef, params = nnx.split(model)
    run = jax.jit(lambda params, batch: loss.terms(nnx.merge(graphdef, params), batch, **HOW))
    return lambda batch: run(params, batch)
