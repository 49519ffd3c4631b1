"""Texts to unit vectors by a sentence encoder of a Hugging Face folder."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.errors import WeightsError
from verifier.hf.files import stored_tensors
from verifier.hf.names import full_name, is_ignored
from verifier.hf.sentence_config import SentenceConfig, read_sentence_config
from verifier.hf.weights import Tensors, filled
from verifier.model.encoder import Encoder
from verifier.text.sentence_tokenizer import SentenceTokenizer

_FAMILY = "bert"
# Batches have so many rows, of so many tokens or of twice, four times as many ...: a program each.
_ROWS = (1, 4, 16, 64)
_TOKENS = 32


class SentenceEncoder:
    """Texts to unit vectors (Sentence-BERT, Reimers and Gurevych 2019).

    The cosine of two texts is the product of their vectors.
    """

    def __init__(self, encoder: Encoder, tokenizer: SentenceTokenizer):
        """Of its two parts; `load` makes them of a folder."""
        self.width = encoder.arch.width
        self._context = encoder.arch.context
        self._tokenizer = tokenizer
        self._graph, self._state = nnx.split(encoder)

    @classmethod
    def load(cls, folder: str | pathlib.Path) -> SentenceEncoder:
        """Reads a BERT of its folder: config.json, model.safetensors and tokenizer.json.

        Where sentence-transformers has left files beside them, they say how tokens are pooled and
        where texts are cut. Vectors are always brought to length 1.

        Args:
            folder: local; see `hf.files.resolve_weights`.

        Raises:
            WeightsError: files missing or damaged; another model, pooling or activation; a
                tokenizer larger than the embedding; all wrong tensors at once.
            TokenizerError: no tokenizer.json, or one that cannot be read.
            DataError: a modules.json that is no JSON.
        """
        config = read_sentence_config(pathlib.Path(folder))
        tokenizer = SentenceTokenizer(config.folder, config.most_tokens, config.lower)
        if tokenizer.vocab_size > config.arch.vocab_size:
            raise WeightsError(
                f"tokenizer larger than the embedding: {tokenizer.vocab_size} ids, "
                f"{config.arch.vocab_size} rows in {config.folder}; use the tokenizer of these "
                "weights"
            )
        return cls(_load_encoder(config), tokenizer)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """unit_ND, float32: the vector of each text.

        A text is padded by its own length, not by what it stands beside.

        Args:
            texts: any, the empty one too; the end of what is too long is not read.
        """
        ids = self._tokenizer.encode(texts)
        by_length: dict[int, list[int]] = {}
        for text, own in enumerate(ids):
            by_length.setdefault(self._padded(len(own)), []).append(text)
        unit_ND = np.zeros((len(ids), self.width), np.float32)
        for length, alike in by_length.items():
            for first in range(0, len(alike), _ROWS[-1]):
                some = alike[first : first + _ROWS[-1]]
                unit_ND[some] = self._read([ids[text] for text in some], length)
        return unit_ND

    def _padded(self, tokens: int) -> int:
        """The tokens of the shortest batches that hold a text."""
        length = _TOKENS
        while length < tokens:
            length *= 2
        return min(length, self._context)

    def _read(self, ids: Sequence[Sequence[int]], length: int) -> np.ndarray:
        """unit_BD of at most so many texts as a batch has rows."""
        rows = next(rows for rows in _ROWS if rows >= len(ids))
        tokens_BT, length_B = np.zeros((rows, length), np.int32), np.zeros(rows, np.int32)
        for row, own in enumerate(ids):
            tokens_BT[row, : len(own)], length_B[row] = own, len(own)
        unit_BD = _encode(self._graph, self._state, tokens_BT, length_B)
        return np.asarray(unit_BD)[: len(ids)]


@functools.partial(jax.jit, static_argnums=0)
def _encode(graph: Any, state: nnx.State, tokens_BT: jax.Array, length_B: jax.Array) -> jax.Array:
    return nnx.merge(graph, state)(tokens_BT, length_B)


def _load_encoder(config: SentenceConfig) -> Encoder:
    """The tensors of a folder in an encoder, one at a time; errors as `SentenceEncoder.load`."""
    stored = stored_tensors(config.folder)
    names = {
        full_name(_FAMILY, _renamed(name)): name for name in stored if not is_ignored(_FAMILY, name)
    }
    tensors = Tensors(config.folder, _FAMILY, config.arch, stored, names)
    return filled(functools.partial(_new, config), tensors, lambda _, part: jnp.asarray(part), [])


def _new(config: SentenceConfig) -> Encoder:
    return Encoder(config.arch, config.types, config.pooling, rngs=nnx.Rngs(0))


def _renamed(name: str) -> str:
    """A tensor's name of today: the first BERTs have the names that TensorFlow gives norms."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )
