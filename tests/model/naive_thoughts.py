"""Thoughts one by one: each is written out behind its text and read as a text of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.model.arch import Arch
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer

ROWS = 64  # of the embedding; the last two are the marks' where a plain model reads them


def thinker(seed: int = 0, dtype=jnp.float32, **sizes) -> Thinker:
    """A small one whose head heeds thoughts already."""
    base = {"layers": 2, "sliding_window": 4, "sliding_window_pattern": 2} | sizes
    arch = Arch(
        vocab_size=ROWS,
        width=16,
        heads=2,
        kv_heads=1,
        head_width=8,
        mlp_width=16,
        context=32,
        **base,
    )
    rngs = nnx.Rngs(seed)
    made = Thinker(Transformer(arch, rngs=rngs, dtype=dtype), rngs=rngs, embedding_scale=10.0)
    for part, scale in (
        (made.marks, 0.1),
        (made.backbone.embed, 0.5),
        (made.mixing.last.kernel, 1),
    ):
        part[...] = scale * jax.random.normal(rngs.params(), part.shape)
    return made


def written(tokens_T, drawn_TPI, ahead):
    """Each thought behind its text and before what follows: int32 [T * P, T + C]."""
    (T, P, drawn), rows = drawn_TPI.shape, []
    after = np.append(tokens_T, np.zeros(ahead, np.int32))
    for t in range(T):
        for p in range(P):
            branch = [ROWS - 2, *drawn_TPI[t, p], ROWS - 1, *after[t + 1 : t + ahead]]
            row = np.zeros(T + drawn + 1 + ahead, np.int32)
            row[: t + 1], row[t + 1 : t + 1 + len(branch)] = tokens_T[: t + 1], branch
            rows.append(row)
    return np.stack(rows)


def states(model, rows_RS, shape_TPC):
    """Of the texts alone [T, D], and of the tokens of thoughts [T, P, C, D]."""
    T, P, C = shape_TPC
    plain = nnx.clone(model.backbone)
    plain.embed[...] = plain.embed[...].at[-2:].set(model.mark_rows())
    position_RS = jnp.broadcast_to(jnp.arange(rows_RS.shape[1]), rows_RS.shape)
    hidden_RSD = plain.hidden(rows_RS, position_RS, None).reshape(T, P, rows_RS.shape[1], -1)
    branch = jnp.stack([hidden_RSD[t, :, t + 1 : t + 1 + C] for t in range(T)])
    return hidden_RSD[-1, 0, :T], branch
