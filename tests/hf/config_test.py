"""config.json to Arch and back: every family, old and new spellings, and all that is refused."""

import dataclasses
import json
import pathlib

import pytest

from verifier.hf.config import WeightsError, arch_from_hf
from verifier.hf.config_export import family_of, hf_from_arch
from verifier.model.arch import Arch
from verifier.model.rotary import RopeScaling

TESTDATA = pathlib.Path(__file__).parents[1] / "testdata"
SIZES = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
LLAMA = SIZES | {"model_type": "llama"}
MISTRAL = SIZES | {"model_type": "mistral", "num_key_value_heads": 2}
QWEN2 = SIZES | {"model_type": "qwen2", "num_key_value_heads": 2}
GEMMA3 = SIZES | {"model_type": "gemma3_text", "num_hidden_layers": 7}
GPT2 = {"model_type": "gpt2", "vocab_size": 100, "n_embd": 32, "n_layer": 2, "n_head": 4}
LAYERS = ["full_attention" if (layer + 1) % 6 == 0 else "sliding_attention" for layer in range(7)]
LINEAR = {"rope_type": "linear", "factor": 8.0}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
ARCH = Arch(
    vocab_size=100, layers=2, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=48, context=64
)
GEMMA3_ARCH = dataclasses.replace(
    ARCH,
    layers=7,
    activation="gelu_tanh",
    norm_eps=1e-6,
    rope_theta=1e6,
    qk_norm=True,
    sliding_window=512,
    sliding_window_pattern=6,
    local_rope_theta=1e4,
    post_norms=True,
    scaled_embed=True,
)
GPT2_ARCH = dataclasses.replace(
    ARCH,
    kv_heads=4,
    norm="layer",
    positions="learned",
    activation="gelu_tanh",
    gated=False,
    qkv_bias=True,
    out_bias=True,
    mlp_bias=True,
)


def test_llama_with_only_its_sizes_takes_transformers_defaults():
    assert arch_from_hf(LLAMA) == Arch(
        vocab_size=100,
        layers=2,
        width=32,
        heads=4,
        kv_heads=4,
        head_width=8,
        mlp_width=48,
        context=2048,
        norm_eps=1e-6,
        tied=False,
    )


def test_gpt2_with_only_its_sizes_takes_transformers_defaults():
    assert arch_from_hf(GPT2) == dataclasses.replace(GPT2_ARCH, mlp_width=128, context=1024)


def test_family_defaults():
    assert [arch_from_hf(config).tied for config in (LLAMA, MISTRAL, QWEN2, GPT2)] == [
        False,
        False,
        False,
        True,
    ]
    assert [arch_from_hf(config).sliding_window for config in (LLAMA, MISTRAL, QWEN2, GPT2)] == [
        None,
        4096,
        None,
        None,
    ]
    assert arch_from_hf(MISTRAL | {"sliding_window": None}).sliding_window is None
    assert (
        arch_from_hf(QWEN2 | {"sliding_window": 4096, "use_sliding_window": False}).sliding_window
        is None
    )
    assert arch_from_hf({**SIZES, "model_type": "mistral", "num_attention_heads": 16}).kv_heads == 8


def test_biases_and_head_width():
    def biases(arch: Arch) -> tuple[bool, bool, bool]:
        return arch.qkv_bias, arch.out_bias, arch.mlp_bias

    assert biases(arch_from_hf(LLAMA | {"attention_bias": True})) == (True, True, False)
    assert biases(arch_from_hf(LLAMA | {"mlp_bias": True})) == (False, False, True)
    assert biases(arch_from_hf(QWEN2)) == (True, False, False)
    assert biases(arch_from_hf(MISTRAL)) == (False, False, False)
    assert arch_from_hf(LLAMA | {"head_dim": 16}).head_width == 16


