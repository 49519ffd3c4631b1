"""Models and a tokenizer for the tests of decoding, simple enough to be computed by hand. Knows nothing of the engine."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.model.cache import Cache, Prefix
from verifier.model.transformer import Transformer

MISS = -4.0  # logit of all tokens but the wanted one


class Pieces:
    """A tokenizer of listed pieces, greedy for the longest: `=1` or `=<<` may be one token."""

    def __init__(self) -> None:
        self.pieces = [chr(code) for code in range(32, 127)] + ["=1", "=-", "=<<", ")=", " =", "<<"]
        self.vocab_size = len(self.pieces) + 1
        self.end_id = len(self.pieces)
        self.reserved_id = self.vocab_size
        self.start_ids: tuple[int, ...] = ()

    def encode(self, text: str) -> list[int]:
        ids = []
        while text:
            piece = max((piece for piece in self.pieces if text.startswith(piece)), key=len)
            ids.append(self.pieces.index(piece))
            text = text[len(piece) :]
        return ids

    def decode(self, ids: list[int]) -> str:
        return "".join(self.pieces[token] for token in ids if token != self.end_id)

    def token_text(self, token: int) -> str:
        return self.decode([token])


@dataclasses.dataclass(frozen=True)
class Sizes:
    """All that the engine asks of a model's arch."""

    context: int


class Scripted(nnx.Module):
    """Wants to write a script's token at every place of its solution, whatever stands before. The prompt's first token picks the script."""

    def __init__(self, scripts: list[list[int]], vocab_size: int, context: int = 64) -> None:
        table = np.zeros((len(scripts), context), np.int32)
        for row, script in enumerate(scripts):
            table[row, : len(script)] = script
        self.scripts = nnx.Variable(jnp.asarray(table))
        self.vocab_size = vocab_size
        self.arch = Sizes(context)

    def prefill(self, tokens_PS: jax.Array, length_P: jax.Array) -> tuple[jax.Array, Prefix]:
        chosen_PS = jnp.broadcast_to(self.scripts[...][tokens_PS[:, 0], 0][:, None], tokens_PS.shape)
        keys = tokens_PS.astype(jnp.float32)[:, None, :, None]
        return chosen_PS.astype(jnp.float32)[..., None], Prefix(k=(keys,), v=(keys,), length_P=length_P)

    def extend(self, tokens_PJT: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        script_P = cache.prefix.k[0][:, 0, 0, 0].astype(jnp.int32)
        place_T = cache.length + 1 + jnp.arange(tokens_PJT.shape[2])
        chosen_PJT = jnp.broadcast_to(self.scripts[...][script_P][:, place_T][:, None], tokens_PJT.shape)
        return chosen_PJT.astype(jnp.float32)[..., None], dataclasses.replace(cache, length=cache.length + tokens_PJT.shape[2])

    def logits(self, hidden_xD: jax.Array) -> jax.Array:
        return jnp.where(jnp.arange(self.vocab_size) == hidden_xD.astype(jnp.int32), 0.0, MISS)


class Nudged(nnx.Module):
    """A random transformer whose logits also follow a table of pairs of tokens: it writes annotations, right and broken ones."""

    def __init__(self, base: Transformer, pairs_VV: np.ndarray) -> None:
        self.base = base
        self.pairs = nnx.Variable(jnp.asarray(pairs_VV, jnp.float32))
        self.arch = base.arch

    def _join(self, hidden_xD: jax.Array, tokens_x: jax.Array) -> jax.Array:
        return jnp.concatenate([hidden_xD.astype(jnp.float32), self.pairs[...][tokens_x]], axis=-1)

    def hidden(self, tokens_BT: jax.Array, positions_BT: jax.Array, segment_ids_BT: jax.Array) -> jax.Array:
        return self._join(self.base.hidden(tokens_BT, positions_BT, segment_ids_BT), tokens_BT)

    def prefill(self, tokens_PS: jax.Array, length_P: jax.Array) -> tuple[jax.Array, Prefix]:
        hidden_PSD, prefix = self.base.prefill(tokens_PS, length_P)
        return self._join(hidden_PSD, tokens_PS), prefix

    def extend(self, tokens_PJT: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        hidden_PJTD, cache = self.base.extend(tokens_PJT, cache)
        return self._join(hidden_PJTD, tokens_PJT), cache

    def logits(self, hidden_xD: jax.Array) -> jax.Array:
        width = self.arch.width
        return self.base.logits(hidden_xD[..., :width]) + hidden_xD[..., width:]
