"""A Hugging Face config.json as an `Arch`; what that cannot express is refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from verifier.errors import WeightsError
from verifier.hf import fields as hf_fields
from verifier.hf import rope as hf_rope
from verifier.model.arch import Arch

# What transformers assumes where config.json is silent; a field with no default here has to be in
# the file.
_ROTARY_DEFAULTS: dict[str, Any] = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "head_dim": None,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "num_key_value_heads": None,
    "sliding_window": None,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": _ROTARY_DEFAULTS | {"max_position_embeddings": 2048},
    "mistral": _ROTARY_DEFAULTS
    | {"max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": _ROTARY_DEFAULTS | {"max_position_embeddings": 32768, "num_key_value_heads": 32},
    "qwen3": _ROTARY_DEFAULTS
    | {"max_position_embeddings": 32768, "num_key_value_heads": 32, "head_dim": 128},
    "gemma3_text": _ROTARY_DEFAULTS
    | {
        "max_position_embeddings": 131072,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "layer_types": None,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
    },
    "gpt2": {
        "n_positions": 1024,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
    },
    "t5": {
        "n_positions": 512,  # of texts that it was trained on: nothing in it ends there
        "d_kv": 64,
        "num_decoder_layers": None,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "relu",
        "tie_word_embeddings": True,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
    },
}
# Fields that change the computation, with the only values that are supported; absent counts as
# supported.
_ONLY: dict[str, dict[str, tuple[Any, ...]]] = {
    "llama": {},
    "mistral": {"attention_bias": (False,), "mlp_bias": (False,)},
    "qwen2": {"use_sliding_window": (False,), "attention_bias": (True,), "mlp_bias": (False,)},
    "qwen3": {"use_sliding_window": (False,), "mlp_bias": (False,)},
    "gemma3_text": {
        "attention_bias": (False,),
        "attn_logit_softcapping": (None,),
        "final_logit_softcapping": (None,),
        "use_bidirectional_attention": (False, None),
    },
    "gpt2": {
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    "t5": {"is_encoder_decoder": (True,), "is_decoder": (False,)},
}
_ONLY_EVERYWHERE: dict[str, tuple[Any, ...]] = {
    "quantization_config": (None,),
    "partial_rotary_factor": (None, 1),
    "is_encoder_decoder": (False,),
}
# Of T5's kin, which differ from it in what no `Arch` says.
_KIN_OF_T5 = {
    "umt5": "has relative positions in every layer",
    "mt5": "has a tokenizer of its own",
    "longt5": "attends to blocks and to summaries of them",
    "switch_transformers": "has experts",
}
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
}


def arch_from_hf(config: Mapping[str, Any]) -> Arch:
    """The model that a config.json describes.

    Args:
        config: as read from the file; of transformers 4 (rope_theta, rope_scaling with type or
            rope_type) or 5 (rope_parameters).

    Returns:
        with vocab_size = the checkpoint's rows.

    Raises:
        WeightsError: an unsupported family or feature, a missing size, or a value that none can
            have, by name.
    """
    config = hf_fields.believed(config)
    family = config.get("model_type")
    if family == "gemma3":
        raise WeightsError(
            "model_type 'gemma3' reads images too and is not supported; take one of the text "
            "models (google/gemma-3-270m, google/gemma-3-1b-pt, or one made of them), whose "
            "model_type is gemma3_text"
        )
    if family in _KIN_OF_T5:
        raise WeightsError(
            f"model_type {family!r} {_KIN_OF_T5[family]} and is not supported; take a T5 "
            "(google/flan-t5-small, google/t5-v1_1-small, or one made of them), whose model_type "
            "is t5"
        )
    if family not in _DEFAULTS:
        raise WeightsError(
            f"model_type {family!r} is not supported; supported are {', '.join(sorted(_DEFAULTS))}"
        )
    for field, allowed in (_ONLY_EVERYWHERE | _ONLY[family]).items():
        if field in config and config[field] not in allowed and config[field] != {}:
            raise WeightsError(
                f"{family} with {field}={config[field]!r} is not supported; only "
                f"{' or '.join(map(repr, allowed))}"
            )
    try:
        read = {"gpt2": _gpt2, "gemma3_text": _gemma3, "t5": _t5}.get(family, _rotary)
        return read(family, _DEFAULTS[family] | config)
    except WeightsError:  # is a ValueError itself
        raise
    except KeyError as error:
        raise WeightsError(
            f"config.json of a {family} model lacks {error.args[0]!r}; take the file that "
            "belongs to the weights"
        ) from error
    except (TypeError, ValueError) as error:  # a field that is no number, or sizes that do not fit
        raise WeightsError(f"config.json does not describe a {family} model: {error}") from error


def _rotary(family: str, config: dict[str, Any]) -> Arch:
    """Llama, Mistral, Qwen2, Qwen3."""
    heads, width = config["num_attention_heads"], config["hidden_size"]
    window = config["sliding_window"] if family == "mistral" else None
    expected_type = "full_attention" if window is None else "sliding_attention"
    other_types = set(config.get("layer_types") or ()) - {expected_type}
    if other_types:
        raise WeightsError(
            f"{family} with layer_types {', '.join(sorted(other_types))} is not supported; "
            f"only {expected_type}"
        )
    if not config["head_dim"] and width % heads:
        raise WeightsError(
            f"hidden_size {width} is not a multiple of num_attention_heads {heads}, and "
            "config.json has no head_dim"
        )
    theta, scaling = hf_rope.read(config)
    return Arch(
        vocab_size=config["vocab_size"],
        layers=config["num_hidden_layers"],
        width=width,
        heads=heads,
        kv_heads=config["num_key_value_heads"] or heads,
        head_width=config["head_dim"] or width // heads,
        mlp_width=config["intermediate_size"],
        context=config["max_position_embeddings"],
        norm="rms",
        norm_eps=float(config["rms_norm_eps"]),
        positions="rotary",
        rope_theta=theta,
        rope_scaling=scaling,
        activation=activation(config["hidden_act"]),
        gated=True,
        qkv_bias=family == "qwen2" or bool(config["attention_bias"]),
        out_bias=family in ("llama", "qwen3") and bool(config["attention_bias"]),
        mlp_bias=bool(config["mlp_bias"]),
        qk_norm=family == "qwen3",
        tied=bool(config["tie_word_embeddings"]),
        sliding_window=window,
    )


def _gemma3(family: str, config: dict[str, Any]) -> Arch:
    """A Llama but for its norms, its embedding and layers of two types.

    Each type has a rotation of its own.
    """
    layers, types = config["num_hidden_layers"], config["layer_types"]
    if types is None:
        types = layer_types(config["sliding_window_pattern"], layers)
    pattern = types.index("full_attention") + 1 if "full_attention" in types else None
    if types != layer_types(pattern, layers):
        raise WeightsError(
            f"{family} with layer_types {', '.join(types)} is not supported; only {layers} in "
            "which every n-th one is full_attention and all others are sliding_attention"
        )
    theta, scaling, local_theta = hf_rope.by_layer_type(config)
    single = {"layer_types": None, "rope_parameters": None, "rope_scaling": None}
    arch = _rotary(family, config | single | {"hidden_act": config["hidden_activation"]})
    scalar = config["query_pre_attn_scalar"]
    return dataclasses.replace(
        arch,
        rope_theta=theta,
        rope_scaling=scaling,
        qk_norm=True,
        sliding_window=config["sliding_window"],
        sliding_window_pattern=pattern,
        local_rope_theta=local_theta,
        query_pre_attn_scalar=None if scalar == arch.head_width else scalar,
        post_norms=True,
        scaled_embed=True,
    )


def layer_types(pattern: int | None, layers: int) -> list[str]:
    """Every `pattern`-th layer sees all (None: none does), the others a window."""
    return [
        "full_attention" if pattern and (layer + 1) % pattern == 0 else "sliding_attention"
        for layer in range(layers)
    ]


def _gpt2(family: str, config: dict[str, Any]) -> Arch:
    heads, width = config["n_head"], config["n_embd"]
    if width % heads:
        raise WeightsError(f"n_embd {width} is not a multiple of n_head {heads}")
    return Arch(
        vocab_size=config["vocab_size"],
        layers=config["n_layer"],
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=config["n_inner"] or 4 * width,
        context=config["n_positions"],
        norm="layer",
        norm_eps=float(config["layer_norm_epsilon"]),
        positions="learned",
        activation=activation(config["activation_function"]),
        gated=False,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        tied=bool(config["tie_word_embeddings"]),
    )


def _t5(family: str, config: dict[str, Any]) -> Arch:
    """T5, and T5 1.1 (FlanT5), which has a gated MLP and an output matrix of its own.

    Transformers 5 writes that the two are tied whatever they are, and says by
    scale_decoder_outputs what earlier versions said by tie_word_embeddings.
    """
    ties = config.get("scale_decoder_outputs", config["tie_word_embeddings"])
    if type(config["eos_token_id"]) is not int:
        raise WeightsError(
            f"{family} with eos_token_id={config['eos_token_id']!r} is not supported; only one id"
        )
    gate, _, act = config["feed_forward_proj"].rpartition("-")
    if gate not in ("", "gated"):
        raise WeightsError(
            f"{family} with feed_forward_proj={config['feed_forward_proj']!r} is not supported; "
            "only an activation, or gated- and an activation"
        )
    # T5 1.1 calls "gated-gelu" what is computed with tanh.
    act = "gelu_new" if (gate, act) == ("gated", "gelu") else act
    return Arch(
        vocab_size=config["vocab_size"],
        layers=config["num_decoder_layers"] or config["num_layers"],
        width=config["d_model"],
        heads=config["num_heads"],
        kv_heads=config["num_heads"],
        head_width=config["d_kv"],
        mlp_width=config["d_ff"],
        context=config["n_positions"],
        norm="rms",
        norm_eps=float(config["layer_norm_epsilon"]),
        positions="relative",
        activation=activation(act),
        gated=bool(gate),
        tied=ties,
        query_pre_attn_scalar=1.0,  # scores are not divided
        scaled_output=ties,
        encoder_layers=config["num_layers"],
        start_id=config["decoder_start_token_id"],
        close_id=config["eos_token_id"],
        relative_buckets=config["relative_attention_num_buckets"],
        relative_distance=config["relative_attention_max_distance"],
    )


def activation(name: str) -> str:
    """Ours of theirs.

    Raises:
        WeightsError: it is not known.
    """
    if name not in _ACTIVATIONS:
        raise WeightsError(
            f"activation {name!r} is not supported; supported are {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]