@pytest.mark.parametrize(
    ("fields", "theta", "scaling"),
    [
        ({}, 10000.0, None),
        ({"rope_theta": 500.0, "rope_scaling": None}, 500.0, None),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}, 500.0, None),
        (
            {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
            500.0,
            RopeScaling("linear", 2.0),
        ),
        (
            {"rope_scaling": {"rope_type": "dynamic", "type": "dynamic", "factor": 2.0}},
            10000.0,
            RopeScaling("dynamic", 2.0),
        ),
        (
            {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3"} | LLAMA3},
            5e5,
            RopeScaling("llama3", 8.0, 64),
        ),
        (
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5} | LLAMA3},
            5e5,
            RopeScaling("llama3", 8.0, 64),
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4.0}, "max_position_embeddings": 256},
            10000.0,
            RopeScaling("yarn", 4.0, 256),
        ),
        (
            {
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 4.0,
                    "mscale": 1.0,
                    "mscale_all_dim": 1.0,
                    "beta_fast": 16,
                }
            },
            10000.0,
            RopeScaling("yarn", 4.0, 2048, attention_factor=1.0, beta_fast=16),
        ),
    ],
)
def test_rope_in_old_and_new_spelling(fields, theta, scaling):
    arch = arch_from_hf(LLAMA | fields)
    assert (arch.rope_theta, arch.rope_scaling) == (theta, scaling)


def test_gemma3_with_only_its_sizes_takes_transformers_defaults():
    expected = dataclasses.replace(
        GEMMA3_ARCH, kv_heads=4, head_width=256, context=131072, sliding_window=4096
    )
    assert arch_from_hf(GEMMA3) == expected
    assert arch_from_hf(GEMMA3 | {"query_pre_attn_scalar": 168}).query_pre_attn_scalar == 168
    assert arch_from_hf(GEMMA3 | {"sliding_window_pattern": 2}).sliding_window_pattern == 2
    assert (
        arch_from_hf(
            GEMMA3 | {"layer_types": LAYERS, "sliding_window_pattern": 2}
        ).sliding_window_pattern
        == 6
    )


