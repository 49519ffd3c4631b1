"""An encoder of whole texts, and one unit vector a text (Flax NNX).

BERT (Devlin et al. 2019, section 3) as Sentence-BERT reads it (Reimers and Gurevych 2019,
section 3): a token sees all others, norms stand behind what they follow, positions are learned.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.model import attention
from verifier.model.arch import Arch
from verifier.model.layers import MLP, Attention, LayerNorm

POOLINGS = ("mean", "cls")
_LEAST_NORM = 1e-12  # torch's: what is shorter is no direction


class EncoderBlock(nnx.Module):
    """One layer: x = norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, arch: Arch, *, rngs: nnx.Rngs):
        self.attention = Attention(arch, rngs=rngs, dtype=jnp.float32)
        self.attention_norm = LayerNorm(arch.width, arch.norm_eps)
        self.mlp = MLP(arch, rngs=rngs, dtype=jnp.float32)
        self.mlp_norm = LayerNorm(arch.width, arch.norm_eps)

    def __call__(self, x_BTD: jax.Array, seen_B1S: jax.Array) -> jax.Array:
        """x_BTD after the layer.

        seen_B1S: bool, the tokens of each row that are no padding.
        """
        mixed_BTNH = attention.plain(*self.attention.project(x_BTD, None), seen_B1S)
        out_BTD = self.attention.out(mixed_BTNH.reshape(x_BTD.shape))
        x_BTD = self.attention_norm(x_BTD + out_BTD)
        return self.mlp_norm(x_BTD + self.mlp(x_BTD))


class Encoder(nnx.Module):
    """Token ids of whole texts to unit vectors, float32."""

    def __init__(self, arch: Arch, types: int, pooling: str, *, rngs: nnx.Rngs):
        """Parameters at a random start.

        Args:
            arch: with layer norms, learned positions, biases everywhere and no gate.
            types: kinds of text that the model tells apart; every text here is of the first.
            pooling: mean | cls: of all tokens, or what stands at the first.
            rngs: for the start.

        Raises:
            ValueError: another pooling.
        """
        if pooling not in POOLINGS:
            raise ValueError(
                f"pooling {pooling!r} is not known; it must be one of {', '.join(POOLINGS)}"
            )
        self.arch, self.pooling = arch, pooling
        init = nnx.initializers.normal(0.02)
        self.embed = nnx.Param(init(rngs.params(), (arch.vocab_size, arch.width), jnp.float32))
        self.positions = nnx.Param(init(rngs.params(), (arch.context, arch.width), jnp.float32))
        self.types = nnx.Param(init(rngs.params(), (types, arch.width), jnp.float32))
        self.embed_norm = LayerNorm(arch.width, arch.norm_eps)
        self.blocks = nnx.List([EncoderBlock(arch, rngs=rngs) for _ in range(arch.layers)])

    def hidden(self, tokens_BT: jax.Array, length_B: jax.Array) -> jax.Array:
        """hidden_BTD after the last layer; meaningless behind length_B, which nothing sees.

        Args:
            tokens_BT: int32 ids of right-padded texts.
            length_B: int32, tokens of each.

        Raises:
            ValueError: rows longer than the context.
        """
        tokens = tokens_BT.shape[1]
        if tokens > self.arch.context:
            raise ValueError(
                f"rows of {tokens} tokens do not fit the encoder's context of "
                f"{self.arch.context}; cut them"
            )
        x_BTD = self.embed[...][tokens_BT] + self.positions[...][:tokens] + self.types[...][0]
        x_BTD = self.embed_norm(x_BTD)
        seen_BT = jnp.arange(tokens) < length_B[:, None]
        for block in self.blocks:
            x_BTD = block(x_BTD, seen_BT[:, None, :])
        return x_BTD

    def __call__(self, tokens_BT: jax.Array, length_B: jax.Array) -> jax.Array:
        """unit_BD, one vector a text; arguments and errors as `hidden`."""
        hidden_BTD = self.hidden(tokens_BT, length_B)
        if self.pooling == "cls":
            pooled_BD = hidden_BTD[:, 0]
        else:
            seen_BT = jnp.arange(tokens_BT.shape[1]) < length_B[:, None]
            total_BD = jnp.where(seen_BT[..., None], hidden_BTD, 0).sum(axis=1)
            # 1 for rows that hold no text and only fill up a batch
            pooled_BD = total_BD / jnp.maximum(length_B, 1)[:, None]
        norm_B1 = jnp.linalg.norm(pooled_BD, axis=-1, keepdims=True)
        return pooled_BD / jnp.maximum(norm_B1, _LEAST_NORM)
