"""What the JSON files of a sentence encoder's folder say: sizes, pooling, where texts are cut.

A BERT folder, with or without the files of sentence-transformers beside it. No tensor is read.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from verifier.errors import WeightsError
from verifier.hf import fields as hf_fields
from verifier.hf.config import activation
from verifier.hf.files import read_json
from verifier.hf.weights import read_config
from verifier.model.arch import Arch
from verifier.system import text_files

_SUCH_AS = "such as sentence-transformers/all-MiniLM-L6-v2"
_MODULES = ["Transformer", "Pooling", "Normalize"]
_FOLDER = re.compile(r"([\w-][\w.-]*)?")  # a name alone: a module leads nowhere but inside
_LEAST_TOKENS = 3  # what BERT puts around a text, and a token of the text
# What transformers assumes where config.json is silent.
_DEFAULTS: dict[str, Any] = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
# Fields that change the computation, with the only values that are supported.
_ONLY: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "quantization_config": ({},),
}
_POOLINGS = {
    "mean": "mean",
    "pooling_mode_mean_tokens": "mean",
    "cls": "cls",
    "pooling_mode_cls_token": "cls",
}


class SentenceConfig(NamedTuple):
    """A sentence encoder but for its tensors.

    Args:
        folder: with config.json, the tensors and the tokenizer.
        arch: sizes and choices.
        types: kinds of text that the model tells apart.
        pooling: mean | cls.
        most_tokens: of a text, with those that the tokenizer puts around it.
        lower: texts are read in small letters, whatever the tokenizer says.
    """

    folder: pathlib.Path
    arch: Arch
    types: int
    pooling: str
    most_tokens: int
    lower: bool


def read_sentence_config(folder: pathlib.Path) -> SentenceConfig:
    """Reads config.json and, where they are, the files of sentence-transformers.

    Raises:
        WeightsError: no folder, no config.json, another model than a BERT, a missing size, an
            activation, pooling or module that is not supported, or a value that none can have.
        DataError: a modules.json that is no JSON.
    """
    inside, pooling_file = _modules(folder)
    config = read_config(inside)
    try:
        arch, types = encoder_from_hf(config)
    except WeightsError as error:
        raise WeightsError(f"{inside / 'config.json'}: {error}") from error
    settings = _optional(inside / "sentence_bert_config.json")
    return SentenceConfig(
        folder=inside,
        arch=arch,
        types=types,
        pooling=_pooling(pooling_file),
        most_tokens=_most_tokens(inside, settings, arch.context),
        lower=settings.get("do_lower_case") is True,
    )


def encoder_from_hf(config: Mapping[str, Any]) -> tuple[Arch, int]:
    """The encoder that a config.json describes, and how many types of tokens it has.

    Raises:
        WeightsError: no BERT, an unsupported feature, a missing size, or a value that none can
            have, by name.
    """
    family = config.get("model_type")
    if family != "bert":
        raise WeightsError(
            f"model_type {family!r:.80} is not supported for sentences, only 'bert' is; take a "
            f"BERT, {_SUCH_AS}"
        )
    config = _DEFAULTS | hf_fields.believed(config)
    for field, allowed in _ONLY.items():
        if field in config and config[field] not in allowed:
            raise WeightsError(
                f"bert with {field}={config[field]!r:.80} is not supported, only "
                f"{allowed[0]!r} is; take another BERT, {_SUCH_AS}"
            )
    try:
        heads, width = config["num_attention_heads"], config["hidden_size"]
        if width % heads:
            raise WeightsError(
                f"hidden_size {width} is not a multiple of num_attention_heads {heads}; take the "
                "file that belongs to the weights"
            )
        arch = Arch(
            vocab_size=config["vocab_size"],
            layers=config["num_hidden_layers"],
            width=width,
            heads=heads,
            kv_heads=heads,
            head_width=width // heads,
            mlp_width=config["intermediate_size"],
            context=config["max_position_embeddings"],
            norm="layer",
            norm_eps=float(config["layer_norm_eps"]),
            positions="learned",
            activation=activation(config["hidden_act"]),
            gated=False,
            qkv_bias=True,
            out_bias=True,
            mlp_bias=True,
        )
    except KeyError as error:
        raise WeightsError(
            f"config.json of a bert model lacks {error.args[0]!r}; take the file that belongs to "
            "the weights"
        ) from error
    return arch, config["type_vocab_size"]


def _modules(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path | None]:
    """The folder of the transformer, and the file that says how its tokens are pooled, if any."""
    path = folder / "modules.json"
    if not path.is_file():
        pooling = folder / "1_Pooling" / "config.json"
        return folder, pooling if pooling.is_file() else None
    listed = text_files.read_json(path)
    modules = [
        (str(each.get("type")).rpartition(".")[2], str(each.get("path")))
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict)
    ]
    kinds, names = [kind for kind, _ in modules], [name for _, name in modules]
    if kinds not in (_MODULES, _MODULES[:2]):
        raise WeightsError(
            f"{path} lists the modules {', '.join(kinds) or 'none'}, expected "
            f"{', '.join(_MODULES)} (the last may be left out); take another encoder, {_SUCH_AS}"
        )
    for name in names:
        if not _FOLDER.fullmatch(name):
            raise WeightsError(
                f"{path} looks for a module in {name!r:.200}, which is no name of a folder beside "
                "it; download it again"
            )
    pooling = folder / names[1] / "config.json"
    if not pooling.is_file():
        raise WeightsError(f"{path} names {pooling}, which is not there; download it too")
    return folder / names[0], pooling


def _pooling(path: pathlib.Path | None) -> str:
    """How the tokens of a text become one vector; without a file, by their mean."""
    if path is None:
        return "mean"
    config = read_json(path)
    if "pooling_mode" in config:
        given = config["pooling_mode"]
        modes = list(map(str, given)) if isinstance(given, list) else [str(given)]
    else:
        modes = [name for name in config if name.startswith("pooling_mode_") and config[name]]
    modes = modes or ["mean"]  # as sentence-transformers has it
    if len(modes) > 1 or modes[0] not in _POOLINGS:
        raise WeightsError(
            f"{path}: pooling by {' and '.join(modes):.200} is not supported, only by mean or by "
            f"cls alone; take another encoder, {_SUCH_AS}"
        )
    return _POOLINGS[modes[0]]


def _most_tokens(folder: pathlib.Path, settings: Mapping[str, Any], context: int) -> int:
    """Where sentence-transformers cuts a text.

    At its own max_seq_length, else at the tokenizer's model_max_length, never beyond the positions.
    """
    file, name = "sentence_bert_config.json", "max_seq_length"
    value = settings.get(name)
    if value is None:
        file, name = "tokenizer_config.json", "model_max_length"
        value = _optional(folder / file).get(name)
    if value is None:
        file, name, value = "config.json", "max_position_embeddings", context
    if type(value) not in (int, float) or not value >= _LEAST_TOKENS:
        raise WeightsError(
            f"{folder / file}: {name}={value!r:.80} is not a number from {_LEAST_TOKENS} on; take "
            "the file that belongs to the weights"
        )
    return int(min(value, context))


def _optional(path: pathlib.Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
