"""The model, with or without a cache, for every family that `Arch` describes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.model import attention, cached_attention, rotary, view
from verifier.model import remat as remat_lib
from verifier.model.arch import Arch
from verifier.model.cache import Blocks, Cache, CacheIndices, Prefix, append
from verifier.model.layers import NORMS, Block, DropoutRate
from verifier.model.products import matmul_nt
from verifier.model.prompt_encoder import PromptEncoder
from verifier.model.relative import RelativeBias
from verifier.model.sharding import constrained, first_row, gathered, summed


class Transformer(nnx.Module):
    """A decoder, which reads the prompt itself or crosses to what an encoder has read of it.

    Parameters are float32, activations `dtype`; norms, softmax and logits are computed in float32.
    """

    def __init__(self, arch: Arch, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike = jnp.float32):
        self.arch, self.dtype = arch, jnp.dtype(dtype)
        init = nnx.initializers.normal(0.02)
        self.embed = nnx.Param(init(rngs.params(), (arch.vocab_size, arch.width), jnp.float32))
        if arch.positions == "learned":
            self.positions = nnx.Param(init(rngs.params(), (arch.context, arch.width), jnp.float32))
        crosses = bool(arch.encoder_layers)
        self.blocks = nnx.List(
            [Block(arch, rngs=rngs, dtype=self.dtype, crosses=crosses) for _ in range(arch.layers)]
        )
        self.final_norm = NORMS[arch.norm](arch.width, arch.norm_eps)
        if not arch.tied:
            self.unembed = nnx.Param(
                init(rngs.params(), (arch.vocab_size, arch.width), jnp.float32)
            )
        if arch.positions == "relative":
            self.relative = RelativeBias(arch, False, rngs=rngs)
        if crosses:
            self.encoder = PromptEncoder(arch, rngs=rngs, dtype=self.dtype)

    def hidden(
        self,
        tokens_BT: jax.typing.ArrayLike,
        positions_BT: jax.typing.ArrayLike,
        ends_BT: jax.typing.ArrayLike | None,
        *,
        prompts: tuple[jax.typing.ArrayLike, jax.typing.ArrayLike] | None = None,
        depth: int | None = None,
        dropout: DropoutRate = 0.0,
        dropout_key: jax.Array | None = None,
        remat: bool = False,
    ) -> jax.Array:
        """Reads rows that hold forests; a token sees those on the way from its root to itself.

        Args:
            tokens_BT: int32 ids.
            positions_BT: int32, the depth of each token in its tree.
            ends_BT: int32, where each token's subtree ends (`view`); None: rows are chains.
            prompts: of a model with an encoder, int32 tokens_BS and ends_BS of the prompts beside
                each row, which then holds chains (`view.crossed`); of others None.
            depth: static; no text of a row has more tokens. Given, rows may be longer than the
                context, and long ones are read in blocks that look at what they see alone.
            dropout: static or traced; share of each block output's entries that is dropped
                (residual dropout of Cobbe et al. 2021).
            dropout_key: None: no dropout.
            remat: a backward pass computes each layer's inside again from its input: only the
                inputs are held, for a third more work.

        Returns:
            hidden_BTD after the final norm, in `dtype`.

        Raises:
            ValueError: rows, or the texts in them, longer than the context.
        """
        tokens_BT, positions_BT = jnp.asarray(tokens_BT), jnp.asarray(positions_BT)
        ends_BT = None if ends_BT is None else jnp.asarray(ends_BT)
        self._check_length(tokens_BT.shape[-1] if depth is None else depth)
        x, turns = self._start(tokens_BT, positions_BT)
        x = constrained(x, "rows", None, None)
        see = view.views(positions_BT, ends_BT, self.arch.windows, depth)
        bias = self.relative.of_row(*(x.shape[1],) * 2) if self._is_relative else None
        how: Any = {"dropout": dropout, "remat": remat}
        encoded, crossed = self._encoded(prompts, ends_BT, dropout_key, **how)
        for layer, (block, window, cos_sin) in enumerate(
            zip(self.blocks, self.arch.windows, turns, strict=True)
        ):
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, layer)
            stream = remat_lib.Stream(x, bias, encoded)
            given = remat_lib.Given(cos_sin, see[window], key, crossed)
            x = remat_lib.read_block(block, stream, given, **how)
        return self.finish(x)

    def _encoded(
        self,
        prompts: tuple[jax.typing.ArrayLike, jax.typing.ArrayLike] | None,
        ends_BT: jax.Array | None,
        dropout_key: jax.Array | None,
        **how: Any,
    ) -> tuple[jax.Array | None, jax.Array | None]:
        """What the encoder has read [B, S, D], and what each token sees of it [B, T, S]."""
        if not self.arch.encoder_layers and prompts is None:
            return None, None
        if not self.arch.encoder_layers or prompts is None or ends_BT is None:
            raise ValueError(
                "a model with an encoder reads rows of texts with their ends and prompts beside "
                "them; one without reads no such prompts"
            )
        tokens_BS, ends_BS = map(jnp.asarray, prompts)
        self._check_length(tokens_BS.shape[1])
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, self.arch.layers)
        x = constrained(self.look_up(tokens_BS).astype(self.dtype), "rows", None, None)
        return self.encoder(x, ends_BS, dropout_key=key, **how), view.crossed(ends_BT, ends_BS)

    def prefill(self, tokens_PS: jax.Array, length_P: jax.Array) -> tuple[jax.Array, Prefix]:
        """Reads right-padded prompts, one a problem.

        Args:
            tokens_PS: int32 ids; what lies behind length_P is never seen.
            length_P: int32, tokens of each prompt.

        Returns:
            hidden_PSD (meaningless behind length_P) and the prompts' keys and values. With an
            encoder S is 1, the start token behind each prompt, and the prompts' are `crossed`.
        """
        self._check_length(tokens_PS.shape[-1])
        crossed = None
        if self.arch.encoder_layers:
            crossed = self._cross_keys(tokens_PS, length_P)
            tokens_PS = jnp.full((len(tokens_PS), 1), self.arch.start_id, jnp.int32)
            length_P = jnp.ones_like(length_P)
        position_PS = jnp.broadcast_to(jnp.arange(tokens_PS.shape[1]), tokens_PS.shape)
        x, turns = self._start(tokens_PS, position_PS)
        see = view.views(position_PS[:1], None, self.arch.windows)
        ks, vs = [], []
        for layer, (block, window, cos_sin) in enumerate(
            zip(self.blocks, self.arch.windows, turns, strict=True)
        ):
            q, k, v = block.project(x, cos_sin)
            # Alone, a start token mixes nothing, wherever it stands: relative positions are no
            # matter.
            mixed, cross = attention.within_rows(q, k, v, see[window]), None
            if crossed is not None:
                order = jnp.arange(crossed.k[layer].shape[2])
                seen_P1S = (order < crossed.length_P[:, None])[:, None]
                cross = attention.crossing(crossed.k[layer], crossed.v[layer], seen_P1S)
            x = block.join(x, mixed, crossed=cross)
            ks.append(k)
            vs.append(v)
        prefix = Prefix(tuple(ks), tuple(vs), length_P.astype(jnp.int32), crossed)
        return self.finish(x), prefix

    def _cross_keys(self, tokens_PS: jax.Array, length_P: jax.Array) -> Prefix:
        """What each layer of the decoder crosses to of right-padded prompts."""
        ends_PS = (jnp.arange(tokens_PS.shape[1]) < length_P[:, None]).astype(jnp.int32)
        encoded_PSD = self.encoder(self.look_up(tokens_PS).astype(self.dtype), ends_PS)
        ks, vs = zip(*(block.cross.keys_of(encoded_PSD) for block in self.blocks), strict=True)
        return Prefix(ks, vs, length_P.astype(jnp.int32))

    def extend(
        self,
        token_B: jax.Array,
        position_B: jax.Array,
        reads_B: jax.Array,
        cache: Cache,
        indices: CacheIndices,
        column: jax.Array,
    ) -> tuple[jax.Array, Cache]:
        """Reads one new token of every row.

        Each sees its prompt, its own earlier tokens and itself.

        Args:
            token_B: int32 ids.
            position_B: int32, where they stand in prompt and solution together.
            reads_B: bool; rows that do not read leave nothing in the cache, and their hidden state
                means nothing.
            cache: donate it: the new tokens are written in place.
            indices: which prompt and pages each row sees.
            column: int32 scalar, the column of the newest pages to write; each once between two
                calls of `cache.flush`.

        Returns:
            hidden_BD and the cache with the new tokens in it.
        """
        written_B = jnp.where(reads_B, position_B, -1)
        position_BW = jax.lax.dynamic_update_slice(
            cache.newest.position_NW, written_B[:, None], (0, column)
        )
        cache = dataclasses.replace(
            cache, newest=dataclasses.replace(cache.newest, position_NW=position_BW)
        )
        relative = self.relative if self._is_relative else None
        see = {
            window: cached_attention.masks(cache, indices, position_B, window, relative)
            for window in dict.fromkeys(self.arch.windows)
        }
        x, turns = self._start(token_B[:, None], position_B[:, None])
        ks, vs = list(cache.newest.k), list(cache.newest.v)
        for layer, (block, window, cos_sin) in enumerate(
            zip(self.blocks, self.arch.windows, turns, strict=True)
        ):
            q, k, v = block.project(x, cos_sin)
            ks[layer], vs[layer] = append(ks[layer], vs[layer], k, v, column)
            prompt = cache.prompts.k[layer], cache.prompts.v[layer]
            newest, pages = (ks[layer], vs[layer]), (cache.pages.k[layer], cache.pages.v[layer])
            mixed = cached_attention.attend(q[:, 0], prompt, newest, pages, indices, see[window])
            cross = self._crossing(cache, layer, indices, see[window])
            x = block.join(x, mixed[:, None], crossed=cross)
        newest_pages = dataclasses.replace(cache.newest, k=tuple(ks), v=tuple(vs))
        return self.finish(x)[:, 0], dataclasses.replace(cache, newest=newest_pages)

    def _crossing(
        self, cache: Cache, layer: int, indices: CacheIndices, see: cached_attention.Masks
    ) -> Callable[[jax.Array], jax.Array] | None:
        """Attention of a layer's queries [B, 1, N, H] to what the encoder has read, if any."""
        if (crossed := cache.prompts.crossed) is None:
            return None
        keys_values, kv_heads = (crossed.k[layer], crossed.v[layer]), self.arch.kv_heads
        return lambda query_B1NH: cached_attention.cross(
            query_B1NH[:, 0], keys_values, indices, see, kv_heads
        )[:, None]

    def grow(
        self,
        tokens_RT: jax.Array,
        positions_RT: jax.Array,
        slot_RT: jax.Array,
        row_R: jax.Array,
        seen_RTS: tuple[jax.Array, ...],
        read: tuple[Blocks, Blocks],
    ) -> tuple[jax.Array, tuple[Blocks, Blocks]]:
        """Reads further tokens of trees whose others have been read.

        Args:
            tokens_RT: int32 ids.
            positions_RT: int32, the depth of each in its tree.
            slot_RT: int32, where its key and value go among the S of its row; S: nowhere.
            row_R: int32, the row of each tree among the B that there are.
            seen_RTS: bool, the slots on the way to each token, its own among them; one for each
                window of the layers, in the order of their first ones.
            read: keys and values of each layer [B, K, S, H]; donate them.

        Returns:
            hidden_RTD after the final norm, and what has been read with these tokens in it.
        """
        x, turns = self._start(tokens_RT, positions_RT)
        ks, vs = list(read[0]), list(read[1])
        see = dict(zip(dict.fromkeys(self.arch.windows), seen_RTS, strict=True))
        for layer, (block, window, cos_sin) in enumerate(
            zip(self.blocks, self.arch.windows, turns, strict=True)
        ):
            q, *new = block.project(x, cos_sin)
            for held, new_RKTH in zip((ks, vs), new, strict=True):
                new_RTKH = new_RKTH.swapaxes(1, 2).astype(held[layer].dtype)
                put = held[layer].at[row_R[:, None], :, slot_RT]
                held[layer] = put.set(new_RTKH, mode="drop")
            mixed = attention.plain(q, ks[layer][row_R], vs[layer][row_R], see[window])
            x = block.join(x, mixed)
        return self.finish(x), (tuple(ks), tuple(vs))

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Scores of all vocab_size ids, float32 [..., V], of hidden [..., D]."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        scores = matmul_nt(flat, self.output_rows().astype(hidden.dtype))
        return gathered(scores.reshape(*hidden.shape[:-1], -1))

    def output_rows(self) -> jax.Array:
        """The output matrix [V, D]; the embedding itself where they are tied."""
        return self.embed[...] if self.arch.tied else self.unembed[...]

    @property
    def _is_relative(self) -> bool:
        return self.arch.positions == "relative"

    def finish(self, x: jax.Array) -> jax.Array:
        """The hidden state after the last layer, as the output matrix is multiplied with it."""
        x = self.final_norm(x)
        return x * jnp.asarray(self.arch.width**-0.5, x.dtype) if self.arch.scaled_output else x

    def _check_length(self, tokens: int) -> None:
        if tokens > self.arch.context:
            raise ValueError(
                f"rows of {tokens} tokens do not fit the model's context of "
                f"{self.arch.context}; cut them or raise model.context"
            )

    def _start(
        self, tokens: jax.Array, positions: jax.Array
    ) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array] | None]]:
        return self.place(self.look_up(tokens), positions)

    def place(
        self, rows: jax.Array, positions: jax.Array
    ) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array] | None]]:
        """From rows of the embedding [..., D] to the residual stream's first state [..., D] and the
        rotation of each layer, None with learned and with relative positions.
        """
        arch = self.arch
        x = rows.astype(self.dtype)
        if arch.scaled_embed:  # the factor is rounded as well: so Gemma was trained
            x = x * jnp.asarray(arch.width**0.5, self.dtype)
        if arch.positions == "learned":
            x = x + self.positions[...][positions].astype(self.dtype)
        if arch.positions != "rotary":
            return x, [None] * arch.layers

        def turn(theta: float, scaling: rotary.RopeScaling | None) -> tuple[jax.Array, jax.Array]:
            # XLA would compute sines anew in every layer, where they fuse with the rotation.
            return jax.lax.optimization_barrier(
                rotary.rotation(positions, arch.head_width, theta, scaling)
            )

        cos_sin = turn(arch.rope_theta, arch.rope_scaling)
        local = cos_sin if arch.local_rope_theta is None else turn(arch.local_rope_theta, None)
        return x, [cos_sin if window is None else local for window in arch.windows]

    def look_up(self, tokens: jax.Array) -> jax.Array:
        """The tokens' rows of the embedding, of which this device may have a part only."""
        embed_VD = self.embed[...]
        first = first_row(len(embed_VD))
        if isinstance(first, int):
            return embed_VD[tokens]
        own = tokens - first
        held = (own >= 0) & (own < len(embed_VD))
        return summed(jnp.where(held[..., None], embed_VD[jnp.where(held, own, 0)], 0))


def narrow(weights: Any, dtype: jax.typing.DTypeLike) -> Any:
    """Parameters with the matrices in the type that they are multiplied in.

    Norms' scales and biases stay as exact as they are.
    """

    def narrowed(leaf: Any) -> Any:
        is_matrix = leaf.ndim > 1 and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(dtype) if is_matrix else leaf

    return jax.tree.map(narrowed, weights)
