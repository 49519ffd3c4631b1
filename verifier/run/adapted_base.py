"""The base model beside which a folder keeps adapters alone: noted, and found again."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from verifier import config as config_lib
from verifier import errors
from verifier.hf import files as hf_files
from verifier.hf import weights as hf_weights
from verifier.model import lora
from verifier.model.arch import Arch
from verifier.model.transformer import Transformer

LORA = "lora"  # the entry of a manifest
KNOBS = ("lora_rank", "lora_alpha", "lora_matrices")  # of the section model, that it notes


def facts(model: config_lib.ModelConfig) -> dict[str, Any]:
    """The entry of the manifest of an adapted model, by which its base is known; else none."""
    if not model.lora_rank:
        return {}
    about = {name: getattr(model, name) for name in KNOBS}
    sums = hf_files.sums(hf_files.resolve_weights(model.weights))
    return {LORA: {**about, "weights": model.weights, "files": sums}}


def load(
    folder: pathlib.Path,
    about: Mapping[str, Any],
    arch: Arch,
    tokenizer_size: int,
    dtype: str,
    mesh: jax.sharding.Mesh | None,
) -> Transformer:
    """The base of a model folder, with adapters whose numbers are to be read.

    Args:
        folder: that holds the adapters, for messages.
        about: what its manifest says of its base.
        arch: of the model.
        tokenizer_size: ids of its tokenizer.
        dtype: of activations.
        mesh: as `hf.weights.load_weights`.

    Raises:
        WeightsError: the base is not where it was.
        Damaged: it has changed since.
    """
    weights = about["weights"]
    try:
        source = hf_files.resolve_weights(weights)
    except errors.WeightsError as error:
        raise errors.WeightsError(
            f"{folder} holds adapters of the base model {weights}, which cannot be read: {error}"
        ) from error
    if changed := config_lib.differences(about["files"], hf_files.sums(source)):
        raise errors.Damaged(
            f"{folder} holds adapters of the base model {weights}, which has changed since "
            f"({changed[0]}); put back the files it had"
        )
    model = hf_weights.load_weights(
        source, tokenizer_size=tokenizer_size, dtype=jnp.dtype(dtype), mesh=mesh
    )
    model.arch = arch
    knobs = {name: about[name] for name in KNOBS}
    lora.attach(model, config_lib.ModelConfig(**knobs), jax.random.key(0))
    return model
