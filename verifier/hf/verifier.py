"""A verifier as a Hugging Face ForTokenClassification checkpoint with one label, and back.

Both value heads are one linear layer on the hidden state after the final norm, which is what the
families' ForTokenClassification has: a reserved logit's is the reserved row of the output matrix
times the gain. The language-model output does not belong there and is left out. transformers has no
such class for Gemma 3.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from verifier.errors import WeightsError
from verifier.hf.files import read_json, stored_tensors, write_folder
from verifier.hf.names import FAMILIES
from verifier.hf.safetensors_files import NewTensor, reader
from verifier.hf.weights import load_weights, stored_form
from verifier.model.heads import LinearHead, ReservedLogitHead, Verifier

# of config.json: what turns the layer's output into the values of the scores table
ACTIVATION = "value_activation"
ABOUT = "verifier"  # of config.json: what no class of transformers looks at
_CLASS = "ForTokenClassification"


def save_verifier(
    verifier: Verifier,
    folder: str | pathlib.Path,
    *,
    tokenizer_size: int | None = None,
    end_id: int | None = None,
    logits: bool = False,
    about: Mapping[str, Any] | None = None,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Writes config.json and float32 safetensors for AutoModelForTokenClassification.

    `load_verifier` reads them too.

    The model's output at a token is the value after it, raw. Where values are logits, the scores
    table has their sigmoid: `value_activation` of config.json says so, which no class of
    transformers looks at.

    Args:
        verifier: its parameters fully addressable from this host.
        folder: made if missing; an earlier export in it is replaced. The tokenizer's files are
            saved by the tokenizer.
        tokenizer_size: as in `save_weights`: a reserved logit's row is in the linear layer and
            needs none of its own.
        end_id: the token that ends a text; None: nobody knows.
        logits: the values are logits (verify.value_loss=bce).
        about: what else this project is to know of the model when it reads the folder, as JSON;
            None: nothing.
        shard_bytes: a larger model is written as several files with an index.

    Raises:
        WeightsError: no supported Hugging Face family computes this architecture, or the family has
            no such class.
    """
    config, tensors = stored_form(verifier.backbone, tokenizer_size, end_id)
    layer = _layer(config["model_type"])
    weight_D, bias = linear_head(verifier)
    config |= {
        "architectures": [
            config["architectures"][0].replace("ForCausalLM", _CLASS).replace("LMHeadModel", _CLASS)
        ],
        "tie_word_embeddings": True,  # there is no output matrix beside the embedding
        "id2label": {"0": "value"},
        "label2id": {"value": 0},
        "classifier_dropout": 0.0,
        ACTIVATION: "sigmoid" if logits else "none",
    }
    config |= {ABOUT: dict(about)} if about else {}
    kept = [tensor for tensor in tensors if tensor.name != "lm_head.weight"]
    kept.append(NewTensor(f"{layer}.weight", (1, len(weight_D)), lambda: weight_D[None]))
    kept.append(NewTensor(f"{layer}.bias", (1,), lambda: bias))
    write_folder(pathlib.Path(folder), config, kept, shard_bytes)


def _layer(family: str) -> str:
    """What the family's class calls the layer that gives values."""
    layer = FAMILIES[family].values
    if layer is None:
        raise WeightsError(
            f"transformers has no {_CLASS} for {family}: a verifier of this family stays in "
            "the run's own folder (verifier.api.load reads it, verifier.export "
            "--scored=WORKDIR writes its scores); for an export, start the verifier from a "
            "model of another family (verify.init=base verify.weights=FOLDER)"
        )
    return layer


def linear_head(verifier: Verifier) -> tuple[np.ndarray, np.ndarray]:
    """The head as a linear layer: weight [D] and bias [1], float32.

    value = hidden . weight + bias.
    """
    head = verifier.head
    if isinstance(head, ReservedLogitHead):
        weight_D = head.gain[...] * verifier.backbone.output_rows()[head.reserved_id]
    else:
        weight_D = head.kernel[...]
    return np.asarray(weight_D, np.float32), np.asarray(head.bias[...], np.float32)[None]


def load_verifier(
    folder: str | pathlib.Path, *, tokenizer_size: int, dtype: jax.typing.DTypeLike = jnp.float32
) -> Verifier:
    """Reads a ForTokenClassification checkpoint with one label: a decoder with a linear value head.

    Args:
        folder: local.
        tokenizer_size: ids that the tokenizer can produce.
        dtype: of the activations.

    Returns:
        values are the layer's output, raw. The decoder's language-model output is its embedding,
        whatever it was before.

    Raises:
        WeightsError: as `load_weights`, or there is no such layer, or it has several labels.
    """
    folder = pathlib.Path(folder)
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    family = str(config.get("model_type", ""))
    names = (
        [f"{_layer(family)}.{part}" for part in ("weight", "bias")] if family in FAMILIES else []
    )
    # says what is missing or not supported
    backbone = load_weights(folder, tokenizer_size=tokenizer_size, dtype=dtype, beside=names)
    stored, width = stored_tensors(folder), backbone.arch.width
    for name, shape in zip(names, ((1, width), (1,)), strict=True):
        has = stored[name].shape if name in stored else "none"
        if has != shape:
            raise WeightsError(
                f"{folder}: {name}: expected {shape}, found {has}; give a {_CLASS} "
                "checkpoint with one label"
            )
    head = LinearHead(width)
    with reader() as read:
        weight_1D, bias_1 = (read(name, stored[name]) for name in names)
    head.kernel[...], head.bias[...] = jnp.asarray(weight_1D[0]), jnp.asarray(bias_1[0])
    return Verifier(backbone, head)
