"""Value heads: from the hidden state after a token to one number."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.errors import ConfigError
from verifier.model.products import einsum
from verifier.model.transformer import Transformer


class ReservedLogitHead(nnx.Module):
    """value = gain * (logit of a reserved id) + bias: two parameters in all.

    Cobbe et al. 2021, section 4.2.

    Args:
        reserved_id: an id that no text encodes to and that stays out of the token softmax.
        initial_bias: where values start, say the share of correct samples; the paper gives none.
    """

    def __init__(self, reserved_id: int, *, initial_bias: float = 0.0):
        self.reserved_id = reserved_id
        self.gain = nnx.Param(jnp.ones((), jnp.float32))
        self.bias = nnx.Param(jnp.full((), initial_bias, jnp.float32))

    def __call__(self, hidden: jax.Array, backbone: Transformer) -> jax.Array:
        """Values, float32 [...], of hidden [..., D].

        Only the reserved row of the output matrix is multiplied.
        """
        row_D = backbone.output_rows()[self.reserved_id]
        return self.gain[...] * _dot(hidden, row_D) + self.bias[...]


class LinearHead(nnx.Module):
    """value = hidden . kernel + bias, beside the language model's output.

    Args:
        width: D of the backbone.
        rngs: for a random kernel of std 0.02 / sqrt(D); None: zeros, so that every value starts at
            initial_bias.
        initial_bias: where values start.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs | None = None, initial_bias: float = 0.0):
        kernel = jnp.zeros(width, jnp.float32)
        if rngs is not None:
            kernel = jax.random.normal(rngs.params(), (width,)) * (0.02 / width**0.5)
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.full((), initial_bias, jnp.float32))

    def __call__(self, hidden: jax.Array, backbone: Transformer) -> jax.Array:
        """Values, float32 [...], of hidden [..., D]."""
        return _dot(hidden, self.kernel[...]) + self.bias[...]


class Verifier(nnx.Module):
    """A decoder that gives a value after every token and keeps its language-model output."""

    def __init__(self, backbone: Transformer, head: ReservedLogitHead | LinearHead):
        """Puts both together.

        Raises:
            ConfigError: the backbone has an encoder.
        """
        if backbone.arch.encoder_layers:
            raise ConfigError(
                "a verifier reads question and solution in one row, which a model with an encoder "
                "(T5) does not; start it from a decoder: verify.init=base verify.weights=FOLDER"
            )
        if (
            isinstance(head, ReservedLogitHead)
            and not 0 <= head.reserved_id < backbone.arch.vocab_size
        ):
            raise ValueError(
                f"reserved_id {head.reserved_id} has no row in an embedding of "
                f"{backbone.arch.vocab_size}; load the weights with min_vocab = reserved_id + 1"
            )
        self.backbone, self.head = backbone, head

    def values(self, hidden: jax.Array) -> jax.Array:
        """Values, float32 [...], of hidden [..., D].

        The one at t judges the text up to and with token t.
        """
        return self.head(hidden, self.backbone)


def fresh_row(
    transformer: Transformer, reserved_id: int, key: jax.Array, *, scale: float = 0.02
) -> None:
    """Gives the reserved id's output row a small random start, in place.

    The row's std is scale / sqrt(D): first logits have a std near `scale`.

    A row that the language model trained, or that lies unused in a checkpoint, is a poor start for
    a value. Where the matrices are tied the embedding's row changes too, which no text ever reads.
    """
    rows = transformer.embed if transformer.arch.tied else transformer.unembed
    row_D = jax.random.normal(key, (transformer.arch.width,), jnp.float32) * (
        scale / transformer.arch.width**0.5
    )
    rows[...] = rows[...].at[reserved_id].set(row_D.astype(rows[...].dtype))


def _dot(hidden: jax.Array, row_D: jax.Array) -> jax.Array:
    """hidden [..., D] . row [D], summed in float32.

    The operands are of the hidden state's dtype, as those of the logits are.
    """
    return einsum("...D,D->...", hidden, row_D)
