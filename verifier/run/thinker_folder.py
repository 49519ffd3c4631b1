"""A model that thinks before every token, as a model folder.

    generator/
      params/         the decoder's, as of any generator: whoever asks for no thoughts reads it so
      thoughts/       (Orbax) the embeddings of the two marks, and the head that mixes predictions
      manifest.json   "thoughts": how it was taught to think, and the scale of the embeddings; the
                      id is that of all parameters

The marks have no rows in the vocabulary: it needs no room for them, and no text can hold one.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.errors import WorkdirError
from verifier.model import sharding
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer
from verifier.run import model_folder
from verifier.run.model_folder import Saved
from verifier.text.tokenizer import Tokenizer
from verifier.train import parameters

THOUGHTS = "thoughts"  # the entry of a manifest, and the folder of parameters beside
# Parameters that are not the decoder's.
_OWN = nnx.All(nnx.Param, nnx.Not(nnx.PathContains("backbone")))


def save(
    folder: pathlib.Path, thinker: Thinker, tokenizer: Tokenizer, facts: Mapping[str, Any]
) -> str:
    """Writes a thinker's folder and returns its id; arguments as `model_folder.save`."""
    about = {**facts.get(THOUGHTS, {}), "embedding_scale": thinker.embedding_scale}
    beside = {THOUGHTS: nnx.state(thinker, _OWN)}
    return model_folder.save(
        folder, thinker.backbone, tokenizer, {**facts, THOUGHTS: about}, beside
    )


def outline(folder: pathlib.Path, stage: str, dtype: str) -> Saved:
    """As `model_folder.outline`, of a thinker's folder: a `Thinker` of shapes."""
    saved = model_folder.outline(folder, stage, dtype)
    arch, scale = saved.model.arch, saved.manifest[THOUGHTS]["embedding_scale"]

    def build() -> Thinker:
        decoder = Transformer(arch, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype))
        return Thinker(decoder, rngs=nnx.Rngs(0), embedding_scale=scale)

    return saved._replace(model=nnx.eval_shape(build))


def load(
    folder: pathlib.Path,
    stage: str,
    dtype: str,
    mesh: jax.sharding.Mesh | None = None,
    rules: sharding.Rules = sharding.RULES,
) -> Saved:
    """Reads a thinker's folder: a `Thinker`; arguments and errors as `model_folder.load`.

    Raises:
        WorkdirError: it holds a model that does not think, too.
    """
    saved = model_folder.load(folder, stage, dtype, mesh, rules)
    about = saved.manifest.get(THOUGHTS)
    if about is None:
        raise WorkdirError(
            f"{folder} holds a model without thoughts; expected one that finetune of the recipe "
            "quiet_star has made"
        )
    scale = about["embedding_scale"]
    thinker = Thinker(saved.model, rngs=nnx.Rngs(0), embedding_scale=scale)
    wanted = nnx.state(thinker, _OWN)
    if mesh is not None:
        wanted = sharding.place_parameters(wanted, mesh, rules)
    nnx.update(thinker, parameters.load_params(folder / THOUGHTS, wanted))
    return saved._replace(model=thinker)
