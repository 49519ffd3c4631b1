"""A model that thinks before every token (Quiet-STaR, Zelikman et al. 2024, sections 4.1 to 4.3).

At every token of a text thoughts begin, P of them beside each other, and behind each the text goes
on as it is written. Of the text a b c d, one thought behind b with A = 4, judged by two tokens:

    text       a   b   c   d
    thought        b  <start>  p   q  <end>  c
    predicts               p   q         c   d      what is read at each of them predicts

The marks <start> and <end> have embeddings of their own and no row of the output matrix: no thought
and no answer can hold them. A thought's tokens have the positions that follow its first one's, as
if they were written there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.errors import ConfigError
from verifier.model import attention, sampling, thought_attention, view
from verifier.model.layers import Block, DropoutRate
from verifier.model.mixing import MixingHead
from verifier.model.remat import parted, rate_of, rematerialised
from verifier.model.sharding import constrained
from verifier.model.thought_attention import Own, Text
from verifier.model.transformer import Transformer

MARKS = 2  # tokens of a thought that are not drawn


class Thoughts(NamedTuple):
    """What was drawn between start and end."""

    tokens_BTPI: jax.Array  # int32
    logprob_BTPI: jax.Array  # float32, of each when it was drawn


class Hidden(NamedTuple):
    """States behind the final norm."""

    text_BTD: jax.Array  # as without any thought
    branch_BTPCD: jax.Array  # of <start>, the drawn tokens, <end> and the text behind


class Thinker(nnx.Module):
    """A decoder, the embeddings of the two marks, and the head that mixes predictions.

    The embedding of a mark is its parameter times `embedding_scale`. Adam moves all parameters
    alike, and so the embedding `embedding_scale` times as far.
    """

    def __init__(
        self,
        backbone: Transformer,
        *,
        rngs: nnx.Rngs,
        embedding_scale: float = 1.0,
        like_id: int | None = None,
    ):
        """Puts them together.

        Args:
            backbone: a decoder.
            rngs: of the head.
            embedding_scale: static.
            like_id: the token whose embedding both marks start from (the paper: the em dash); None:
                the mean of all.

        Raises:
            ConfigError: the backbone has an encoder.
        """
        if backbone.arch.encoder_layers:
            raise ConfigError(
                "thoughts stand within a text that one decoder reads, and this model has an "
                "encoder (T5); start from a decoder"
            )
        self.backbone, self.embedding_scale = backbone, embedding_scale
        embed_VD = backbone.embed[...]
        first_D = embed_VD.mean(axis=0) if like_id is None else embed_VD[like_id]
        self.marks = nnx.Param(jnp.tile(first_D / embedding_scale, (MARKS, 1)))
        self.mixing = MixingHead(backbone.arch.width, rngs=rngs, dtype=backbone.dtype)

    def draw(
        self,
        batch: tuple[jax.Array, jax.Array, jax.Array],
        key: jax.Array,
        *,
        thoughts: int,
        drawn: int,
        vocab_size: int,
    ) -> Thoughts:
        """Draws the tokens of thoughts at all positions at once, at temperature 1.

        No gradient goes through any of it.

        Args:
            batch: tokens_BT, positions_BT and ends_BT of rows of texts (`view`).
            key: of all that is drawn, or one of each row; what a thought draws depends on no other,
                and with keys of its own a row's thoughts on no other row.
            thoughts: static; P.
            drawn: static; I, the tokens between the marks.
            vocab_size: static; ids from here on are never drawn.
        """
        frozen = nnx.merge(*_frozen(self))
        return _drawn(frozen, batch, key, (thoughts, drawn, vocab_size))

    def read(
        self,
        batch: tuple[jax.Array, jax.Array, jax.Array],
        tokens_BTPI: jax.Array,
        *,
        ahead: int,
        dropout: DropoutRate = 0.0,
        dropout_key: jax.Array | None = None,
        remat: bool = False,
    ) -> Hidden:
        """Reads texts, thoughts that were drawn, and behind each the text's next ahead - 1 tokens.

        Args:
            batch: as in `draw`; where a text ends, any token stands for what is behind it.
            tokens_BTPI: as `draw` gives them.
            ahead: static; M, tokens that are predicted behind a thought.
            dropout: as in `Transformer.hidden`.
            dropout_key: likewise.
            remat: likewise.

        Returns:
            States of text and of thoughts, C = I + 2 + M - 1 tokens each; the last M of these
            predict the text's next M.
        """
        tokens_BT, positions_BT, ends_BT = batch
        (B, T), P = tokens_BT.shape, tokens_BTPI.shape[2]
        backbone = self.backbone
        x, turns = backbone.place(backbone.look_up(tokens_BT), positions_BT)
        rows_BTPCD = self._branch_rows(tokens_BT, tokens_BTPI, ahead)
        C = rows_BTPCD.shape[3]
        position_BTPC = _behind(positions_BT, jnp.arange(1, C + 1), P)
        branch, branch_turns = backbone.place(
            rows_BTPCD.reshape(B, T * P * C, -1), position_BTPC.reshape(B, -1)
        )
        see = view.views(positions_BT, ends_BT, backbone.arch.windows)
        stream = constrained(x, "rows", None, None), constrained(branch, "rows", None, None)
        read = _read_layer_remat if remat else _read_layer
        static, traced = parted(dropout)
        for layer, (block, window) in enumerate(
            zip(backbone.blocks, backbone.arch.windows, strict=True)
        ):
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, layer)
            turn = turns[layer], branch_turns[layer]
            given = _Given(turn, see[window], positions_BT, ends_BT, key, traced)
            graph, weights = nnx.split(block)
            stream = read(_Layer(graph, (P, C), window, static), weights, stream, given)
        text, branch = (backbone.finish(part) for part in stream)
        return Hidden(text, branch.reshape(B, T, P, C, -1))

    def mark_rows(self) -> jax.Array:
        """The embeddings of <start> and <end>, [2, D]."""
        return self.marks[...] * self.embedding_scale

    def _branch_rows(self, tokens_BT: jax.Array, tokens_BTPI: jax.Array, ahead: int) -> jax.Array:
        """Embeddings of all tokens of thoughts and of the text behind them, [B, T, P, C, D]."""
        B, T, P, _ = tokens_BTPI.shape
        look_up, (start_D, end_D) = self.backbone.look_up, self.mark_rows()
        behind_BTM = ahead_of(tokens_BT, jnp.arange(1, ahead))
        parts = (start_D, look_up(tokens_BTPI), end_D, look_up(behind_BTM)[:, :, None])
        wide = (jnp.broadcast_to(part, (B, T, P, *_last_two(part))) for part in parts)
        return jnp.concatenate(list(wide), axis=3)


def ahead_of(each_BT: jax.Array, step_M: jax.Array) -> jax.Array:
    """What stands so many tokens behind each one, [B, T, M, ...]; at a row's end its last."""
    length = each_BT.shape[1]
    return each_BT[:, jnp.minimum(jnp.arange(length)[:, None] + step_M, length - 1)]


class _Layer(NamedTuple):
    """What is static about a layer that reads texts and thoughts."""

    graph: nnx.GraphDef
    sizes: tuple[int, int]  # P, C
    window: int | None
    dropout: float | None  # None: `_Given.dropout`


class _Given(NamedTuple):
    """What it reads that has no gradient."""

    turns: tuple[Any, Any]  # rotations of text and thoughts
    see: view.View
    positions_BT: jax.Array
    ends_BT: jax.Array
    key: jax.Array | None
    dropout: jax.Array | None  # the rate, where that changes from step to step


def _read_layer(
    static: _Layer, weights: nnx.State, stream: tuple[jax.Array, jax.Array], given: _Given
) -> tuple[jax.Array, jax.Array]:
    """One block over texts [B, T, D], and over their thoughts [B, T * P * C, D]."""
    block: Block = nnx.merge(static.graph, weights)
    text, branch = stream
    (B, T, _), (P, C) = text.shape, static.sizes
    q, k, v = block.project(text, given.turns[0])
    mixed = attention.within_rows(q, k, v, given.see)
    q_own, *own = block.project(branch, given.turns[1])
    N, H = q_own.shape[-2:]
    k_own, v_own = (part.swapaxes(1, 2).reshape(B, T, P, C, -1, H) for part in own)
    of_text = Text(k, v, given.positions_BT, given.ends_BT)
    mixed_own = thought_attention.attend(
        q_own.reshape(B, T, P, C, N, H),
        Own(k_own, v_own),
        of_text,
        jnp.arange(1, C + 1),
        static.window,
    ).reshape(B, -1, N, H)
    own_key = None if given.key is None else jax.random.fold_in(given.key, 1)
    rate = rate_of(static.dropout, given.dropout)
    text = block.join(text, mixed, rate, given.key)
    branch = block.join(branch, mixed_own, rate, own_key)
    return constrained(text, "rows", None, None), constrained(branch, "rows", None, None)


_read_layer_remat = rematerialised(_read_layer)