@pytest.mark.parametrize(
    ("fields", "theta", "scaling", "local"),
    [
        ({"rope_theta": 5e5, "rope_local_base_freq": 2e4, "rope_scaling": None}, 5e5, None, 2e4),
        ({"rope_scaling": LINEAR}, 1e6, RopeScaling("linear", 8.0), 1e4),
        (
            {"rope_parameters": {"full_attention": LINEAR | {"rope_theta": 5e5}}},
            5e5,
            RopeScaling("linear", 8.0),
            1e4,
        ),
        (
            {"rope_parameters": {"full_attention": None, "sliding_attention": {"rope_theta": 2e4}}},
            1e6,
            None,
            2e4,
        ),
    ],
)
def test_gemma3_s_two_rotations_in_old_and_new_spelling(fields, theta, scaling, local):
    arch = arch_from_hf(GEMMA3 | fields)
    assert (arch.rope_theta, arch.rope_scaling, arch.local_rope_theta) == (theta, scaling, local)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "mamba"},
            "'mamba' is not supported; supported are gemma3_text, gpt2, llama, mistral, qwen2, "
            "qwen3",
        ),
        ({}, "None is not supported"),
        (LLAMA | {"hidden_act": "relu2"}, "activation 'relu2'"),
        (QWEN2 | {"use_sliding_window": True}, "use_sliding_window=True"),
        (
            QWEN2 | {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types sliding_attention",
        ),
        (LLAMA | {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        (LLAMA | {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
        (
            LLAMA | {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor=0.5",
        ),
        (
            LLAMA | {"rope_scaling": {"type": "longrope", "factor": 2.0}},
            "'longrope' is not supported",
        ),
        (
            LLAMA | {"rope_scaling": {"type": "linear", "factor": 2.0, "mrope_section": [1]}},
            "mrope_section",
        ),
        (LLAMA | {"rope_scaling": {"type": "linear"}}, "needs factor"),
        (
            {"model_type": "gemma3", "text_config": GEMMA3},
            "reads images too and is not supported; take one of the text models",
        ),
        (GEMMA3 | {"final_logit_softcapping": 30.0}, "final_logit_softcapping=30.0"),
        (GEMMA3 | {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping=50.0"),
        (GEMMA3 | {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        (GEMMA3 | {"sliding_window": None}, "sliding_window; set it too"),
        (
            GEMMA3 | {"sliding_window_pattern": None, "layer_types": ["chunked_attention"] * 7},
            "layer_types chunked_attention",
        ),
        (GEMMA3 | {"layer_types": LAYERS[:6]}, "only 7 in which every n-th one is full_attention"),
        (
            GEMMA3 | {"layer_types": ["full_attention", *LAYERS[:6]]},
            "every n-th one is full_attention",
        ),
        (
            GEMMA3 | {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
            "'yarn' is not supported for layers of full_attention",
        ),
        (
            GEMMA3 | {"rope_parameters": {"sliding_attention": LINEAR}},
            "'linear' is not supported for layers of sliding_attention",
        ),
        (
            GEMMA3 | {"rope_parameters": LINEAR},
            "rope_parameters with factor, rope_type is not supported here",
        ),
        (GPT2 | {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ({key: LLAMA[key] for key in LLAMA if key != "hidden_size"}, "lacks 'hidden_size'"),
        (
            LLAMA | {"num_attention_heads": 5},
            "hidden_size 32 is not a multiple of num_attention_heads 5",
        ),
        (LLAMA | {"num_key_value_heads": 3}, "heads 4 is not a multiple of kv_heads 3"),
        (LLAMA | {"hidden_size": "big"}, "hidden_size='big' is not a whole number"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(config, message):
    with pytest.raises(WeightsError) as error:
        arch_from_hf(config)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arch", "family"),
    [
        (ARCH, "llama"),
        (
            dataclasses.replace(
                ARCH,
                tied=False,
                head_width=16,
                qkv_bias=True,
                out_bias=True,
                mlp_bias=True,
                activation="gelu",
            ),
            "llama",
        ),
        (
            dataclasses.replace(ARCH, rope_theta=5e5, rope_scaling=RopeScaling("llama3", 8.0, 64)),
            "llama",
        ),
        (dataclasses.replace(ARCH, rope_scaling=RopeScaling("linear", 8.0)), "llama"),
        (
            dataclasses.replace(
                ARCH,
                rope_scaling=RopeScaling("yarn", 8.0, 64, attention_factor=1.5, truncate=False),
            ),
            "llama",
        ),
        (dataclasses.replace(ARCH, sliding_window=7), "mistral"),
        (dataclasses.replace(ARCH, qkv_bias=True), "qwen2"),
        (dataclasses.replace(ARCH, qk_norm=True), "qwen3"),
        (dataclasses.replace(ARCH, qk_norm=True, qkv_bias=True, out_bias=True), "qwen3"),
        (GEMMA3_ARCH, "gemma3_text"),
        (
            dataclasses.replace(
                GEMMA3_ARCH,
                query_pre_attn_scalar=12,
                rope_scaling=RopeScaling("linear", 8.0),
                tied=False,
            ),
            "gemma3_text",
        ),
        (dataclasses.replace(GEMMA3_ARCH, sliding_window_pattern=1), "gemma3_text"),
        (
            dataclasses.replace(GEMMA3_ARCH, sliding_window_pattern=None, activation="silu"),
            "gemma3_text",
        ),
        (GPT2_ARCH, "gpt2"),
        (dataclasses.replace(GPT2_ARCH, tied=False, activation="relu"), "gpt2"),
    ],
)
def test_export_and_import_give_the_arch_back(arch, family):
    config = json.loads(json.dumps(hf_from_arch(arch)))
    assert config["model_type"] == family
    assert arch_from_hf(config) == arch


@pytest.mark.parametrize("folder", sorted(TESTDATA.glob("hf_*")), ids=lambda folder: folder.name)
def test_what_transformers_wrote_survives_import_export_import(folder):
    config = json.loads((folder / "config.json").read_text())
    arch = arch_from_hf(config)
    assert family_of(arch) == config["model_type"]
    assert arch_from_hf(hf_from_arch(arch)) == arch


@pytest.mark.parametrize(
    "arch",
    [
        dataclasses.replace(ARCH, norm="layer"),
        dataclasses.replace(ARCH, gated=False),
        dataclasses.replace(ARCH, qkv_bias=True, sliding_window=7),
        dataclasses.replace(ARCH, out_bias=True),
        dataclasses.replace(ARCH, query_pre_attn_scalar=12),
        dataclasses.replace(ARCH, scaled_embed=True),
        dataclasses.replace(GPT2_ARCH, post_norms=True),
        dataclasses.replace(GEMMA3_ARCH, post_norms=False),
        dataclasses.replace(GEMMA3_ARCH, local_rope_theta=None),
        dataclasses.replace(GEMMA3_ARCH, rope_scaling=RopeScaling("yarn", 8.0, 64)),
        dataclasses.replace(GPT2_ARCH, kv_heads=2),
        dataclasses.replace(GPT2_ARCH, head_width=16),
    ],
)
def test_an_arch_of_no_family_is_not_exported(arch):
    with pytest.raises(WeightsError, match="no supported Hugging Face family"):
        hf_from_arch(arch)
