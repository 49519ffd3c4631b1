"""A Hugging Face folder of a Llama-like model as a GGUF file for llama.cpp, tokens left as numbers.

For the peers' environment.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

_BLOCK = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def convert(model: pathlib.Path, to: pathlib.Path, dtype: str) -> None:
    """Writes the file.

    Args:
        model: config.json and *.safetensors; model_type llama without rope scaling or biases.
        to: the file; written under another name first.
        dtype: float32 | bfloat16, of the matrices; norms stay float32.

    Raises:
        ValueError: a model that this table does not describe.
    """
    config = json.loads((model / "config.json").read_text())
    if (
        config["model_type"] != "llama"
        or config.get("rope_scaling")
        or config.get("attention_bias")
    ):
        raise ValueError(
            f"{config['model_type']} with these settings is not written as GGUF here; only "
            "plain Llama models are"
        )
    heads, kv_heads = (
        config["num_attention_heads"],
        config.get("num_key_value_heads") or config["num_attention_heads"],
    )
    unfinished = to.with_suffix(".part")
    writer = gguf.GGUFWriter(str(unfinished), "llama")
    _write_facts(writer, config, heads, kv_heads)
    for file in sorted(model.glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            stored = tensor.float()
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                stored = _paired(stored, heads if "q_proj" in name else kv_heads)
            matrix = stored.ndim == 2 and dtype == "bfloat16"
            values = (
                stored.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint8)
                if matrix
                else stored.numpy()
            )
            kind = gguf.GGMLQuantizationType.BF16 if matrix else gguf.GGMLQuantizationType.F32
            writer.add_tensor(_gguf_name(name), np.ascontiguousarray(values), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.rename(to)


def _write_facts(
    writer: gguf.GGUFWriter, config: dict[str, Any], heads: int, kv_heads: int
) -> None:
    """The sizes.

    There is no vocabulary in the file: contenders are given tokens and give tokens back.
    """
    head_width = config.get("head_dim") or config["hidden_size"] // heads
    theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(head_width)
    writer.add_value_length(head_width)
    writer.add_rope_dimension_count(head_width)
    writer.add_rope_freq_base(theta)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")


def _paired(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows in the order that llama.cpp rotates them: it pairs neighbours (2i, 2i+1), transformers
    pairs (i, i + half a head).
    """
    rows, columns = weight.shape
    return (
        weight.reshape(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)
    )


def _gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor."""
    stem = name.removesuffix(".weight")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.weight"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{_BLOCK[rest]}.weight"


if __name__ == "__main__":
    convert(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3])
