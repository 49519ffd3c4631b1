"""Name tables: complete, one to one, with and without prefix."""

import pytest
from flax import nnx

from verifier.hf.names import ENCODERS, FAMILIES, full_name, is_ignored, rows_of
from verifier.model.arch import Arch
from verifier.model.transformer import Transformer

LLAMA = Arch(
    vocab_size=8,
    layers=2,
    width=8,
    heads=2,
    kv_heads=1,
    head_width=4,
    mlp_width=8,
    context=8,
    tied=False,
)
BIASED = Arch(**{**vars(LLAMA), "qkv_bias": True, "out_bias": True, "mlp_bias": True})
GEMMA3 = Arch(**{**vars(LLAMA), "qk_norm": True, "post_norms": True})
GPT2 = Arch(
    **{**vars(BIASED), "kv_heads": 2, "norm": "layer", "positions": "learned", "gated": False}
)


@pytest.mark.parametrize(
    ("family", "arch"),
    [
        ("llama", LLAMA),
        ("llama", BIASED),
        ("mistral", LLAMA),
        ("qwen2", BIASED),
        ("gemma3_text", GEMMA3),
        ("gpt2", GPT2),
    ],
)
def test_every_parameter_stands_in_the_table_once(family, arch):
    model = nnx.eval_shape(lambda: Transformer(arch, rngs=nnx.Rngs(0)))
    parameters = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model))]
    table = rows_of(family, arch.layers, parameters)
    assert sorted(path for row in table.values() for path in row.paths) == sorted(parameters)


@pytest.mark.parametrize("family", FAMILIES | ENCODERS)
def test_prefix_is_optional(family):
    for row in (FAMILIES | ENCODERS)[family].rows:
        name = full_name(family, row.name)
        assert full_name(family, name) == name
        assert not is_ignored(family, row.name)
    assert full_name(family, "lm_head.weight") == "lm_head.weight"


def test_buffers_are_ignored_and_biases_are_not():
    assert is_ignored("gpt2", "h.0.attn.bias") and is_ignored(
        "gpt2", "transformer.h.11.attn.masked_bias"
    )
    assert not is_ignored("gpt2", "h.0.attn.c_attn.bias")
    assert is_ignored("llama", "model.layers.3.self_attn.rotary_emb.inv_freq")
    assert not is_ignored("llama", "model.layers.3.self_attn.q_proj.weight")
