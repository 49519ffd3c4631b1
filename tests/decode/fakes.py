"""Models and a tokenizer for the tests of decoding, simple enough to be computed by hand.

Knows nothing of the engine.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.decode.job import Completion, Stored
from verifier.model.arch import Arch
from verifier.model.cache import Cache, CacheIndices, Prefix
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


class Scripted(nnx.Module):
    """Wants to write a script's token at every place of its solution, whatever stands before.

    The prompt's first token picks the script.
    """

    dtype = jnp.float32

    def __init__(self, scripts: list[list[int]], vocab_size: int, context: int = 64) -> None:
        table = np.zeros((len(scripts), context), np.int32)
        for row, script in enumerate(scripts):
            table[row, : len(script)] = script
        self.scripts = nnx.Variable(jnp.asarray(table))
        self.vocab_size = vocab_size
        self.arch = Arch(
            vocab_size,
            layers=1,
            width=2,
            heads=1,
            kv_heads=1,
            head_width=2,
            mlp_width=1,
            context=context,
        )

    def prefill(self, tokens_PS: jax.Array, length_P: jax.Array) -> tuple[jax.Array, Prefix]:
        chosen_PS = jnp.broadcast_to(
            self.scripts[...][tokens_PS[:, 0], 0][:, None], tokens_PS.shape
        )
        keys = jnp.repeat(tokens_PS.astype(jnp.float32)[:, None, :, None], 2, axis=-1)
        return chosen_PS.astype(jnp.float32)[..., None], Prefix(
            k=(keys,), v=(keys,), length_P=length_P
        )

    def extend(
        self,
        token_B: jax.Array,
        position_B: jax.Array,
        reads_B: jax.Array,
        cache: Cache,
        indices: CacheIndices,
        column: jax.Array,
    ) -> tuple[jax.Array, Cache]:
        script_B = cache.prompts.k[0][:, 0, 0].astype(jnp.int32)[indices.prompt_B]
        index_B = position_B - cache.prompts.length_P[indices.prompt_B] + 1
        return self.scripts[...][script_B, index_B].astype(jnp.float32)[:, None], cache

    def logits(self, hidden_xD: jax.Array) -> jax.Array:
        return jnp.where(jnp.arange(self.vocab_size) == hidden_xD.astype(jnp.int32), 0.0, MISS)


class Nudged(nnx.Module):
    """A random transformer whose logits also follow a table of pairs of tokens: it writes
    annotations, right and broken ones.
    """

    def __init__(self, base: Transformer, pairs_VV: np.ndarray) -> None:
        self.base = base
        self.pairs = nnx.Variable(jnp.asarray(pairs_VV, jnp.float32))
        self.arch, self.dtype = base.arch, base.dtype

    def _join(self, hidden_xD: jax.Array, tokens_x: jax.Array) -> jax.Array:
        return jnp.concatenate([hidden_xD.astype(jnp.float32), self.pairs[...][tokens_x]], axis=-1)

    def hidden(
        self, tokens_BT: jax.Array, positions_BT: jax.Array, ends_BT: jax.Array | None
    ) -> jax.Array:
        return self._join(self.base.hidden(tokens_BT, positions_BT, ends_BT), tokens_BT)

    def prefill(self, tokens_PS: jax.Array, length_P: jax.Array) -> tuple[jax.Array, Prefix]:
        hidden_PSD, prefix = self.base.prefill(tokens_PS, length_P)
        return self._join(hidden_PSD, tokens_PS), prefix

    def extend(self, token_B: jax.Array, *rest: Any) -> tuple[jax.Array, Cache]:
        hidden_BD, cache = self.base.extend(token_B, *rest)
        return self._join(hidden_BD, token_B), cache

    def logits(self, hidden_xD: jax.Array) -> jax.Array:
        width = self.arch.width
        logits_xV = self.base.logits(hidden_xD[..., :width])
        return logits_xV + hidden_xD[..., width : width + logits_xV.shape[-1]]


def stored(completions: Iterable[Completion]) -> Stored:
    """Solutions as an earlier start has left them."""
    tokens, forced, spans = [], [], collections.defaultdict(dict)
    for each in completions:
        spans[each.problem_id][each.sample_id] = len(tokens), len(tokens) + len(each.tokens)
        tokens += each.tokens
        forced += each.forced
    return Stored(np.asarray(tokens, np.int32), np.asarray(forced, bool), spans)
