"""The encoder of prompts in front of a decoder that crosses to them (T5; Flax NNX).

Raffel et al. 2020, section 2.1: the decoder's layers, but every token sees the whole prompt.
"""

from __future__ import annotations

import jax
from flax import nnx

from verifier.model import remat as remat_lib
from verifier.model import view
from verifier.model.arch import Arch
from verifier.model.layers import NORMS, Block, DropoutRate
from verifier.model.relative import RelativeBias


class PromptEncoder(nnx.Module):
    """Embedded prompts to what a decoder crosses to."""

    def __init__(self, arch: Arch, *, rngs: nnx.Rngs, dtype: jax.typing.DTypeLike):
        self.relative = RelativeBias(arch, True, rngs=rngs)
        self.blocks = nnx.List(
            [Block(arch, rngs=rngs, dtype=dtype) for _ in range(arch.encoder_layers)]
        )
        self.final_norm = NORMS[arch.norm](arch.width, arch.norm_eps)

    def __call__(
        self,
        x_BSD: jax.Array,
        ends_BS: jax.Array,
        *,
        dropout: DropoutRate = 0.0,
        dropout_key: jax.Array | None = None,
        remat: bool = False,
    ) -> jax.Array:
        """encoded_BSD after the final norm, of rows that hold several prompts each.

        Args:
            x_BSD: the tokens' rows of the embedding.
            ends_BS: int32, what tells the prompts of a row apart; 0: padding (`view.crossed`).
            dropout: as `Transformer.hidden` has it, and what follows.
            dropout_key: None: no dropout.
            remat: hold only the layers' inputs.
        """
        see = view.View(view.crossed(ends_BS, ends_BS))
        bias_1NSS = self.relative.of_row(x_BSD.shape[1], x_BSD.shape[1])
        for layer, block in enumerate(self.blocks):
            key = None if dropout_key is None else jax.random.fold_in(dropout_key, layer)
            stream, given = remat_lib.Stream(x_BSD, bias_1NSS), remat_lib.Given(None, see, key)
            x_BSD = remat_lib.read_block(
                block, stream, given, dropout=dropout, both_ways=True, remat=remat
            )
        return self.final_norm(x_BSD)
