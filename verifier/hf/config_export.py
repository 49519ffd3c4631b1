"""An `Arch` as a config.json, of the simplest Hugging Face family that computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.errors import WeightsError
from verifier.hf import rope as hf_rope
from verifier.hf.config import layer_types
from verifier.model.arch import Arch

_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "t5": "T5ForConditionalGeneration",
}
_ACTIVATIONS_BACK = {"silu": "silu", "gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu"}


def hf_from_arch(arch: Arch) -> dict[str, Any]:
    """A config.json for transformers 4 and 5, of the simplest family that computes `arch`.

    Args:
        arch: of an imported model or of one trained from scratch. A Mistral without a window is
            written as a Llama: the same function.

    Returns:
        without token ids. arch_from_hf gives `arch` back.

    Raises:
        WeightsError: no supported family computes this.
    """
    family = family_of(arch)
    shared = {
        "architectures": [_ARCHITECTURES[family]],
        "model_type": family,
        "vocab_size": arch.vocab_size,
        "tie_word_embeddings": arch.tied,
        "torch_dtype": "float32",
    }
    if family == "gpt2":
        return shared | {
            "n_embd": arch.width,
            "n_layer": arch.layers,
            "n_head": arch.heads,
            "n_inner": arch.mlp_width,
            "n_positions": arch.context,
            "activation_function": _ACTIVATIONS_BACK[arch.activation],
            "layer_norm_epsilon": arch.norm_eps,
        }
    if family == "t5":
        return shared | _t5_back(arch)
    config = shared | {
        "hidden_size": arch.width,
        "num_hidden_layers": arch.layers,
        "num_attention_heads": arch.heads,
        "num_key_value_heads": arch.kv_heads,
        "head_dim": arch.head_width,
        "intermediate_size": arch.mlp_width,
        "max_position_embeddings": arch.context,
        "hidden_act": _ACTIVATIONS_BACK[arch.activation],
        "rms_norm_eps": arch.norm_eps,
        "rope_theta": arch.rope_theta,
        "rope_scaling": hf_rope.written(arch.rope_scaling),
    }
    if family == "gemma3_text":
        return config | _gemma3_back(arch)
    if family == "llama":
        return config | {"attention_bias": arch.qkv_bias, "mlp_bias": arch.mlp_bias}
    if family == "mistral":
        return config | {"sliding_window": arch.sliding_window}
    if family == "qwen3":
        return config | {"use_sliding_window": False, "attention_bias": arch.qkv_bias}
    return config | {"use_sliding_window": False}


def _gemma3_back(arch: Arch) -> dict[str, Any]:
    """What a Gemma 3 has beside the fields of a Llama, or under another name."""
    activation = _ACTIVATIONS_BACK[arch.activation]
    return {
        # the same; some readers know this name alone
        "hidden_activation": "gelu_pytorch_tanh" if activation == "gelu_new" else activation,
        "query_pre_attn_scalar": arch.query_pre_attn_scalar or arch.head_width,
        "sliding_window": arch.sliding_window,
        "layer_types": layer_types(arch.sliding_window_pattern, arch.layers),
        "rope_local_base_freq": arch.local_rope_theta,
    }


def _t5_back(arch: Arch) -> dict[str, Any]:
    activation = "gelu" if (arch.gated, arch.activation) == (True, "gelu_tanh") else None
    activation = activation or _ACTIVATIONS_BACK[arch.activation]
    return {
        "d_model": arch.width,
        "d_kv": arch.head_width,
        "d_ff": arch.mlp_width,
        "num_layers": arch.encoder_layers,
        "num_decoder_layers": arch.layers,
        "num_heads": arch.heads,
        "n_positions": arch.context,
        "feed_forward_proj": f"gated-{activation}" if arch.gated else activation,
        "layer_norm_epsilon": arch.norm_eps,
        "relative_attention_num_buckets": arch.relative_buckets,
        "relative_attention_max_distance": arch.relative_distance,
        "decoder_start_token_id": arch.start_id,
        "scale_decoder_outputs": arch.scaled_output,
        "is_encoder_decoder": True,
    }


def family_of(arch: Arch) -> str:
    """The Hugging Face family that computes what `arch` says; WeightsError where none does."""
    biases = (arch.qkv_bias, arch.out_bias, arch.mlp_bias)
    scaling = arch.rope_scaling.kind if arch.rope_scaling else None
    if _is_t5(arch):
        return "t5"
    rotary = dict(norm="rms", positions="rotary", gated=True)
    learned = dict(
        norm="layer", positions="learned", gated=False, qk_norm=False, sliding_window=None
    )
    gemma3 = rotary | dict(qk_norm=True, post_norms=True, scaled_embed=True)
    others = dict(
        scaled_output=False,
        post_norms=False,
        scaled_embed=False,
        sliding_window_pattern=None,
        local_rope_theta=None,
        query_pre_attn_scalar=None,
    )
    if _has(arch, others | learned):
        if (
            all(biases)
            and arch.kv_heads == arch.heads
            and arch.heads * arch.head_width == arch.width
        ):
            return "gpt2"
    elif _has(arch, others | rotary):
        if arch.qk_norm:
            if arch.sliding_window is None and biases in (
                (True, True, False),
                (False, False, False),
            ):
                return "qwen3"
        elif arch.sliding_window is None and arch.qkv_bias == arch.out_bias:
            return "llama"
        elif arch.sliding_window is None and biases == (True, False, False):
            return "qwen2"
        elif arch.sliding_window is not None and not any(biases):
            return "mistral"
    elif (
        _has(arch, gemma3)
        and arch.local_rope_theta is not None
        and not any(biases)
        and scaling in (None, "linear")
    ):
        return "gemma3_text"
    raise WeightsError(
        f"no supported Hugging Face family ({', '.join(_ARCHITECTURES)}) computes {arch}; it "
        "cannot be exported"
    )


def _is_t5(arch: Arch) -> bool:
    t5 = dict(
        norm="rms",
        positions="relative",
        kv_heads=arch.heads,
        qk_norm=False,
        post_norms=False,
        scaled_embed=False,
        query_pre_attn_scalar=1.0,
        scaled_output=arch.tied,
        **dict.fromkeys(("qkv_bias", "out_bias", "mlp_bias"), False),
    )
    no_word = arch.gated and arch.activation == "gelu"  # gated-gelu is what is computed with tanh
    return _has(arch, t5) and not no_word


def _has(arch: Arch, values: Mapping[str, object]) -> bool:
    return all(getattr(arch, name) == value for name, value in values.items())
