"""What the fields of a Hugging Face config.json must be, before anything is built of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from verifier.errors import WeightsError
from verifier.model.arch import MOST_LAYERS

_MOST = 2**31 - 1  # of any size: what an index can count
MOST_NUMBER = 1e30  # of any other number: what float32 holds


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < MOST_NUMBER


# Null there is a value of its own; elsewhere it counts as absent.
_NULLABLE = (
    *(
        "num_key_value_heads",
        "head_dim",
        "sliding_window",
        "sliding_window_pattern",
        "n_inner",
        "layer_types",
    ),
    *("rope_parameters", "rope_scaling", "query_pre_attn_scalar", "num_decoder_layers"),
)
# What fields must be to be believed, where they stand in the file and are not null: a check, and
# its words.
_KINDS: dict[tuple[str, ...], tuple[Callable[[Any], bool], str]] = {
    (
        *(
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
        ),
        *("max_position_embeddings", "sliding_window", "sliding_window_pattern"),
        *("n_embd", "n_head", "n_inner", "n_positions", "type_vocab_size"),
        *("d_model", "d_kv", "d_ff", "num_heads"),
        *("relative_attention_num_buckets", "relative_attention_max_distance"),
    ): (_is_size, f"a whole number from 1 to {_MOST:,}"),
    ("num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers"): (
        lambda value: _is_size(value) and value <= MOST_LAYERS,
        f"a whole number from 1 to {MOST_LAYERS:,}",
    ),
    (
        "rms_norm_eps",
        "layer_norm_epsilon",
        "layer_norm_eps",
        "rope_theta",
        "rope_local_base_freq",
        "query_pre_attn_scalar",
    ): (
        _is_number,
        "a finite number above 0",
    ),
    ("decoder_start_token_id",): (
        lambda value: type(value) is int and 0 <= value <= _MOST,
        f"a whole number from 0 to {_MOST:,}",
    ),
    ("tie_word_embeddings", "scale_decoder_outputs", "attention_bias", "mlp_bias"): (
        lambda value: isinstance(value, bool),
        "true or false",
    ),
    ("model_type", "hidden_act", "hidden_activation", "activation_function", "feed_forward_proj"): (
        lambda value: isinstance(value, str),
        "a text",
    ),
    ("rope_parameters", "rope_scaling"): (lambda value: isinstance(value, dict), "an object"),
    ("layer_types",): (
        lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
        "a list of texts",
    ),
}


def believed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config.json, without those whose null means that they are absent.

    Raises:
        WeightsError: a value that the field cannot have, by name.
    """
    given = {
        field: value for field, value in config.items() if value is not None or field in _NULLABLE
    }
    for fields, (is_kind, kind) in _KINDS.items():
        for field in fields:
            if given.get(field) is not None and not is_kind(given[field]):
                raise WeightsError(
                    f"{field}={_brief(given[field])} is not {kind}; take the file that belongs "
                    "to the weights"
                )
    return given


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
