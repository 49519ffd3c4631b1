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


def family_of(arch: Arch) -> str:
    """The Hugging Face family that computes what `arch` says; WeightsError where none does."""
    biases = (arch.qkv_bias, arch.out_bias, arch.mlp_bias)
    scaling = arch.rope_scaling.kind if arch.rope_scaling else None
    rotary = dict(norm="rms", positions="rotary", gated=True)
    learned = dict(
        norm="layer", positions="learned", gated=False, qk_norm=False, sliding_window=None
    )
    gemma3 = rotary | dict(qk_norm=True, post_norms=True, scaled_embed=True)
    others = dict(
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


def _has(arch: Arch, values: Mapping[str, object]) -> bool:
    return all(getattr(arch, name) == value for name, value in values.items())
