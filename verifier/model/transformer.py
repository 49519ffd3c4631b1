"""The decoder, with or without a cache, for every family that `Arch` describes. Knows no text, no loss and no sampling."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.model import cached_attention, rotary
from verifier.model.arch import Arch as Arch  # at home beside the layers that need it; the room's door is here
from verifier.model.arch import scratch_arch as scratch_arch
from verifier.model.cache import Cache, Prefix, Seating, append
from verifier.model.layers import NORMS, Block, Seen, attend


class Transformer(nnx.Module):
    """A decoder-only transformer. Parameters are float32, activations `dtype`; norms, softmax and logits are computed in float32."""

    def __init__(self, arch: Arch, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike = jnp.float32):
        self.arch, self.dtype = arch, jnp.dtype(dtype)
        init = nnx.initializers.normal(0.02)
        self.embed = nnx.Param(init(rngs.params(), (arch.vocab_size, arch.width), jnp.float32))
        if arch.positions == "learned":
            self.positions = nnx.Param(init(rngs.params(), (arch.context, arch.width), jnp.float32))
        self.blocks = nnx.List([Block(arch, rngs=rngs, dtype=self.dtype) for _ in range(arch.layers)])
        self.final_norm = NORMS[arch.norm](arch.width, arch.norm_eps)
        if not arch.tied:
            self.unembed = nnx.Param(init(rngs.params(), (arch.vocab_size, arch.width), jnp.float32))

    def hidden(
        self,
        tokens_BT: jax.Array,
        positions_BT: jax.Array,
        segment_ids_BT: jax.Array,
        *,
        dropout_rate: float = 0.0,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Reads packed rows; a token sees itself and earlier tokens of its own segment.

        Args:
            tokens_BT: int32 ids.
            positions_BT: int32, counted from 0 in each segment.
            segment_ids_BT: int32, 0 padding, 1.. the examples of a row.
            dropout_rate: static; share of each block output's entries that is dropped (Cobbe et al. 2021, residual dropout).
            dropout_key: None: no dropout.

        Returns:
            hidden_BTD after the final norm, in `dtype`.

        Raises:
            ValueError: rows longer than the context.
        """
        self._check_length(tokens_BT.shape[-1])
        x, cos_sin = self._start(tokens_BT, positions_BT)
        mask_BTS = segment_ids_BT[:, :, None] == segment_ids_BT[:, None, :]
        order = jnp.arange(tokens_BT.shape[1])
        mask_BTS &= self._visible(order[:, None], order[None, :])
        for layer, block in enumerate(self.blocks):
            q, k, v = block.project(x, cos_sin)
            mixed = attend(q[:, None], Seen(k, v, mask_BTS[:, None]))[:, 0]
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, layer)
            x = block.join(x, mixed, dropout_rate, key)
        return self.final_norm(x)

    def prefill(self, tokens_PS: jax.Array, length_P: jax.Array) -> tuple[jax.Array, Prefix]:
        """Reads right-padded prompts, one a problem.

        Args:
            tokens_PS: int32 ids; what lies behind length_P is never seen.
            length_P: int32, tokens of each prompt.

        Returns:
            hidden_PSD (meaningless behind length_P) and the prompts' keys and values.
        """
        self._check_length(tokens_PS.shape[-1])
        order = jnp.arange(tokens_PS.shape[1])
        x, cos_sin = self._start(tokens_PS, jnp.broadcast_to(order, tokens_PS.shape))
        mask = self._visible(order[:, None], order[None, :])[None, None]
        ks, vs = [], []
        for block in self.blocks:
            q, k, v = block.project(x, cos_sin)
            x = block.join(x, attend(q[:, None], Seen(k, v, mask))[:, 0])
            ks.append(k)
            vs.append(v)
        return self.final_norm(x), Prefix(tuple(ks), tuple(vs), length_P.astype(jnp.int32))

    def extend(
        self, token_B: jax.Array, position_B: jax.Array, reads_B: jax.Array, cache: Cache, seating: Seating, column: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """Reads one new token of every row; each sees its prompt, its own earlier tokens and itself.

        Args:
            token_B: int32 ids.
            position_B: int32, where they stand in prompt and solution together.
            reads_B: bool; rows that do not read leave nothing in the cache, and their hidden state means nothing.
            cache: donate it: the new tokens are written in place.
            seating: which prompt and pages each row sees.
            column: int32 scalar, the column of the newest pages to write; each once between two calls of `cache.flush`.

        Returns:
            hidden_BD and the cache with the new tokens in it.
        """
        written_B = jnp.where(reads_B, position_B, -1)
        position_XW = jax.lax.dynamic_update_slice(cache.pages.position_XW, written_B[:, None], (0, column))
        cache = dataclasses.replace(cache, pages=dataclasses.replace(cache.pages, position_XW=position_XW))
        see = cached_attention.masks(cache, seating, position_B, self.arch.sliding_window)
        x, cos_sin = self._start(token_B[:, None], position_B[:, None])
        ks, vs = list(cache.pages.k), list(cache.pages.v)
        for layer, block in enumerate(self.blocks):
            q, k, v = block.project(x, cos_sin)
            ks[layer], vs[layer] = append(ks[layer], vs[layer], k, v, column)
            prompt = cache.prompts.k[layer], cache.prompts.v[layer]
            mixed = cached_attention.attend(q[:, 0], prompt, (ks[layer], vs[layer]), seating, see)
            x = block.join(x, mixed[:, None])
        pages = dataclasses.replace(cache.pages, k=tuple(ks), v=tuple(vs))
        return self.final_norm(x)[:, 0], dataclasses.replace(cache, pages=pages)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Scores of all vocab_size ids, float32 [..., V], of hidden [..., D]."""
        output_VD = self.output_rows()
        return jnp.einsum("...D,VD->...V", hidden, output_VD.astype(hidden.dtype), preferred_element_type=jnp.float32)

    def output_rows(self) -> jax.Array:
        """The output matrix [V, D]; the embedding itself where they are tied."""
        return self.embed[...] if self.arch.tied else self.unembed[...]

    def _check_length(self, tokens: int) -> None:
        if tokens > self.arch.context:
            raise ValueError(
                f"rows of {tokens} tokens do not fit the model's context of {self.arch.context}; cut them or raise model.context"
            )

    def _start(self, tokens: jax.Array, positions: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None]:
        """The residual stream's first state [..., D] and the rotation of all layers (None with learned positions)."""
        x = self.embed[...][tokens].astype(self.dtype)
        if self.arch.positions == "learned":
            return x + self.positions[...][positions].astype(self.dtype), None
        return x, rotary.rotation(positions, self.arch.head_width, self.arch.rope_theta, self.arch.rope_scaling)

    def _visible(self, query: jax.Array, key: jax.Array) -> jax.Array:
        """True where a query at one place of a row sees a key at another: not later, and within the sliding window."""
        seen = key <= query
        return seen if self.arch.sliding_window is None else seen & (query - key < self.arch.sliding_window)