def _drawn(
    thinker: Thinker,
    batch: tuple[jax.Array, jax.Array, jax.Array],
    key: jax.Array,
    sizes: tuple[int, int, int],
) -> Thoughts:
    """`Thinker.draw`: a token of all thoughts after the other, over the keys of those before."""
    tokens_BT, positions_BT, ends_BT = batch
    (B, T), (P, count, vocab_size), backbone = tokens_BT.shape, sizes, thinker.backbone
    if not count:
        return Thoughts(jnp.zeros((B, T, P, 0), jnp.int32), jnp.zeros((B, T, P, 0)))
    texts = _text_keys(backbone, batch)
    nothing = jnp.zeros((B, T, P, count, *texts[0].key_BKTH.shape[1::2]), backbone.dtype)
    cache = tuple(Own(nothing, nothing) for _ in texts)

    def step(
        carry: tuple[tuple[Own, ...], jax.Array], index: jax.Array
    ) -> tuple[tuple[tuple[Own, ...], jax.Array], Thoughts]:
        cache, rows = carry
        depth_1 = jnp.reshape(index + 1, 1)
        position_BTP = _behind(positions_BT, depth_1, P)[..., 0]
        x, turns = backbone.place(rows, position_BTP.reshape(B, T * P))
        grown = []
        for layer, block in enumerate(backbone.blocks):
            q, *new = block.project(x, turns[layer])
            at_once = (part.swapaxes(1, 2).reshape(B, T, P, 1, *part.shape[1::2]) for part in new)
            own = Own(
                *(
                    jax.lax.dynamic_update_slice_in_dim(held, part, index, axis=3)
                    for held, part in zip(cache[layer], at_once, strict=True)
                )
            )
            mixed = thought_attention.attend(
                q.reshape(B, T, P, 1, *q.shape[-2:]),
                own,
                texts[layer],
                depth_1,
                backbone.arch.windows[layer],
            )
            x = block.join(x, mixed.reshape(q.shape))
            grown.append(own)
        uniform = _uniform(key, index, (B, T, P)).reshape(B, T * P)
        token, logprob = sampling.draw_everywhere(
            backbone.logits, backbone.finish(x), uniform, vocab_size=vocab_size
        )
        drawn = Thoughts(token.reshape(B, T, P), logprob.reshape(B, T, P))
        return (tuple(grown), backbone.look_up(token)), drawn

    start = jnp.broadcast_to(thinker.mark_rows()[0], (B, T * P, backbone.arch.width))
    _, drawn = jax.lax.scan(step, (cache, start), jnp.arange(count))
    return Thoughts(*(jnp.moveaxis(each, 0, -1) for each in drawn))


def _uniform(key: jax.Array, index: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
    """Random numbers of a step, by one key or by one of each row."""
    if not key.ndim:
        return jax.random.uniform(jax.random.fold_in(key, index), shape)
    return jax.vmap(lambda own: jax.random.uniform(jax.random.fold_in(own, index), shape[1:]))(key)


def _text_keys(backbone: Transformer, batch: tuple[jax.Array, jax.Array, jax.Array]) -> list[Text]:
    """Keys and values of the texts, by layer."""
    tokens_BT, positions_BT, ends_BT = batch
    x, turns = backbone.place(backbone.look_up(tokens_BT), positions_BT)
    see, texts = view.views(positions_BT, ends_BT, backbone.arch.windows), []
    for block, window, turn in zip(backbone.blocks, backbone.arch.windows, turns, strict=True):
        q, k, v = block.project(x, turn)
        texts.append(Text(k, v, positions_BT, ends_BT))
        x = block.join(x, attention.within_rows(q, k, v, see[window]))
    return texts


def _behind(positions_BT: jax.Array, depth_C: jax.Array, thoughts: int) -> jax.Array:
    """Positions of tokens so deep in thoughts, [B, T, P, C]."""
    position_BT1C = positions_BT[:, :, None, None] + depth_C
    return jnp.broadcast_to(position_BT1C, (*positions_BT.shape, thoughts, len(depth_C)))


def _last_two(part: jax.Array) -> tuple[int, int]:
    """Tokens and width of what stands in every thought: one row of width D is one token."""
    return (1, part.shape[-1]) if part.ndim == 1 else (part.shape[-2], part.shape[-1])


def _frozen(module: nnx.Module) -> tuple[Any, Any]:
    """A module's graph, and its arrays without a gradient."""
    graph, arrays = nnx.split(module)
    return graph, jax.lax.stop_gradient(arrays)
